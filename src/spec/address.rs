//! Where backends listen, where that leads, and blocks of client addresses.
//!
//! An [`Address`] is what the operator wrote, a [`Target`] what it was resolved to, an [`IpNet`] a
//! set of addresses to compare a client with.
//!
//! What always holds: an address or block that was parsed is one that can be used (a port that is
//! not 0, a socket path that fits, no bits behind the prefix), and an address reads back as it was
//! written. Nothing is looked up or opened here: resolving is for whoever adds a backend.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// Longest path of a unix socket in bytes: `sun_path` holds 108 with its closing NUL (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where a backend listens, as the operator wrote it. A name is resolved to a [`Target`] when the
/// backend is added or reloaded, never later.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A host name or IP literal (v6 without its brackets) and a port other than 0.
    Tcp {
        /// Host name, IPv4 or IPv6 literal.
        host: Arc<str>,
        /// 1 to 65535.
        port: u16,
    },
    /// An absolute path of a unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads `host:port`, `[v6]:port` or `unix:/path`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_socket_path(path).map(Self::Unix);
        }
        let (host, port) = split_host_port(text)?;
        match port {
            0 => Err(Invalid(
                "a port from 1 to 65535: a backend listens on a port that is known".into(),
            )),
            port => Ok(Self::Tcp {
                host: host.into(),
                port,
            }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        };
        f.pad(&text)
    }
}

impl TryFrom<String> for Address {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

/// Reads an absolute unix socket path that fits into a socket address.
pub fn parse_socket_path(path: &str) -> Result<PathBuf, Invalid> {
    let fits = path.starts_with('/') && path.len() <= SOCKET_PATH_BYTES_MAX && !path.contains('\0');
    if fits {
        Ok(Path::new(path).to_path_buf())
    } else {
        Err(Invalid(format!(
            "an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, such as unix:/run/app/a.sock"
        )))
    }
}

/// Splits `host:port` or `[v6]:port`; port 0 is left to the caller to judge.
pub fn split_host_port(text: &str) -> Result<(String, u16), Invalid> {
    let expected = |what: &str| Invalid(what.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once("]:")
                .ok_or_else(|| expected("[v6]:port, such as [::1]:8080"))?;
            let is_v6 = host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_ipv6());
            if !is_v6 {
                return Err(expected(
                    "an IPv6 address between the brackets, such as [::1]:8080",
                ));
            }
            (host, port)
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err(expected(
                    "brackets around an IPv6 address, such as [::1]:8080",
                ));
            }
            Some(pair) => pair,
            None => {
                return Err(expected(
                    "host:port, [v6]:port or unix:/path, such as 127.0.0.1:8080",
                ));
            }
        },
    };
    let is_host = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':'));
    if !is_host {
        return Err(expected("a host name or IP address before the port"));
    }
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if is_number => Ok((host.to_owned(), port)),
        _ => Err(expected("a port from 1 to 65535 after the last colon")),
    }
}

/// What an [`Address`] resolved to: where connections really go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A unix socket path.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address block such as `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpNet {
    base: IpAddr,
    prefix: u8,
}

impl IpNet {
    /// Reads `address` or `address/prefix`; bits behind the prefix must be zero.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let expected = || Invalid("an address or block, such as 10.0.0.0/8 or ::1".into());
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => {
                let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
                let prefix = prefix.parse::<u8>().ok().filter(|_| is_number);
                (base, Some(prefix.ok_or_else(expected)?))
            }
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| expected())?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(Invalid(format!("a prefix length of at most {bits}")));
        }
        let net = Self { base, prefix };
        if net.masked(base) != bits_of(base) {
            return Err(Invalid(format!(
                "no bits set behind the prefix length {prefix}"
            )));
        }
        Ok(net)
    }

    /// Whether `address` is in the block; a v4-mapped v6 address counts as v4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && self.masked(address) == bits_of(self.base)
    }

    /// `address` with the bits behind the prefix cleared.
    fn masked(&self, address: IpAddr) -> u128 {
        let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
        let behind = bits - u32::from(self.prefix);
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        bits_of(address) & mask
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_written() {
        for text in [
            "127.0.0.1:80",
            "[::1]:8080",
            "app-1.internal:3000",
            "unix:/run/a.sock",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_what_is_expected() {
        for (text, expected) in [
            (
                "10.0.0.7",
                "host:port, [v6]:port or unix:/path, such as 127.0.0.1:8080",
            ),
            (
                "::1:80",
                "brackets around an IPv6 address, such as [::1]:8080",
            ),
            ("[::1]", "[v6]:port, such as [::1]:8080"),
            (
                "[127.0.0.1]:80",
                "an IPv6 address between the brackets, such as [::1]:8080",
            ),
            ("a:", "a port from 1 to 65535 after the last colon"),
            ("a:+80", "a port from 1 to 65535 after the last colon"),
            ("a:70000", "a port from 1 to 65535 after the last colon"),
            (
                "a:0",
                "a port from 1 to 65535: a backend listens on a port that is known",
            ),
            (":80", "a host name or IP address before the port"),
            ("a b:80", "a host name or IP address before the port"),
        ] {
            assert_eq!(
                Address::parse(text),
                Err(Invalid(expected.into())),
                "{text}"
            );
        }
        assert!(Address::parse("unix:relative").is_err());
        assert!(Address::parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn address_blocks_contain_what_they_say() {
        let net = |text| IpNet::parse(text).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(net("10.0.0.0/8").contains(ip("10.255.0.1")));
        assert!(net("10.0.0.0/8").contains(ip("::ffff:10.1.1.1")));
        assert!(!net("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(!net("10.0.0.0/8").contains(ip("::1")));
        assert!(net("0.0.0.0/0").contains(ip("1.2.3.4")));
        assert!(net("::/0").contains(ip("fe80::1")));
        assert!(net("::1").contains(ip("::1")) && !net("::1").contains(ip("::2")));
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "x", "10.0.0.0/+8"] {
            assert!(IpNet::parse(bad).is_err(), "{bad}");
        }
    }
}
