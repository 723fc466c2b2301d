//! The fields that the proxy checks, removes and sets (design, section 9).
//!
//! pingora has parsed the head before any of this runs; what it lets through or rewrites before
//! that (bare line ends, illegal target bytes) cannot be seen here.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::Authority;
use pingora::http::{RequestHeader, ResponseHeader};

use super::failure::Failure;
use crate::spec::{ClientSpec, IpNet};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Why a request is refused, with a word for the log.
pub(super) type Refusal = (Failure, &'static str);

/// Refuses what is ambiguous or too large, before any backend sees it. Says the host to route by.
pub(super) fn check_request(
    request: &RequestHeader,
    head_bytes: usize,
    bounds: &ClientSpec,
) -> Result<String, Refusal> {
    let bad = |why| Err((Failure::BadRequest, why));
    if head_bytes > bounds.head_bytes_max || request.headers.len() > bounds.fields_max {
        return Err((Failure::TooLarge, "the head is too large"));
    }
    if request.raw_path().len() > bounds.target_bytes_max {
        return Err((Failure::TooLarge, "the target is too long"));
    }
    let headers = &request.headers;
    let has_length = headers.contains_key(CONTENT_LENGTH);
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return bad("more than one content-length");
    }
    if let Some(length) = headers.get(CONTENT_LENGTH)
        && (length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit))
    {
        return bad("malformed content-length");
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if has_length {
            return bad("both content-length and transfer-encoding");
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return bad("a transfer coding other than one chunked");
        }
        if request.version == http::Version::HTTP_10 {
            return bad("a transfer coding in HTTP/1.0");
        }
    }
    host_of(request)
}

/// The host that the request is for: of the target if that is absolute, else of `Host`.
fn host_of(request: &RequestHeader) -> Result<String, Refusal> {
    let bad = |why| Err((Failure::BadRequest, why));
    let mut hosts = request.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return bad("more than one host");
    }
    let host = match host.map(HeaderValue::to_str) {
        Some(Ok("")) => "",
        Some(Ok(host)) => match host.parse::<Authority>() {
            Ok(authority) if !authority.as_str().contains('@') => host,
            _ => return bad("malformed host"),
        },
        Some(Err(_)) => return bad("malformed host"),
        None if request.version == http::Version::HTTP_10 => "",
        None => return bad("no host"),
    };
    match request.uri.authority() {
        Some(authority) if host.is_empty() => Ok(authority.to_string()),
        Some(authority) if !authority.as_str().eq_ignore_ascii_case(host) => {
            bad("the target names another host than the host field")
        }
        _ => Ok(host.to_owned()),
    }
}

/// What the backend is told: ours set, the client's own word on them dropped unless it is trusted.
pub(super) fn prepare_request(
    request: &mut RequestHeader,
    client: Option<IpAddr>,
    trusted: &[IpNet],
) {
    let dropped: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with("x-tidegate-") || name == "proxy" || name.contains('_')
        })
        .cloned()
        .collect();
    for name in &dropped {
        request.remove_header(name);
    }
    let is_trusted = client.is_some_and(|client| trusted.iter().any(|net| net.contains(client)));
    let host = request.headers.get(HOST).cloned();
    let client = client.map_or_else(|| "unknown".to_owned(), |ip| ip.to_canonical().to_string());
    let chain = match joined(&request.headers, &FORWARDED_FOR).filter(|_| is_trusted) {
        Some(chain) => format!("{chain}, {client}"),
        None => client,
    };
    let kept = |name: &HeaderName| request.headers.get(name).cloned().filter(|_| is_trusted);
    let proto = kept(&FORWARDED_PROTO).unwrap_or(HeaderValue::from_static("http"));
    let forwarded_host = kept(&FORWARDED_HOST).or(host);
    set(request, &FORWARDED_FOR, HeaderValue::try_from(chain).ok());
    set(request, &FORWARDED_PROTO, Some(proto));
    set(request, &FORWARDED_HOST, forwarded_host);
}

fn set(request: &mut RequestHeader, name: &HeaderName, value: Option<HeaderValue>) {
    request.remove_header(name);
    if let Some(value) = value {
        // Fails only for names that are none; these are constants.
        let _ = request.insert_header(name, value);
    }
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Removes hop-by-hop fields of a response and those named in its `Connection` (RFC 9110, 7.6.1).
pub(super) fn clean_response(response: &mut ResponseHeader) {
    let is_upgrade = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
    let named: Vec<HeaderName> = response
        .headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| HeaderName::try_from(token.trim()).ok())
        .filter(|name| !(is_upgrade && *name == UPGRADE))
        // Framing is the engine's business; a backend cannot have it removed.
        .filter(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING)
        .collect();
    for name in &named {
        response.remove_header(name);
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        super::failure::ERROR_FIELD,
    ] {
        response.remove_header(name);
    }
    response.remove_header(&TE);
    response.remove_header(&TRAILER);
    if !is_upgrade {
        response.remove_header(&CONNECTION);
        response.remove_header(&UPGRADE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn check(fields: &[(&'static str, &str)]) -> Result<String, &'static str> {
        check_request(&request(fields), 100, &ClientSpec::default()).map_err(|(_, why)| why)
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        let host = ("host", "a.test");
        assert_eq!(check(&[host]), Ok("a.test".into()));
        assert_eq!(check(&[]), Err("no host"));
        assert_eq!(check(&[host, host]), Err("more than one host"));
        assert_eq!(check(&[("host", "a b")]), Err("malformed host"));
        assert_eq!(check(&[("host", "u@a")]), Err("malformed host"));
        let length = ("content-length", "1");
        assert_eq!(
            check(&[host, length, length]),
            Err("more than one content-length")
        );
        for bad in ["+1", "1, 1", "0x1", "", "-1"] {
            let fields = [host, ("content-length", bad)];
            assert_eq!(check(&fields), Err("malformed content-length"), "{bad}");
        }
        let chunked = ("transfer-encoding", "chunked");
        assert_eq!(
            check(&[host, length, chunked]),
            Err("both content-length and transfer-encoding")
        );
        for bad in ["gzip, chunked", "identity", "chunked, chunked"] {
            let fields = [host, ("transfer-encoding", bad)];
            assert_eq!(
                check(&fields),
                Err("a transfer coding other than one chunked"),
                "{bad}"
            );
        }
    }

    #[test]
    fn bounds_of_the_head_hold() {
        let bounds = ClientSpec::default();
        let plain = request(&[("host", "a")]);
        assert!(check_request(&plain, bounds.head_bytes_max, &bounds).is_ok());
        let refused = check_request(&plain, bounds.head_bytes_max + 1, &bounds);
        assert_eq!(refused.unwrap_err().0, Failure::TooLarge);
        let many: Vec<_> = (0..bounds.fields_max).map(|_| ("x-a", "1")).collect();
        let refused = check_request(&request(&many), 100, &bounds);
        assert_eq!(refused.unwrap_err().1, "no host");
        let many: Vec<_> = (0..=bounds.fields_max).map(|_| ("x-a", "1")).collect();
        let refused = check_request(&request(&many), 100, &bounds);
        assert_eq!(refused.unwrap_err().0, Failure::TooLarge);
    }

    #[test]
    fn a_strangers_word_on_forwarding_is_replaced_and_a_trusted_one_continued() {
        let fields = [
            ("host", "a.test"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-tidegate-error", "fake"),
            ("proxy", "x"),
            ("x_real", "1"),
        ];
        let client: IpAddr = "10.0.0.9".parse().unwrap();
        let seen = |trusted: &[IpNet]| {
            let mut request = request(&fields);
            prepare_request(&mut request, Some(client), trusted);
            for gone in ["x-tidegate-error", "proxy", "x_real"] {
                assert!(!request.headers.contains_key(gone), "{gone}");
            }
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
                .map(|name| request.headers[name].to_str().unwrap().to_owned())
        };
        assert_eq!(seen(&[]), ["10.0.0.9", "http", "a.test"]);
        let trusted = [IpNet::parse("10.0.0.0/8").unwrap()];
        assert_eq!(seen(&trusted), ["6.6.6.6, 10.0.0.9", "https", "evil"]);
    }

    #[test]
    fn fields_named_in_a_responses_connection_go() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("connection", "x-hop, close, content-length"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("content-length", "3"),
            ("x-stays", "1"),
            ("x-tidegate-error", "fake"),
        ] {
            response.append_header(name, value).unwrap();
        }
        clean_response(&mut response);
        let mut left: Vec<&str> = response.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-stays"]);
    }
}
