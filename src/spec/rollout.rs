//! What an operator can ask of a rollout: its clocks and thresholds, and the share of a canary.
//!
//! [`RolloutSpec`] is a pool's default; a caller may name others for one rollout, and the state file
//! keeps those with the rollout, so that it goes on by them after a restart.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// The clocks and thresholds of a rollout (design, section 4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// How long every new backend must have been healthy without a break before it gets traffic.
    pub min_healthy_time: Duration,
    /// How long that may take in all.
    pub healthy_deadline: Duration,
    /// How long the new ones are watched once they serve; zero does not watch.
    pub bake: Duration,
    /// Whether the old ones come back by themselves when the new ones do badly.
    pub auto_revert: bool,
    /// Answers of the new ones below which their share of errors is not judged.
    pub min_requests: u32,
    /// How far the share of errors of the new may be over that of the old.
    pub error_margin: Share,
    /// What keeps a client on one side of a canary.
    pub sticky: Option<Sticky>,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            min_healthy_time: Duration::from_secs(5),
            healthy_deadline: Duration::from_secs(60),
            bake: Duration::from_secs(10),
            auto_revert: true,
            min_requests: 50,
            error_margin: Share::percent(1),
            sticky: None,
        }
    }
}

/// A part of a whole, in steps of a hundredth of a percent, from none to all.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u16);

impl Share {
    /// Steps of the whole.
    pub const WHOLE: u16 = 10_000;

    /// So many percent, at most 100.
    pub const fn percent(percent: u16) -> Self {
        assert!(percent <= 100, "more than the whole");
        Self(percent * 100)
    }

    /// Reads `10%`, `0.5%` or `12.25%`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let expected = || Invalid("a share from 0% to 100%, such as 10% or 0.5%".to_owned());
        let number = text.strip_suffix('%').ok_or_else(expected)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most: usize| {
            let fits = !text.is_empty() && text.len() <= most;
            let fits = fits && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| fits)
        };
        let whole = digits(whole, 3).ok_or_else(expected)?;
        let tenth = if part.len() == 1 { 10 } else { 1 };
        let part = digits(part, 2).ok_or_else(expected)? * tenth;
        match whole * 100 + part {
            steps @ 0..=Self::WHOLE => Ok(Self(steps)),
            _ => Err(expected()),
        }
    }

    /// In steps of a hundredth of a percent: 0 to [`Share::WHOLE`].
    pub fn steps(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => write!(f, "{whole}%"),
            _ if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            _ => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl TryFrom<String> for Share {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

/// What of a request says which client it is from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Sticky {
    /// The value of this field, in lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

impl Sticky {
    /// Bytes of a field's or cookie's name at most.
    pub const NAME_BYTES_MAX: usize = 64;

    /// Reads `header:NAME` or `cookie:NAME`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let expected = || Invalid("header:NAME or cookie:NAME, such as cookie:session".to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(expected)?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > Self::NAME_BYTES_MAX || !name.bytes().all(is_token) {
            return Err(expected());
        }
        match kind {
            "header" => Ok(Self::Header(name.to_ascii_lowercase())),
            "cookie" => Ok(Self::Cookie(name.to_owned())),
            _ => Err(expected()),
        }
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl TryFrom<String> for Sticky {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Sticky> for String {
    fn from(sticky: Sticky) -> String {
        sticky.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_back_as_it_was_written() {
        for text in ["0%", "100%", "10%", "0.5%", "12.25%", "0.01%", "99.99%"] {
            assert_eq!(Share::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Share::parse("10.0%"), Ok(Share::percent(10)));
        assert_eq!(Share::parse("0.5%").unwrap().steps(), 50);
        for text in [
            "", "%", "10", "-1%", "+1%", "101%", "100.01%", "1.%", ".5%", "1.234%", "1e1%",
        ] {
            assert!(Share::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_a_client_is_known_by_reads_back() {
        assert_eq!(
            Sticky::parse("header:X-User"),
            Ok(Sticky::Header("x-user".into()))
        );
        let cookie = Sticky::parse("cookie:SID").unwrap();
        assert_eq!(cookie.to_string(), "cookie:SID");
        for text in [
            "",
            "cookie",
            "cookie:",
            "cookie:a b",
            "query:a",
            "header:a:b",
            "header:ä",
        ] {
            assert!(Sticky::parse(text).is_err(), "{text:?}");
        }
    }
}
