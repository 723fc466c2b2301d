//! Who a request is for: `Host` and the authority of an absolute target.
//!
//! One form is taken, `uri-host [ ":" port ]` of RFC 9110, 7.2, and less than all of it: no user, no
//! empty port, no comma (a list joined by someone on the way looks like a name otherwise), no address
//! of a future version. Called from [`super::request`].

use std::net::Ipv6Addr;

/// A host as it was said, and its port.
#[derive(Clone, Copy)]
pub(super) struct Authority<'b> {
    pub(super) host: &'b str,
    pub(super) port: Option<u16>,
}

impl<'b> Authority<'b> {
    /// `None` if it is none.
    pub(super) fn parse(text: &'b str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(literal) => {
                let (address, _) = literal.split_once(']')?;
                address.parse::<Ipv6Addr>().ok()?;
                text.split_at(address.len() + 2)
            }
            None => {
                let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                if !is_name(host.as_bytes()) {
                    return None;
                }
                (host, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Whether both are the same place, where no port means `default_port`.
    pub(super) fn is(&self, other: &Self, default_port: u16) -> bool {
        let port = |of: &Self| of.port.unwrap_or(default_port);
        self.host.eq_ignore_ascii_case(other.host) && port(self) == port(other)
    }
}

/// A reg-name of RFC 3986, 3.2.2, that is not empty and has no comma.
fn is_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        let is_fine = match byte {
            b'%' => {
                let mut is_hex = || bytes.next().is_some_and(u8::is_ascii_hexdigit);
                is_hex() && is_hex()
            }
            _ => byte.is_ascii_alphanumeric() || b"-.~_!$&'()*+;=".contains(&byte),
        };
        if !is_fine {
            return false;
        }
    }
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_and_port_is_a_host() {
        for host in [
            "a",
            "A.Test",
            "a.test.",
            "a:80",
            "a:0",
            "a:65535",
            "1.2.3.4:8080",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]",
            "a_b",
            "x%41",
            "a;b",
            "~!$&'()*+=",
        ] {
            assert!(Authority::parse(host).is_some(), "{host}");
        }
        for no_host in [
            "",
            ":80",
            "a:",
            "a:b",
            "a:+1",
            "a:65536",
            "a:99999999999999999999",
            "a:80:80",
            "a b",
            " a",
            "a,b",
            "u@a",
            "u:p@a",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "a\"b",
            "a|b",
            "<a>",
            "a%",
            "a%4",
            "a%4g",
            "%+41",
            "[::1",
            "::1",
            "[]",
            "[::1]80",
            "[::1]:",
            "[g]",
            "[v1.a]",
            "[::1%25eth0]",
            "[1.2.3.4]",
            "a\t",
            "ä",
            "a\u{7f}",
            "a]",
            "a[",
            "[::1]a",
        ] {
            assert!(Authority::parse(no_host).is_none(), "{no_host}");
        }
    }

    #[test]
    fn a_default_port_may_be_said_or_not() {
        let is = |one, other, port| {
            let parse = |text| Authority::parse(text).unwrap();
            parse(one).is(&parse(other), port)
        };
        assert!(is("A.test:80", "a.Test", 80));
        assert!(is("[::1]:443", "[::1]", 443));
        assert!(!is("a.test:80", "a.test", 443));
        assert!(!is("a.test", "b.test", 80));
        assert!(!is("a.test:1", "a.test:2", 80));
    }
}
