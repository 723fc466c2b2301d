//! Where a head ends.
//!
//! [`HeadEnd`] is given all bytes of a head that were read so far, again and again as more come, and
//! says how long the head is once its empty line is there. It remembers how far it has looked, so
//! each byte is looked at once however the head is cut into reads.
//!
//! What always holds: every line of a head that it found ends in CRLF, and there is no other CR, LF
//! or NUL in it. What is wrong is refused as soon as it is seen, not when the head is complete: a
//! client that speaks TLS to a plain port learns it from its first byte.
//!
//! The relay calls it; what the lines say is left to [`super::RequestHead`] and
//! [`super::ResponseHead`].

use super::{Bad, fields};

/// Finds the end of a head.
#[derive(Clone, Default, Debug)]
pub struct HeadEnd {
    is_response: bool,
    /// All before this was looked at.
    scanned: usize,
    /// Where the line begins that was not seen to end yet.
    line: usize,
    /// Where the request line or status line begins.
    start: usize,
}

impl HeadEnd {
    /// For a request: one empty line before it is passed over (RFC 9112, 2.2), and counts as a part
    /// of it.
    pub fn request() -> Self {
        Self::default()
    }

    /// For a response: nothing may come before it.
    pub fn response() -> Self {
        Self {
            is_response: true,
            ..Self::default()
        }
    }

    /// `bytes` is all that was read of the head so far, from its first byte on: the same bytes as at
    /// the call before, and more. Says the length of the head with its empty line once it is there.
    ///
    /// # Errors
    /// A line that ends in a bare LF, a NUL, a bare CR and a first byte that begins no head are
    /// refused as soon as they are seen.
    pub fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Bad> {
        self.check_first(bytes)?;
        while let Some(ahead) = bytes.get(self.scanned..) {
            let Some(at) = memchr::memchr3(b'\r', b'\n', 0, ahead) else {
                self.scanned = bytes.len();
                break;
            };
            let at = self.scanned + at;
            match (bytes[at], bytes.get(at + 1)) {
                (0, _) => return Err(Bad("a NUL in the head")),
                (b'\n', _) => return Err(Bad("a bare LF in the head")),
                (_, Some(b'\n')) => {}
                (_, Some(_)) => return Err(Bad("a bare CR in the head")),
                (_, None) => {
                    self.scanned = at;
                    break;
                }
            }
            let is_empty = at == self.line;
            self.line = at + 2;
            self.scanned = self.line;
            if is_empty && at > 0 {
                return Ok(Some(self.line));
            }
            if is_empty {
                self.start = self.line;
                self.check_first(bytes)?;
            }
        }
        Ok(None)
    }

    fn check_first(&self, bytes: &[u8]) -> Result<(), Bad> {
        match bytes.get(self.start) {
            Some(&b'H') | None => Ok(()),
            Some(_) if self.is_response => Err(Bad("no status line")),
            Some(b'\r') if self.start == 0 => Ok(()),
            Some(&first) if fields::is_token_byte(first) => Ok(()),
            Some(_) => Err(Bad("no request line")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Finds the end with the bytes coming one by one.
    fn byte_by_byte(mut end: HeadEnd, bytes: &[u8]) -> Result<Option<usize>, Bad> {
        for len in 1..=bytes.len() {
            if let found @ Some(_) = end.find(&bytes[..len])? {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn request(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let at_once = HeadEnd::request().find(bytes);
        assert_eq!(at_once, byte_by_byte(HeadEnd::request(), bytes));
        at_once.map_err(|Bad(why)| why)
    }

    fn response(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
        let at_once = HeadEnd::response().find(bytes);
        assert_eq!(at_once, byte_by_byte(HeadEnd::response(), bytes));
        at_once.map_err(|Bad(why)| why)
    }

    #[test]
    fn a_head_ends_with_its_empty_line() {
        assert_eq!(request(b""), Ok(None));
        assert_eq!(request(b"GET / HTTP/1.1\r\nA: b\r\n\r"), Ok(None));
        assert_eq!(request(b"GET / HTTP/1.1\r\nA: b\r\n\r\n"), Ok(Some(24)));
        assert_eq!(request(b"GET / HTTP/1.1\r\nA: b\r\n\r\n\0\n"), Ok(Some(24)));
        assert_eq!(response(b"HTTP/1.1 200 OK\r\n\r\nbody\n"), Ok(Some(19)));
    }

    #[test]
    fn one_empty_line_may_come_before_a_request_only() {
        assert_eq!(request(b"\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Some(20)));
        assert_eq!(request(b"\r"), Ok(None));
        assert_eq!(request(b"\r\n"), Ok(None));
        assert_eq!(request(b"\r\n\r\n"), Err("no request line"));
        assert_eq!(
            response(b"\r\nHTTP/1.1 200 OK\r\n\r\n"),
            Err("no status line")
        );
    }

    #[test]
    fn what_is_no_head_is_refused_at_once() {
        for (bytes, why) in [
            (&b"\x16\x03\x01"[..], "no request line"),
            (b" ", "no request line"),
            (b"\n", "no request line"),
            (b"\0", "no request line"),
            (b"\r\n ", "no request line"),
            (b"\rG", "a bare CR in the head"),
            (b"GET / HTTP/1.1\n", "a bare LF in the head"),
            (b"GET / HTTP/1.1\r\nA: b\n", "a bare LF in the head"),
            (b"GET / HTTP/1.1\r\r", "a bare CR in the head"),
            (b"GET / HTTP/1.1\r\nA: b\rc", "a bare CR in the head"),
            (b"GET / HTTP/1.1\r\nA: \0", "a NUL in the head"),
        ] {
            assert_eq!(request(bytes), Err(why), "{}", bytes.escape_ascii());
        }
        assert_eq!(response(b"GET"), Err("no status line"));
        assert_eq!(response(b"HTTP/1.1 200\n"), Err("a bare LF in the head"));
    }

    proptest! {
        #[test]
        fn any_cut_finds_the_same_end(
            bytes in "[\r\n]{0,2}[A-Z\r\n\0]{0,3}(\r\n|[a\r\n]|a: b){0,12}",
            cuts in proptest::collection::vec(0usize..40, 0..5),
        ) {
            let bytes = bytes.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut end = HeadEnd::request();
            let mut found = Ok(None);
            for cut in cuts {
                found = end.find(&bytes[..cut]);
                if found != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(found, HeadEnd::request().find(bytes));
        }
    }
}
