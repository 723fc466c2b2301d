//! One line of a trailer section, and which of them go on.
//!
//! A trailer is read as strictly as a field of a head. It goes on unless its name is one that means
//! something only in front of a body (RFC 9110, 6.5.1): a receiver that merges trailers into the
//! head would otherwise frame, route, trust or cache by what came too late to be checked. Called
//! from [`super::Body`].

use super::Bad;
use super::fields::{Kind, has_prefix, is_token_byte, is_value_byte};

/// Most trailers of one body.
pub const TRAILERS_MAX: usize = 64;

/// Most bytes of the trailer section of one body, its empty line included.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Names that do not go on beside those that are never said in a trailer by their [`Kind`]; in lower
/// case and in order.
const DROPPED: &[&str] = &[
    "age",
    "authentication-info",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "expires",
    "forwarded",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "vary",
    "warning",
    "www-authenticate",
];

/// Families of names that do not go on, in lower case: conditions, what is between proxies, and what
/// a proxy says of its client.
const DROPPED_PREFIXES: &[&str] = &["if-", "proxy-", "x-forwarded-", "x-real-", "sec-websocket-"];

/// Checks one trailer, given without its line end. Says whether it goes on.
pub(super) fn check(line: &[u8]) -> Result<bool, Bad> {
    let colon = memchr::memchr(b':', line).ok_or(Bad("a trailer without a colon"))?;
    let (name, value) = line.split_at(colon);
    if name.is_empty() || !name.iter().all(|&byte| is_token_byte(byte)) {
        return Err(Bad("a malformed trailer name"));
    }
    if !value.iter().all(|&byte| is_value_byte(byte)) {
        return Err(Bad("a control character in a trailer"));
    }
    // A token is ASCII.
    Ok(std::str::from_utf8(name).is_ok_and(goes_on))
}

fn goes_on(name: &str) -> bool {
    Kind::of(name) == Kind::Other
        && !name.contains('_')
        && !DROPPED.iter().any(|known| name.eq_ignore_ascii_case(known))
        && !DROPPED_PREFIXES
            .iter()
            .any(|prefix| has_prefix(name, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_may_come_late_go_on() {
        for goes_on in [
            "Grpc-Status: 0",
            "ETag:\"x\"",
            "X-Sum: \x7e",
            "Server-Timing: a\t",
        ] {
            assert_eq!(check(goes_on.as_bytes()), Ok(true), "{goes_on}");
        }
        assert_eq!(check(b"X-Sum: \xff"), Ok(true));
        for dropped in [
            "Transfer-Encoding: chunked",
            "content-length: 5",
            "Host: evil",
            "CONNECTION: x",
            "Keep-Alive: x",
            "TE: x",
            "Trailer: x",
            "Upgrade: x",
            "Proxy: x",
            "Proxy-Authorization: x",
            "Authorization: x",
            "Set-Cookie: a=b",
            "Cookie: a=b",
            "Cache-Control: x",
            "X-Forwarded-For: x",
            "X-Forwarded-Port: x",
            "X-Tidegate-Error: x",
            "Content_Length: 5",
            "If-None-Match: x",
            "Expect: x",
            "Date: x",
            "Content-Type: x",
        ] {
            assert_eq!(check(dropped.as_bytes()), Ok(false), "{dropped}");
        }
    }

    #[test]
    fn malformed_trailers_are_refused() {
        for (line, why) in [
            (&b"no colon"[..], "a trailer without a colon"),
            (b": empty", "a malformed trailer name"),
            (b"A : space", "a malformed trailer name"),
            (b" A: folded", "a malformed trailer name"),
            (b"\tfolded: x", "a malformed trailer name"),
            (b"A\x80: x", "a malformed trailer name"),
            (b"A: \0", "a control character in a trailer"),
            (b"A: \r", "a control character in a trailer"),
            (b"A: \x7f", "a control character in a trailer"),
            (b"Content-Length: \x01", "a control character in a trailer"),
        ] {
            assert_eq!(check(line), Err(Bad(why)), "{}", line.escape_ascii());
        }
    }
}
