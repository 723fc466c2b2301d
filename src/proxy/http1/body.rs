//! The framing of a body, followed byte by byte; data passes through in place.
//!
//! A body of a known length, or until the end of the connection, is only counted. One in chunks goes
//! through these steps, again and again until the last chunk:
//!
//! ```text
//! Size -> Data -> DataEnd -> Size ... -> Trailers -> Done
//! ```
//!
//! What always holds: a line of the framing goes on only when it is complete and checked; chunk
//! extensions and trailers that mean something only in a head never do. A chunk goes on as soon as
//! any of its data is there. Bytes move only if something in front of them was taken out, and each
//! at most once. What is broken is an error at once.
//!
//! The relay calls [`Body::pass`] with what it has read, and sends on what was kept.

use std::ops::Range;

use super::chunk::SizeLine;
use super::trailer::{self, TRAILER_BYTES_MAX, TRAILERS_MAX};
use super::{Bad, Framing};

/// By how many bytes the chunk extensions of one body may exceed its data. They are not sent on, so
/// someone could make the proxy read for ever what nobody behind it sees.
pub const EXTENSION_EXCESS_MAX: u64 = 16 * 1024;

/// What happens to the framing of a chunked body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chunks {
    /// It goes on with the data: the other side gets chunks too.
    Keep,
    /// Only the data goes on.
    Strip,
}

/// What became of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passed {
    /// So many bytes from the front were understood. The others come again with more behind them; if
    /// the body has ended, they belong to whatever follows it.
    pub consumed: usize,
    /// So many bytes, moved to the front, go on to the other side. At most `consumed`.
    pub kept: usize,
    /// How many of them are data rather than framing.
    pub data: usize,
    /// The body has ended.
    pub ended: bool,
}

impl Passed {
    /// Understands the next `len` bytes, and keeps those of them in `keep`.
    fn take(&mut self, bytes: &mut [u8], len: usize, keep: Range<usize>) {
        let kept = keep.len();
        if kept > 0 && self.kept != self.consumed + keep.start {
            let from = self.consumed + keep.start;
            bytes.copy_within(from..from + kept, self.kept);
        }
        self.kept += kept;
        self.consumed += len;
    }

    fn take_data(&mut self, bytes: &mut [u8], len: usize) {
        self.take(bytes, len, 0..len);
        self.data += len;
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// So many bytes are to come.
    Length(u64),
    UntilClose,
    /// Before the line in front of a chunk.
    Size,
    /// So many bytes of a chunk are to come.
    Data(u64),
    /// Before the CRLF behind a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    Done,
}

/// A body on its way.
#[derive(Clone, Debug)]
pub struct Body {
    step: Step,
    /// By how much extensions exceed the data so far.
    extension_excess: u64,
    trailers: usize,
    trailer_bytes: usize,
}

impl Body {
    /// A body of which nothing was read yet.
    pub fn new(framing: Framing) -> Self {
        let step = match framing {
            Framing::None | Framing::Length(0) => Step::Done,
            Framing::Length(bytes) => Step::Length(bytes),
            Framing::Chunked => Step::Size,
            Framing::UntilClose => Step::UntilClose,
        };
        Self {
            step,
            extension_excess: 0,
            trailers: 0,
            trailer_bytes: 0,
        }
    }

    /// Whether it has ended, or there is none.
    pub fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Whether the end of the connection is a proper end of it.
    pub fn ends_at_close(&self) -> bool {
        self.step == Step::UntilClose
    }

    /// Goes through the bytes that were read, and compacts in place those that go on to the front.
    ///
    /// # Errors
    /// Framing that is broken; the other side must then see a cut.
    pub fn pass(&mut self, bytes: &mut [u8], chunks: Chunks) -> Result<Passed, Bad> {
        let mut passed = Passed::default();
        while self.pass_step(bytes, chunks, &mut passed)? {}
        passed.ended = self.is_done();
        Ok(passed)
    }

    /// Takes one step; says whether there may be another in these bytes.
    fn pass_step(
        &mut self,
        bytes: &mut [u8],
        chunks: Chunks,
        passed: &mut Passed,
    ) -> Result<bool, Bad> {
        let ahead = bytes.len() - passed.consumed;
        match self.step {
            Step::Done => return Ok(false),
            Step::UntilClose => {
                passed.take_data(bytes, ahead);
                return Ok(false);
            }
            Step::Length(left) => {
                let left = pass_data(left, bytes, passed);
                self.step = if left == 0 {
                    Step::Done
                } else {
                    Step::Length(left)
                };
                return Ok(false);
            }
            Step::Size => return self.pass_size(bytes, chunks, passed),
            Step::Data(left) => {
                let left = pass_data(left, bytes, passed);
                if left > 0 {
                    self.step = Step::Data(left);
                    return Ok(false);
                }
                self.step = Step::DataEnd;
            }
            Step::DataEnd => {
                match bytes[passed.consumed..] {
                    [] | [b'\r'] => return Ok(false),
                    [b'\r', b'\n', ..] => {}
                    _ => return Err(Bad("no CRLF behind a chunk")),
                }
                passed.take(bytes, 2, 0..kept(chunks, 2));
                self.step = Step::Size;
            }
            Step::Trailers => return self.pass_trailer(bytes, chunks, passed),
        }
        Ok(true)
    }

    fn pass_size(
        &mut self,
        bytes: &mut [u8],
        chunks: Chunks,
        passed: &mut Passed,
    ) -> Result<bool, Bad> {
        let Some(line) = SizeLine::read(&bytes[passed.consumed..])? else {
            return Ok(false);
        };
        let excess = self.extension_excess + line.extensions as u64;
        self.extension_excess = excess.saturating_sub(line.size);
        if self.extension_excess > EXTENSION_EXCESS_MAX {
            return Err(Bad("more chunk extensions than data"));
        }
        // The digits, then the CRLF, without what is between.
        passed.take(
            bytes,
            line.digits + line.extensions,
            0..kept(chunks, line.digits),
        );
        passed.take(bytes, 2, 0..kept(chunks, 2));
        self.step = match line.size {
            0 => Step::Trailers,
            size => Step::Data(size),
        };
        Ok(true)
    }

    fn pass_trailer(
        &mut self,
        bytes: &mut [u8],
        chunks: Chunks,
        passed: &mut Passed,
    ) -> Result<bool, Bad> {
        let ahead = &bytes[passed.consumed..];
        let room = TRAILER_BYTES_MAX - self.trailer_bytes;
        let found = memchr::memchr(b'\n', &ahead[..ahead.len().min(room)]);
        let Some(lf) = found else {
            if ahead.len() > room {
                return Err(Bad("trailers that are too long"));
            }
            return Ok(false);
        };
        let len = lf + 1;
        let line = ahead[..lf]
            .strip_suffix(b"\r")
            .ok_or(Bad("a bare LF in the trailers"))?;
        self.trailer_bytes += len;
        if line.is_empty() {
            passed.take(bytes, len, 0..kept(chunks, len));
            self.step = Step::Done;
            return Ok(false);
        }
        self.trailers += 1;
        if self.trailers > TRAILERS_MAX {
            return Err(Bad("too many trailers"));
        }
        let goes_on = trailer::check(line)?;
        passed.take(bytes, len, 0..if goes_on { kept(chunks, len) } else { 0 });
        Ok(true)
    }
}

/// Passes as much of the data as is there; says how much is left to come.
fn pass_data(left: u64, bytes: &mut [u8], passed: &mut Passed) -> u64 {
    let ahead = bytes.len() - passed.consumed;
    let len = usize::try_from(left).map_or(ahead, |left| left.min(ahead));
    passed.take_data(bytes, len);
    left - len as u64
}

/// How many of `len` bytes of framing go on.
fn kept(chunks: Chunks, len: usize) -> usize {
    match chunks {
        Chunks::Keep => len,
        Chunks::Strip => 0,
    }
}

#[cfg(test)]
mod tests;
