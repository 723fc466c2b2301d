//! The failure table: every error that the proxy makes itself, its word, its status, its meaning.
//!
//! The word goes into the `x-tidegate-error` field, the access log and the metrics, so that an
//! error of the proxy is never mistaken for one of the app. The README has the table too; a test
//! holds it true.

/// The response field that carries the word.
pub(super) const ERROR_FIELD: &str = "x-tidegate-error";

/// An error made by the proxy. The numbers are places in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the table says what each means")]
pub enum Failure {
    BadRequest,
    TooLarge,
    MethodNotAllowed,
    NoRoute,
    NoBackend,
    HeldTooLong,
    ConnectFailed,
    ConnectTimeout,
    UpstreamReset,
    UpstreamTimeout,
    BodyTimeout,
    TunnelTimeout,
    BadResponse,
    DrainClosed,
    ClientTimeout,
    ClientBodyTimeout,
    ClientGone,
    Internal,
}

struct Row {
    word: &'static str,
    /// Answered, or only logged where nobody is left to read it or an answer had begun.
    status: u16,
    meaning: &'static str,
}

const fn row(word: &'static str, status: u16, meaning: &'static str) -> Row {
    Row {
        word,
        status,
        meaning,
    }
}

const TABLE: [Row; 18] = [
    row("bad_request", 400, "the request is malformed or ambiguous"),
    row(
        "too_large",
        431,
        "the head or the target of the request is larger than `client.head_bytes_max`, `fields_max`, `target_bytes_max`",
    ),
    row("method_not_allowed", 405, "CONNECT is not proxied"),
    row("no_route", 404, "no route takes this host and path"),
    row(
        "no_backend",
        503,
        "no backend is eligible, or the pool is paused, and the request could not be held (`hold`)",
    ),
    row(
        "held_too_long",
        503,
        "no backend became eligible, or a pause did not end, while the request was held (`hold.timeout`)",
    ),
    row(
        "connect_failed",
        502,
        "no connection could be made to any backend that was tried",
    ),
    row(
        "connect_timeout",
        504,
        "no connection was made in time (`timeouts.connect`)",
    ),
    row(
        "upstream_reset",
        502,
        "the backend's connection ended before its answer did",
    ),
    row(
        "upstream_timeout",
        504,
        "the backend's answer did not begin in time (`timeouts.response_head`)",
    ),
    row(
        "body_timeout",
        504,
        "the backend stopped in the middle of a body, its own or the request's (`timeouts.body_idle`)",
    ),
    row(
        "tunnel_timeout",
        504,
        "no byte moved in a tunnel (`timeouts.tunnel_idle`); only logged",
    ),
    row("bad_response", 502, "the backend's answer is malformed"),
    row(
        "drain_closed",
        503,
        "a drain or an operator cut the exchange",
    ),
    row(
        "client_timeout",
        408,
        "the head of the request did not come in time (`client.head_timeout`)",
    ),
    row(
        "client_body_timeout",
        408,
        "the client stopped in the middle of a body, its own or the answer's (`client.body_idle`)",
    ),
    row(
        "client_gone",
        499,
        "the client left before its answer was complete; only logged",
    ),
    row("internal", 500, "a fault of the proxy"),
];

impl Failure {
    /// The words, in the order of their numbers.
    pub const WORDS: [&'static str; TABLE.len()] = {
        let mut words = [""; TABLE.len()];
        let mut index = 0;
        while index < words.len() {
            words[index] = TABLE[index].word;
            index += 1;
        }
        words
    };

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The word.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// The status answered, or only logged where nobody is left to read it or an answer had begun.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Whether it is held against the backend it befell. Not what a drain, the client or the proxy
    /// itself did, nor that no other backend was there.
    pub fn is_the_backends(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::UpstreamReset
                | Self::UpstreamTimeout
                | Self::BodyTimeout
                | Self::BadResponse
        )
    }

    /// Seconds after which it is worth to try again, if the answer says so.
    pub fn retry_after(self) -> Option<u32> {
        (self.status() == 503).then_some(1)
    }

    /// The table as README shows it.
    pub fn markdown() -> String {
        let mut text = String::from("| word | status | meaning |\n| --- | --- | --- |\n");
        for Row {
            word,
            status,
            meaning,
        } in &TABLE
        {
            text += &format!("| `{word}` | {status} | {meaning} |\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_rows_agree() {
        for (failure, word) in [
            (Failure::BadRequest, "bad_request"),
            (Failure::TooLarge, "too_large"),
            (Failure::MethodNotAllowed, "method_not_allowed"),
            (Failure::NoRoute, "no_route"),
            (Failure::NoBackend, "no_backend"),
            (Failure::HeldTooLong, "held_too_long"),
            (Failure::ConnectFailed, "connect_failed"),
            (Failure::ConnectTimeout, "connect_timeout"),
            (Failure::UpstreamReset, "upstream_reset"),
            (Failure::UpstreamTimeout, "upstream_timeout"),
            (Failure::BodyTimeout, "body_timeout"),
            (Failure::TunnelTimeout, "tunnel_timeout"),
            (Failure::BadResponse, "bad_response"),
            (Failure::DrainClosed, "drain_closed"),
            (Failure::ClientTimeout, "client_timeout"),
            (Failure::ClientBodyTimeout, "client_body_timeout"),
            (Failure::ClientGone, "client_gone"),
            (Failure::Internal, "internal"),
        ] {
            assert_eq!(failure.word(), word);
            assert_eq!(Failure::WORDS[failure as usize], word);
        }
    }

    #[test]
    fn the_readme_has_the_table() {
        let readme = include_str!("../../README.md");
        let table = Failure::markdown();
        assert!(readme.contains(&table), "README.md must contain:\n{table}");
    }
}
