//! The head of a response: what it says, and how the client gets it.
//!
//! [`ResponseHead::parse`] checks one complete head and says how the body behind it is framed and
//! what becomes of the backend's connection. [`ResponseHead::write`] writes it anew: our version, the
//! status and reason as they came, the fields in their order and byte for byte, and behind them what
//! is the proxy's to say: framing, `Date`, what becomes of the client's connection.
//!
//! What always holds: a response whose end two readers could find in different places is refused, and
//! what is written ends for the client where it ended here. A field named in `Connection` is taken
//! out, unless it is one that the proxy itself goes by or writes (framing, `Date`).
//!
//! The relay calls both, once per response, interim ones included.

use std::io::Write;
use std::time::Duration;

use httparse::{Header, Status};

use super::fields::{self, Hops, Kind, mark, members, write_field};
use super::{Bad, Framing, Slots, Version};

/// What the request of a response says about it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// It was HEAD: the response has no body, whatever its fields say.
    pub is_head: bool,
    /// It asked for an upgrade: a 101 is an answer to it.
    pub upgrade: bool,
    /// It asked for `websocket`, perhaps among others.
    pub websocket: bool,
}

/// How the client gets a response.
#[derive(Clone, Copy, Debug)]
pub struct Downstream<'a> {
    /// The client's version.
    pub version: Version,
    /// Whether its connection is kept afterwards.
    pub keeps_alive: bool,
    /// Whether its body goes out in chunks: [`ResponseHead::framing`] says it is chunked or until
    /// close, and the client speaks HTTP/1.1.
    pub chunked: bool,
    /// The date to say if the response says none (RFC 9110, 6.6.1).
    pub date: &'a str,
}

/// A complete response head that passed all checks.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// The status, 100 to 999.
    pub status: u16,
    /// The backend's version.
    pub version: Version,
    /// The body's framing.
    pub framing: Framing,
    /// Whether the backend would keep its connection.
    pub keeps_alive: bool,
    /// For how long, if it says (`Keep-Alive: timeout=5`).
    pub keep_alive_timeout: Option<Duration>,
    /// `Content-Length`, which may speak of a body that is not sent (HEAD, 304).
    length: Option<u64>,
    /// It says its own date.
    pub has_date: bool,
    /// A 101 to `websocket` and nothing else, as was asked for: what follows is RFC 6455.
    pub is_websocket: bool,
    pub(super) reason: &'b [u8],
    /// Those without a name do not go on.
    pub(super) fields: &'h [Header<'b>],
}

impl<'h, 'b> ResponseHead<'h, 'b> {
    /// Reads `head`, one complete head with its empty line as [`super::HeadEnd`] found it.
    ///
    /// # Errors
    /// What is wrong; the response is then answered in the backend's stead.
    pub fn parse(head: &'b [u8], slots: &'h mut Slots<'b>, asked: Asked) -> Result<Self, Bad> {
        if head.first() != Some(&b'H') {
            return Err(Bad("no status line"));
        }
        let mut raw = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut raw, head, slots) {
            Ok(Status::Complete(len)) if len == head.len() => {}
            Ok(_) => return Err(Bad("not one complete head")),
            Err(error) => return Err(Bad(fields::explain(error))),
        }
        let (Some(status @ 100..=999), Some(minor)) = (raw.code, raw.version) else {
            return Err(Bad("a malformed status line"));
        };
        let fields = raw.headers;
        fields::check_line_ends(head, fields.len())?;
        if status == 101 && !asked.upgrade {
            return Err(Bad("a 101 that was not asked for"));
        }
        let version = match minor {
            0 => Version::Http10,
            _ => Version::Http11,
        };
        let said = Said::read(fields, version, status)?;
        let framing = said.framing(status, asked);
        if framing != Framing::Chunked {
            // A promise of trailers that cannot come.
            fields
                .iter_mut()
                .filter(|field| Kind::of(field.name) == Kind::Trailer)
                .for_each(mark);
        }
        let returns = status != 101 && framing != Framing::UntilClose;
        Ok(Self {
            status,
            version,
            framing,
            keeps_alive: returns && said.hops.keeps_alive(version),
            keep_alive_timeout: said.keep_alive_timeout,
            length: said.hops.length,
            has_date: said.has_date,
            is_websocket: asked.websocket && said.upgrade == Some(Upgrade::WebSocket),
            reason: reason(head),
            fields,
        })
    }

    /// Whether it is one of the interim answers that come before the final one; a 101 is not.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// Appends the head that the client gets, its empty line included.
    pub fn write(&self, downstream: &Downstream<'_>, out: &mut Vec<u8>) {
        let has_framing = matches!(self.framing, Framing::Chunked | Framing::UntilClose);
        let chunked = downstream.chunked && has_framing;
        // The trailers go with the chunks.
        let strips = self.framing == Framing::Chunked && !chunked;
        // Writing to a Vec does not fail.
        let _ = write!(out, "HTTP/1.1 {} ", self.status);
        out.extend_from_slice(self.reason);
        out.extend_from_slice(b"\r\n");
        for field in self.fields {
            match field.name {
                "" => {}
                name if strips && Kind::of(name) == Kind::Trailer => {}
                name => write_field(name, field.value, out),
            }
        }
        if self.status == 101 {
            out.extend_from_slice(b"Connection: upgrade\r\n\r\n");
            return;
        }
        if self.is_interim() {
            out.extend_from_slice(b"\r\n");
            return;
        }
        if !self.has_date {
            write_field("Date", downstream.date.as_bytes(), out);
        }
        match self.length {
            _ if chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Some(length) if self.status != 204 => {
                let _ = write!(out, "Content-Length: {length}\r\n");
            }
            _ => {}
        }
        // A body that neither has a length nor chunks ends with the connection, whoever says what.
        let keeps_alive = downstream.keeps_alive && (chunked || !has_framing);
        out.extend_from_slice(match downstream.version {
            _ if !keeps_alive => b"Connection: close\r\n\r\n".as_slice(),
            Version::Http10 => b"Connection: keep-alive\r\n\r\n",
            Version::Http11 => b"\r\n",
        });
    }
}

/// What the status line says behind the status, which httparse leaves out if it is no ASCII. It has
/// seen that the line is long enough and has no control character but HTAB.
fn reason(head: &[u8]) -> &[u8] {
    const BEFORE: usize = "HTTP/1.1 200 ".len();
    let end = memchr::memchr(b'\r', head).unwrap_or_default();
    head.get(BEFORE..end).unwrap_or_default()
}

/// What a 101 switches to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    WebSocket,
    /// Another protocol, or one on top of the other.
    Other,
}

/// What the fields of a response say.
#[derive(Default)]
struct Said<'b> {
    hops: Hops<'b>,
    keep_alive_timeout: Option<Duration>,
    has_date: bool,
    upgrade: Option<Upgrade>,
}

impl<'b> Said<'b> {
    /// Reads them, and takes out those that do not go on.
    fn read(fields: &mut [Header<'b>], version: Version, status: u16) -> Result<Self, Bad> {
        let mut said = Self::default();
        for field in fields.iter_mut() {
            if !said.take(field, status)? {
                mark(field);
            }
        }
        said.hops.check(version)?;
        said.hops.mark_named(fields);
        Ok(said)
    }

    /// Reads one field; says whether it goes on.
    fn take(&mut self, field: &Header<'b>, status: u16) -> Result<bool, Bad> {
        match Kind::of(field.name) {
            Kind::ContentLength => self.hops.read_length(field.value)?,
            Kind::TransferEncoding => self.hops.read_coding(field.value)?,
            Kind::Connection => self.hops.read_connection(field.value)?,
            Kind::KeepAlive => self.keep_alive_timeout = timeout(field.value),
            Kind::Te | Kind::Never => {}
            Kind::Upgrade => {
                self.read_upgrade(field.value);
                return Ok(status == 101);
            }
            Kind::Date => return Ok(!std::mem::replace(&mut self.has_date, true)),
            Kind::Trailer
            | Kind::Expect
            | Kind::Forwarded
            | Kind::Host
            | Kind::Proxy
            | Kind::Other => return Ok(true),
        }
        Ok(false)
    }

    fn read_upgrade(&mut self, value: &[u8]) {
        for protocol in members(value) {
            let is_websocket = protocol.eq_ignore_ascii_case(b"websocket");
            self.upgrade = Some(match self.upgrade {
                None | Some(Upgrade::WebSocket) if is_websocket => Upgrade::WebSocket,
                _ => Upgrade::Other,
            });
        }
    }

    /// RFC 9112, 6.3, in its order.
    fn framing(&self, status: u16, asked: Asked) -> Framing {
        match (status, self.hops.length) {
            (100..200 | 204 | 304, _) => Framing::None,
            _ if asked.is_head => Framing::None,
            _ if self.hops.is_chunked => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            (_, None) => Framing::UntilClose,
        }
    }
}

/// The `timeout` of a `Keep-Alive`, in seconds; `None` if it is none or centuries.
fn timeout(value: &[u8]) -> Option<Duration> {
    const DIGITS_MAX: usize = 9;
    let (_, digits) = members(value)
        .filter_map(|member| std::str::from_utf8(member).ok()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    let digits = digits.trim();
    let is_number = digits.len() <= DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = is_number.then(|| digits.parse().ok())??;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
