//! The line in front of a chunk, read and written.
//!
//! Reading is as strict as RFC 9112, 7.1 and 7.1.1: hexadecimal digits, then nothing or well-formed
//! extensions, then CRLF. White space directly behind the size, which the grammar tolerates before
//! `;`, is refused: readers differ about it. What cannot become such a line is refused at its first wrong byte; a line
//! is taken only when it is complete. Called from [`super::Body`]; writing, from the relay.

use std::io::Write;

use super::Bad;
use super::fields::is_token_byte;

/// Most digits of a chunk's size, leading zeros included: no size overflows 60 bits.
const DIGITS_MAX: usize = 15;

/// Longest extensions of one chunk. Nobody here reads any; signatures of chunks are below 100 bytes.
pub const EXTENSION_BYTES_MAX: usize = 256;

/// What comes behind the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// What comes behind the last chunk that has data, if no trailers do.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends what comes before `len` bytes of data; [`CHUNK_END`] comes behind them. No data would be
/// the end of the body, so nothing is to be written for it: `len` is more than 0.
pub fn chunk_head(len: usize, out: &mut Vec<u8>) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    // Writing to a Vec does not fail.
    let _ = write!(out, "{len:x}\r\n");
}

/// A complete line in front of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SizeLine {
    /// The size of the chunk.
    pub(super) size: u64,
    /// How many bytes the digits take.
    pub(super) digits: usize,
    /// How many bytes the extensions take.
    pub(super) extensions: usize,
}

impl SizeLine {
    /// Reads the line at the front of `bytes`; `None` if it goes on behind them.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Bad> {
        let mut size = 0;
        let mut digits = 0;
        while let Some(digit) = bytes.get(digits).and_then(|&byte| hex(byte)) {
            size = size << 4 | digit;
            digits += 1;
            if digits > DIGITS_MAX {
                return Err(Bad("a chunk size that is too long"));
            }
        }
        let rest = &bytes[digits..];
        let extensions = match rest.first() {
            None => return Ok(None),
            Some(_) if digits == 0 => return Err(Bad("a malformed chunk size")),
            Some(b'\r') => 0,
            Some(b';') => match extensions(rest)? {
                Some(len) => len,
                None => return Ok(None),
            },
            Some(_) => return Err(Bad("a malformed chunk size")),
        };
        match rest.get(extensions + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some(Self {
                size,
                digits,
                extensions,
            })),
            Some(_) => Err(Bad("a bare CR behind a chunk size")),
        }
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// Where the reading of extensions is (RFC 9112, 7.1.1).
#[derive(Clone, Copy)]
enum At {
    /// Between the size or a value and the next `;`.
    Gap,
    /// Behind `;`, before a name.
    NameStart,
    Name,
    /// Between a name and `=` or `;`.
    NameGap,
    /// Behind `=`, before a value.
    ValueStart,
    Value,
    Quoted,
    /// Behind a backslash.
    Escaped,
    /// Behind the closing quote.
    Closed,
}

/// How many bytes of extensions there are before the CR; `None` if they go on behind `bytes`.
fn extensions(bytes: &[u8]) -> Result<Option<usize>, Bad> {
    let mut at = At::Gap;
    for (len, &byte) in bytes.iter().enumerate() {
        at = match (at, byte) {
            (At::Name | At::Value | At::Closed, b'\r') => return Ok(Some(len)),
            _ if len == EXTENSION_BYTES_MAX => {
                return Err(Bad("chunk extensions that are too long"));
            }
            (At::Gap | At::Value | At::Closed, b' ' | b'\t') => At::Gap,
            (At::Name | At::NameGap, b' ' | b'\t') => At::NameGap,
            (At::NameStart | At::ValueStart, b' ' | b'\t') => at,
            (At::Gap | At::Name | At::NameGap | At::Value | At::Closed, b';') => At::NameStart,
            (At::Name | At::NameGap, b'=') => At::ValueStart,
            (At::NameStart | At::Name, _) if is_token_byte(byte) => At::Name,
            (At::ValueStart, b'"') | (At::Escaped, b'\t' | b' '..=b'~' | 0x80..) => At::Quoted,
            (At::ValueStart | At::Value, _) if is_token_byte(byte) => At::Value,
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted, b'\t' | b' '..=b'~' | 0x80..) => At::Quoted,
            _ => return Err(Bad("malformed chunk extensions")),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[u8]) -> Result<Option<(u64, usize)>, &'static str> {
        let at_once = SizeLine::read(line);
        // What is seen of a longer line never says something else.
        for len in 0..line.len() {
            match SizeLine::read(&line[..len]) {
                Ok(None) => {}
                early => assert_eq!(early, at_once),
            }
        }
        at_once
            .map(|line| line.map(|line| (line.size, line.extensions)))
            .map_err(|Bad(why)| why)
    }

    #[test]
    fn sizes_and_well_formed_extensions_are_read() {
        for (line, size, extensions) in [
            (&b"0\r\n"[..], 0, 0),
            (b"1aF\r\n", 0x1af, 0),
            (b"000000000000010\r\n", 16, 0),
            (b"fffffffffffffff\r\n", (1 << 60) - 1, 0),
            (b"5;a\r\n", 5, 2),
            (b"5;a=b;c\r\n", 5, 6),
            (b"5;\ta = b ;c\r\n", 5, 10),
            (b"5;a=\"b;\\\"\x80 \"\r\n", 5, 11),
            (b"5;a=\"\" ;b\r\n", 5, 8),
        ] {
            let said = line.escape_ascii();
            assert_eq!(read(line), Ok(Some((size, extensions))), "{said}");
        }
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(b"5"), Ok(None));
        assert_eq!(read(b"5\r"), Ok(None));
        assert_eq!(read(b"5;a=\"\\"), Ok(None));
    }

    #[test]
    fn lines_with_two_readings_are_refused() {
        for (line, why) in [
            (&b"\r\n"[..], "a malformed chunk size"),
            (b"+5\r\n", "a malformed chunk size"),
            (b"-5\r\n", "a malformed chunk size"),
            (b" 5\r\n", "a malformed chunk size"),
            (b"0x5\r\n", "a malformed chunk size"),
            (b"5g\r\n", "a malformed chunk size"),
            (b"5_0\r\n", "a malformed chunk size"),
            (b";a\r\n", "a malformed chunk size"),
            (b"5\n", "a malformed chunk size"),
            (b"5\0", "a malformed chunk size"),
            (b"\xef\xbc\x95\r\n", "a malformed chunk size"),
            (b"5\rx", "a bare CR behind a chunk size"),
            (b"5\r\r\n", "a bare CR behind a chunk size"),
            (b"0000000000000005\r\n", "a chunk size that is too long"),
            (b"ffffffffffffffff\r\n", "a chunk size that is too long"),
            (b"10000000000000005\r\n", "a chunk size that is too long"),
            (b"5 \r\n", "a malformed chunk size"),
            (b"5 ;a\r\n", "a malformed chunk size"),
            (b"5\t;a\r\n", "a malformed chunk size"),
            (b"5;\r\n", "malformed chunk extensions"),
            (b"5;a \r\n", "malformed chunk extensions"),
            (b"5;a\n", "malformed chunk extensions"),
            (b"5;a=\r\n", "malformed chunk extensions"),
            (b"5;=b\r\n", "malformed chunk extensions"),
            (b"5;a=b=c\r\n", "malformed chunk extensions"),
            (b"5;a b\r\n", "malformed chunk extensions"),
            (b"5;a=\"b\n\"\r\n", "malformed chunk extensions"),
            (b"5;a=\"b\r\n\"\r\n", "malformed chunk extensions"),
            (b"5;a=\"b\"c\r\n", "malformed chunk extensions"),
            (b"5;a=\"\\\x7f\"\r\n", "malformed chunk extensions"),
            (b"5;a\rb\r\n", "a bare CR behind a chunk size"),
            (b"5;\x80\r\n", "malformed chunk extensions"),
        ] {
            assert_eq!(read(line), Err(why), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn extensions_of_one_line_are_bounded() {
        let line = |len: usize| format!("5;{}\r\n", "a".repeat(len - 1)).into_bytes();
        let longest = EXTENSION_BYTES_MAX;
        assert_eq!(read(&line(longest)), Ok(Some((5, longest))));
        let too_long = Err("chunk extensions that are too long");
        assert_eq!(read(&line(longest + 1)), too_long);
        let endless = [b"5".as_slice(), &[b';'; 1], &[b'a'; 400]].concat();
        assert_eq!(read(&endless), too_long);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for len in [1, 9, 16, 4096, 0xfff_ffff] {
            let mut line = Vec::new();
            chunk_head(len, &mut line);
            assert_eq!(read(&line), Ok(Some((len as u64, 0))));
        }
    }
}
