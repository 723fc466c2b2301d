//! The failure table: every error that the proxy makes itself, its word and its status.
//!
//! The word goes into the `x-tidegate-error` field, the access log and the metrics, so that an
//! error of the proxy is never mistaken for one of the app.

use pingora::{Error, ErrorSource, ErrorType};

/// The response field that carries the word.
pub(super) const ERROR_FIELD: &str = "x-tidegate-error";

/// An error made by the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Failure {
    /// The request is malformed or ambiguous.
    BadRequest,
    /// Its head or target is larger than allowed.
    TooLarge,
    /// CONNECT is not proxied.
    MethodNotAllowed,
    /// No route takes its host and path.
    NoRoute,
    /// No backend is eligible and the hold is full or off.
    NoBackend,
    /// No backend became eligible while the request was held.
    HeldTooLong,
    /// No connection could be made.
    ConnectFailed,
    /// The connection died before the response was complete.
    UpstreamReset,
    /// The backend took too long.
    UpstreamTimeout,
    /// The backend's response is malformed.
    BadResponse,
    /// The exchange was cut by a drain or an operator.
    DrainClosed,
    /// The client sent its request too slowly.
    ClientTimeout,
    /// The client went away.
    ClientGone,
    /// A fault of the proxy.
    Internal,
}

impl Failure {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::BadRequest,
        Self::TooLarge,
        Self::MethodNotAllowed,
        Self::NoRoute,
        Self::NoBackend,
        Self::HeldTooLong,
        Self::ConnectFailed,
        Self::UpstreamReset,
        Self::UpstreamTimeout,
        Self::BadResponse,
        Self::DrainClosed,
        Self::ClientTimeout,
        Self::ClientGone,
        Self::Internal,
    ];

    /// The words, in the order of their numbers.
    pub const WORDS: [&'static str; 14] = {
        let mut words = [""; 14];
        let mut index = 0;
        while index < words.len() {
            words[index] = Self::ALL[index].word();
            index += 1;
        }
        words
    };

    /// The word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NoRoute => "no_route",
            Self::NoBackend => "no_backend",
            Self::HeldTooLong => "held_too_long",
            Self::ConnectFailed => "connect_failed",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::BadResponse => "bad_response",
            Self::DrainClosed => "drain_closed",
            Self::ClientTimeout => "client_timeout",
            Self::ClientGone => "client_gone",
            Self::Internal => "internal",
        }
    }

    /// The status answered, or only logged where nobody is left to read it (499).
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::TooLarge => 431,
            Self::MethodNotAllowed => 405,
            Self::NoRoute => 404,
            Self::NoBackend | Self::HeldTooLong | Self::DrainClosed => 503,
            Self::ConnectFailed | Self::UpstreamReset | Self::BadResponse => 502,
            Self::UpstreamTimeout => 504,
            Self::ClientTimeout => 408,
            Self::ClientGone => 499,
            Self::Internal => 500,
        }
    }

    /// Whether the answer says when to try again.
    pub fn retry_after(self) -> Option<u32> {
        (self.status() == 503).then_some(1)
    }

    /// What pingora's error means here.
    pub(super) fn of(error: &Error) -> Self {
        use ErrorType as E;
        match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, E::ReadTimedout) => Self::ClientTimeout,
            (
                ErrorSource::Downstream,
                E::ReadError | E::WriteError | E::ConnectionClosed | E::WriteTimedout,
            ) => Self::ClientGone,
            (ErrorSource::Downstream, _) => Self::BadRequest,
            (_, E::ConnectTimedout | E::ConnectRefused | E::ConnectNoRoute | E::ConnectError) => {
                Self::ConnectFailed
            }
            (ErrorSource::Upstream, E::ReadTimedout | E::WriteTimedout) => Self::UpstreamTimeout,
            (ErrorSource::Upstream, E::InvalidHTTPHeader) => Self::BadResponse,
            (ErrorSource::Upstream, _) => Self::UpstreamReset,
            _ => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_agree() {
        for (index, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, index);
            assert_eq!(Failure::WORDS[index], failure.word());
        }
    }
}
