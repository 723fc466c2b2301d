//! HTTP/1.1 on the wire: heads and bodies, strictly, without a socket in sight.
//!
//! Bytes go in, meaning comes out:
//!
//! - [`HeadEnd`] finds where a head ends, looking at each byte once however it was cut into reads;
//! - [`RequestHead`] and [`ResponseHead`] are one complete head, checked, and written again the way
//!   the other side gets it;
//! - [`Body`] follows the framing of a body and says which bytes go on; [`chunk_head`] and its
//!   companions put into chunks what had none.
//!
//! What always holds: a head or body that two readers could understand differently is refused
//! (RFC 9112, 6.3, 9.8 and 11; design, section 9); nothing here allocates per field; all state is in
//! the values above, so any split of the bytes gives the same result.
//!
//! Who calls it: the relay, and the fuzz targets in `tests/fuzz`.

mod body;
mod chunk;
mod fields;
mod host;
mod request;
mod response;
mod scan;
mod trailer;

pub use body::{Body, Chunks, EXTENSION_EXCESS_MAX, Passed};
pub use chunk::{CHUNK_END, EXTENSION_BYTES_MAX, LAST_CHUNK, chunk_head};
pub use request::{Bounds, Forwarded, Refusal, RequestHead};
pub use response::{Asked, Downstream, ResponseHead};
pub use scan::HeadEnd;
pub use trailer::{TRAILER_BYTES_MAX, TRAILERS_MAX};

/// Most fields that one head may have, whatever the configuration says.
pub const FIELDS_MAX: usize = 256;

/// Room for the fields of one head while it is looked at; lives on the caller's stack.
pub type Slots<'b> = [std::mem::MaybeUninit<httparse::Header<'b>>; FIELDS_MAX];

/// Empty room.
pub fn slots<'b>() -> Slots<'b> {
    [const { std::mem::MaybeUninit::uninit() }; FIELDS_MAX]
}

/// Bytes that are not HTTP/1.1 as it is accepted here; says what is wrong, for the log and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Bad(pub &'static str);

/// The version that a message says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the end of a body is found (RFC 9112, 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is no body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, the last of them empty.
    Chunked,
    /// The end of the connection; responses only.
    UntilClose,
}
