//! What requests, responses and trailers have in common: kinds of fields, lists, lengths, codings.
//!
//! [`Kind`] sorts a name into those that the codec treats in a way of their own, by one comparison or
//! two. [`Hops`] gathers what a head says of framing and of its connection, and refuses what two
//! readers could understand differently.
//!
//! What always holds: a field that is not to go on has lost its name ([`mark`]) when its head was
//! parsed, so that writing the head asks no question twice. Called from the two heads and from
//! [`super::trailer`].

use httparse::Header;

use super::{Bad, Version};

/// Most names of other fields in the `Connection` fields of one head; two is already rare.
const NAMED_MAX: usize = 16;

const OURS: &str = "x-tidegate-";

/// Fields that the codec treats in a way of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Connection,
    ContentLength,
    Date,
    Expect,
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    Forwarded,
    Host,
    KeepAlive,
    /// Not to go on in either direction: `Proxy-Connection`, `HTTP2-Settings`, `X-Tidegate-*`.
    Never,
    /// `Proxy`: it would become `HTTP_PROXY` in a CGI script's environment.
    Proxy,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Other,
}

impl Kind {
    pub(super) fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            4 if is("date") => Self::Date,
            5 if is("proxy") => Self::Proxy,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Trailer,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::KeepAlive,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::Never,
            15 if is("x-forwarded-for") => Self::Forwarded,
            16 if is("x-forwarded-host") => Self::Forwarded,
            16 if is("proxy-connection") => Self::Never,
            17 if is("x-forwarded-proto") => Self::Forwarded,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            _ if has_prefix(name, OURS) => Self::Never,
            _ => Self::Other,
        }
    }

    /// Whether naming it in `Connection` removes it. Framing, routing and who the client is are not
    /// the sender's to remove: an app behind the proxy would miss what the proxy itself went by.
    fn is_removable(self) -> bool {
        matches!(self, Self::Other | Self::Trailer | Self::Proxy)
    }
}

/// Whether `name` begins with `prefix`, which is in lower case.
pub(super) fn has_prefix(name: &str, prefix: &str) -> bool {
    name.as_bytes()
        .get(..prefix.len())
        .is_some_and(|front| front.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Whether a byte may be part of a token (RFC 9110, 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a byte may be part of a value or reason: no control character but HTAB.
pub(super) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The members of a comma-separated list, without the empty ones (RFC 9110, 5.6.1).
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
}

/// Without the spaces and tabs around it.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Takes a field out: it has no name any more.
pub(super) fn mark(field: &mut Header<'_>) {
    field.name = "";
}

/// Appends one field line.
pub(super) fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Checks that each line of a head that httparse took ended in CRLF: it would take a bare LF too.
/// httparse takes a CR nowhere but in front of an LF, so counting them is enough.
pub(super) fn check_line_ends(head: &[u8], fields: usize) -> Result<(), Bad> {
    // The fields, the first line and the empty one.
    if memchr::memchr_iter(b'\r', head).count() == fields + 2 {
        Ok(())
    } else {
        Err(Bad("a bare LF in the head"))
    }
}

/// What httparse found wrong with a head, in our words.
pub(super) fn explain(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a malformed field name",
        httparse::Error::HeaderValue => "a control character in a field value",
        httparse::Error::NewLine => "a bare CR in the head",
        httparse::Error::Status => "a malformed status line",
        httparse::Error::Token => "a malformed request line",
        httparse::Error::TooManyHeaders => "too many fields",
        httparse::Error::Version => "a version other than HTTP/1.0 and HTTP/1.1",
    }
}

/// What the fields of one head say about framing and about its connection.
#[derive(Default)]
pub(super) struct Hops<'b> {
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub(super) is_chunked: bool,
    /// `Connection` lists `upgrade`.
    pub(super) upgrade: bool,
    close: bool,
    keep_alive: bool,
    named: [&'b [u8]; NAMED_MAX],
    named_count: usize,
}

impl<'b> Hops<'b> {
    /// One `Content-Length`: digits, once, and no more than a signed 64-bit number holds: readers that
    /// count in those would see another length.
    pub(super) fn read_length(&mut self, value: &[u8]) -> Result<(), Bad> {
        if self.length.is_some() {
            return Err(Bad("more than one content-length"));
        }
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse().ok())
            .filter(|&length| i64::try_from(length).is_ok());
        self.length = Some(length.ok_or(Bad("malformed content-length"))?);
        Ok(())
    }

    /// One `Transfer-Encoding`: `chunked`, once.
    pub(super) fn read_coding(&mut self, value: &[u8]) -> Result<(), Bad> {
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Bad("a transfer coding other than one chunked"));
        }
        self.is_chunked = true;
        Ok(())
    }

    /// One `Connection`, of which there may be several.
    pub(super) fn read_connection(&mut self, value: &'b [u8]) -> Result<(), Bad> {
        for member in members(value) {
            let is = |option: &[u8]| member.eq_ignore_ascii_case(option);
            match member.len() {
                5 if is(b"close") => self.close = true,
                7 if is(b"upgrade") => self.upgrade = true,
                10 if is(b"keep-alive") => self.keep_alive = true,
                // Removed anyway.
                2 if is(b"te") => {}
                _ => {
                    let room = self.named.get_mut(self.named_count);
                    *room.ok_or(Bad("too many names in connection"))? = member;
                    self.named_count += 1;
                }
            }
        }
        Ok(())
    }

    /// Refuses what says the length of a body in two ways, or in one that its version does not know.
    pub(super) fn check(&self, version: Version) -> Result<(), Bad> {
        if self.is_chunked && self.length.is_some() {
            return Err(Bad("both content-length and transfer-encoding"));
        }
        if self.is_chunked && version == Version::Http10 {
            return Err(Bad("a transfer coding in HTTP/1.0"));
        }
        Ok(())
    }

    /// Whether the sender would keep its connection (RFC 9112, 9.3).
    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Takes out the fields that `Connection` names (RFC 9110, 7.6.1).
    pub(super) fn mark_named(&self, fields: &mut [Header<'_>]) {
        let named = &self.named[..self.named_count];
        if named.is_empty() {
            return;
        }
        for field in fields {
            let is_named = |name: &&[u8]| name.eq_ignore_ascii_case(field.name.as_bytes());
            if named.iter().any(is_named) && Kind::of(field.name).is_removable() {
                mark(field);
            }
        }
    }
}
