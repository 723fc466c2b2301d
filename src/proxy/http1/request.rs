//! The head of a request: what it says, and how the backend gets it.
//!
//! [`RequestHead::parse`] checks one complete head and says what the relay must know to route it, to
//! follow its body and to keep the connection. [`RequestHead::write`] writes it anew: the request
//! line and `Host` from what was checked, the other fields in their order and byte for byte, and
//! behind them what is the proxy's to say: who the client is, how the body is framed, what is asked
//! of the connection.
//!
//! What always holds: nothing that was refused can be written; what is written has one reading.
//! Fields that the client has no business to send, or that end here, were taken out when the head
//! was parsed; a field named in `Connection` is, unless the proxy itself goes by it (framing, `Host`,
//! `X-Forwarded-*`, `Expect`): those stay as if they had not been named.
//!
//! The relay calls both, once per request; an attempt on another backend writes again.

use std::io::Write;

use httparse::{Header, Status};

use super::fields::{self, Hops, Kind, mark, members, write_field};
use super::host::Authority;
use super::{Bad, Framing, Slots, Version};

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most fields.
    pub fields_max: usize,
    /// Longest target.
    pub target_bytes_max: usize,
}

/// Why a request is refused before any backend sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Malformed or ambiguous, with what is wrong.
    Bad(&'static str),
    /// Past a bound, with which.
    TooLarge(&'static str),
    /// CONNECT.
    Connect,
}

impl From<Bad> for Refusal {
    fn from(Bad(why): Bad) -> Self {
        Self::Bad(why)
    }
}

/// What the backend is told of the client.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// The client's address, `unknown` if it has none.
    pub client: &'a str,
    /// Whether the client's own `X-Forwarded-*` are believed and continued.
    pub is_trusted: bool,
}

/// A complete request head that passed all checks.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// The method, a token, as it came.
    pub method: &'b str,
    /// What is sent on: the target as it came, or the part of an absolute one behind its authority;
    /// a `/` is put in front where that begins with its query.
    pub target: &'b str,
    /// The target without its query: what is routed by.
    pub path: &'b str,
    /// Host and port as the client said them, empty if it said none: what is routed by.
    pub host: &'b str,
    /// The client's version.
    pub version: Version,
    /// The body's framing.
    pub framing: Framing,
    /// Whether the client would keep its connection.
    pub keeps_alive: bool,
    /// Whether it waits for a 100 before it sends its body (HTTP/1.1 only; it has a body).
    pub expects_continue: bool,
    /// Whether it asks for an upgrade that is passed on: not `h2c`, HTTP/1.1.
    pub asks_upgrade: bool,
    /// Whether that is one to `websocket`, perhaps among others.
    pub asks_websocket: bool,
    takes_trailers: bool,
    has_forwarded: bool,
    /// Those without a name do not go on.
    pub(super) fields: &'h [Header<'b>],
}

impl<'h, 'b> RequestHead<'h, 'b> {
    /// Reads `head`, one complete head with its empty line as [`super::HeadEnd`] found it.
    ///
    /// # Errors
    /// See [`Refusal`]; nothing of the head may be sent on then.
    pub fn parse(
        head: &'b [u8],
        slots: &'h mut Slots<'b>,
        bounds: &Bounds,
    ) -> Result<Self, Refusal> {
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        let mut raw = httparse::Request::new(&mut []);
        match raw.parse_with_uninit_headers(head, slots) {
            Ok(Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(Refusal::Bad("not one complete head")),
            Err(error @ httparse::Error::TooManyHeaders) => {
                return Err(Refusal::TooLarge(fields::explain(error)));
            }
            Err(error) => return Err(Refusal::Bad(fields::explain(error))),
        }
        let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
            return Err(Refusal::Bad("a malformed request line"));
        };
        let fields = raw.headers;
        fields::check_line_ends(head, fields.len())?;
        if method == "CONNECT" {
            return Err(Refusal::Connect);
        }
        if fields.len() > bounds.fields_max {
            return Err(Refusal::TooLarge("too many fields"));
        }
        if target.len() > bounds.target_bytes_max {
            return Err(Refusal::TooLarge("the target is too long"));
        }
        let version = match minor {
            0 => Version::Http10,
            _ => Version::Http11,
        };
        let target = Target::parse(method, target)?;
        let said = Said::read(fields, version)?;
        let hops = &said.hops;
        let framing = match hops.length {
            _ if hops.is_chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::None,
        };
        let has_body = !matches!(framing, Framing::None | Framing::Length(0));
        Ok(Self {
            method,
            target: target.sent,
            path: target.path(),
            host: target.host(said.host, version)?,
            version,
            framing,
            keeps_alive: hops.keeps_alive(version),
            expects_continue: said.expects_continue && has_body,
            asks_upgrade: said.upgrades,
            asks_websocket: said.upgrades && said.lists_websocket,
            takes_trailers: said.takes_trailers,
            has_forwarded: said.has_forwarded,
            fields,
        })
    }

    /// The values of the fields of this name, of those that go on.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let named = |field: &&Header<'_>| field.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|field| field.value)
    }

    /// Appends the head that the backend gets, its empty line included.
    pub fn write(&self, forwarded: &Forwarded<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        if self.target.starts_with('?') {
            out.push(b'/');
        }
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_field("Host", self.host.as_bytes(), out);
        for field in self.fields {
            match field.name {
                "" => {}
                name if self.has_forwarded && Kind::of(name) == Kind::Forwarded => {}
                name if self.asks_upgrade && Kind::of(name) == Kind::Upgrade => {
                    out.extend_from_slice(b"Upgrade: ");
                    write_list(protocols(field.value), out);
                    out.extend_from_slice(b"\r\n");
                }
                name => write_field(name, field.value, out),
            }
        }
        self.write_forwarded(forwarded, out);
        // Writing to a Vec does not fail.
        let _ = match self.framing {
            Framing::Length(length) => write!(out, "Content-Length: {length}\r\n"),
            Framing::Chunked => out.write_all(b"Transfer-Encoding: chunked\r\n"),
            Framing::None | Framing::UntilClose => Ok(()),
        };
        out.extend_from_slice(match (self.asks_upgrade, self.takes_trailers) {
            (true, true) => b"Connection: upgrade, TE\r\nTE: trailers\r\n\r\n",
            (true, false) => b"Connection: upgrade\r\n\r\n",
            (false, true) => b"Connection: TE\r\nTE: trailers\r\n\r\n",
            (false, false) => b"\r\n",
        });
    }

    fn write_forwarded(&self, forwarded: &Forwarded<'_>, out: &mut Vec<u8>) {
        let believed = forwarded.is_trusted && self.has_forwarded;
        let said = |name: &'static str| {
            self.fields
                .iter()
                .filter(move |field| believed && field.name.eq_ignore_ascii_case(name))
                .map(|field| field.value)
                .filter(|value| !value.is_empty())
        };
        out.extend_from_slice(b"X-Forwarded-For: ");
        let is_text = |value: &&[u8]| value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        for value in said("x-forwarded-for").filter(is_text) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(forwarded.client.as_bytes());
        out.extend_from_slice(b"\r\n");
        let proto = said("x-forwarded-proto").next();
        write_field("X-Forwarded-Proto", proto.unwrap_or(b"http"), out);
        let host = said("x-forwarded-host")
            .next()
            .unwrap_or(self.host.as_bytes());
        if !host.is_empty() {
            write_field("X-Forwarded-Host", host, out);
        }
    }
}

/// The protocols of an `Upgrade` that are passed on. h2c is not: the connection would speak another
/// HTTP behind it, with requests that nobody here counts.
fn protocols(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    members(value).filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
}

fn write_list<'v>(members: impl Iterator<Item = &'v [u8]>, out: &mut Vec<u8>) {
    for (index, member) in members.enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(member);
    }
}

/// What the fields of a request say.
#[derive(Default)]
struct Said<'b> {
    hops: Hops<'b>,
    host: Option<&'b str>,
    expects_continue: bool,
    upgrades: bool,
    lists_websocket: bool,
    takes_trailers: bool,
    has_forwarded: bool,
}

impl<'b> Said<'b> {
    /// Reads them, and takes out those that do not go on.
    fn read(fields: &mut [Header<'b>], version: Version) -> Result<Self, Bad> {
        let mut said = Self::default();
        for field in fields.iter_mut() {
            if !said.take(field, version)? {
                mark(field);
            }
        }
        said.hops.check(version)?;
        said.hops.mark_named(fields);
        if said.upgrades && !(said.hops.upgrade && version == Version::Http11) {
            said.upgrades = false;
            fields
                .iter_mut()
                .filter(|field| Kind::of(field.name) == Kind::Upgrade)
                .for_each(mark);
        }
        Ok(said)
    }

    /// Reads one field; says whether it goes on.
    fn take(&mut self, field: &Header<'b>, version: Version) -> Result<bool, Bad> {
        match Kind::of(field.name) {
            Kind::ContentLength => self.hops.read_length(field.value)?,
            Kind::TransferEncoding => self.hops.read_coding(field.value)?,
            Kind::Connection => self.hops.read_connection(field.value)?,
            Kind::Host => {
                if self.host.is_some() {
                    return Err(Bad("more than one host"));
                }
                let host = std::str::from_utf8(field.value);
                self.host = Some(host.map_err(|_| Bad("malformed host"))?);
            }
            Kind::Te => {
                let is_trailers = |coding: &[u8]| coding.eq_ignore_ascii_case(b"trailers");
                self.takes_trailers |=
                    version == Version::Http11 && members(field.value).any(is_trailers);
            }
            Kind::Upgrade => {
                let is_passed = protocols(field.value).next().is_some();
                self.upgrades |= is_passed;
                let is_websocket = |one: &[u8]| one.eq_ignore_ascii_case(b"websocket");
                self.lists_websocket |= members(field.value).any(is_websocket);
                return Ok(is_passed);
            }
            Kind::Expect => {
                // An HTTP/1.0 client does not know what a 100 is (RFC 9110, 10.1.1).
                let is_known = version == Version::Http11;
                let is_continue = |what: &[u8]| what.eq_ignore_ascii_case(b"100-continue");
                self.expects_continue |= is_known && members(field.value).any(is_continue);
                return Ok(is_known);
            }
            Kind::Forwarded => {
                self.has_forwarded = true;
                return Ok(true);
            }
            Kind::KeepAlive | Kind::Never | Kind::Proxy => {}
            Kind::Date | Kind::Trailer => return Ok(true),
            // Apps that see fields as variables of an environment take `_` for `-`.
            Kind::Other => return Ok(!field.name.contains('_')),
        }
        Ok(false)
    }
}

/// A target of one of the forms that are forwarded (RFC 9112, 3.2).
struct Target<'b> {
    /// What is sent on.
    sent: &'b str,
    /// Of one in absolute form: its authority, and the port that its scheme means.
    authority: Option<(&'b str, u16)>,
}

impl<'b> Target<'b> {
    fn parse(method: &str, target: &'b str) -> Result<Self, Bad> {
        let is_fine = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b'#';
        if !target.bytes().all(is_fine) {
            return Err(Bad("an illegal character in the target"));
        }
        let plain = target.starts_with('/') || (target == "*" && method == "OPTIONS");
        if plain {
            return Ok(Self {
                sent: target,
                authority: None,
            });
        }
        let (rest, default_port) = if fields::has_prefix(target, "http://") {
            (&target[7..], 80)
        } else if fields::has_prefix(target, "https://") {
            (&target[8..], 443)
        } else {
            return Err(Bad("a target of no known form"));
        };
        let (authority, sent) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let sent = match sent {
            "" if method == "OPTIONS" => "*",
            "" => "/",
            sent => sent,
        };
        Ok(Self {
            sent,
            authority: Some((authority, default_port)),
        })
    }

    fn path(&self) -> &'b str {
        match self.sent.split_once('?') {
            Some(("", _)) => "/",
            Some((path, _)) => path,
            None => self.sent,
        }
    }

    /// Who it is for: the authority of an absolute target, else what the `Host` field says.
    fn host(&self, field: Option<&'b str>, version: Version) -> Result<&'b str, Bad> {
        let host = match field {
            Some(host) => host,
            None if version == Version::Http10 => "",
            None => return Err(Bad("no host")),
        };
        let said = match host {
            "" => None,
            host => Some(Authority::parse(host).ok_or(Bad("malformed host"))?),
        };
        let Some((text, default_port)) = self.authority else {
            return Ok(host);
        };
        let authority = Authority::parse(text).ok_or(Bad("a malformed authority in the target"))?;
        match said {
            Some(said) if !said.is(&authority, default_port) => {
                Err(Bad("the target names another host than the host field"))
            }
            _ => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests;
