//! One backend, as it is asked for: its share, who put it there, what the operator wants of it.
//!
//! [`BackendSpec`] is the entry of a configuration file, which names neither [`Origin`] nor
//! [`Intent`]: the pool's model gives those to each generation. The word of each is the same wherever
//! it is written ([`Intent::as_str`], [`Origin::as_str`] and the state file).
//!
//! What always holds: a [`Weight`] is 1 to [`Weight::MAX`], never nothing. What becomes of a backend
//! that runs is [`crate::backend`]'s business.

use serde::{Deserialize, Serialize};

use super::{Address, BackendId, Invalid};

/// One backend as the configuration file names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackendSpec {
    /// Unique in its pool.
    pub id: BackendId,
    /// Where it listens.
    pub address: Address,
    /// Its share.
    #[serde(default)]
    pub weight: Weight,
}

/// The share of a backend relative to the others of its pool, 1 to [`Weight::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Weight(u16);

impl Weight {
    /// The largest weight; HAProxy's is 256 too.
    pub const MAX: u16 = 256;

    /// Takes 1 to [`Weight::MAX`]. Zero is refused: `standby` says "no traffic" by name.
    pub fn new(weight: u64) -> Result<Self, Invalid> {
        match u16::try_from(weight) {
            Ok(weight @ 1..=Self::MAX) => Ok(Self(weight)),
            _ => Err(Invalid(format!(
                "a weight from 1 to {} (for no traffic use standby)",
                Self::MAX
            ))),
        }
    }

    /// The number.
    pub fn as_u32(self) -> u32 {
        u32::from(self.0)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u64> for Weight {
    type Error = Invalid;
    fn try_from(weight: u64) -> Result<Self, Invalid> {
        Self::new(weight)
    }
}

impl From<Weight> for u64 {
    fn from(weight: Weight) -> u64 {
        u64::from(weight.0)
    }
}

/// Who put a backend into its pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration file; a reload that no longer names it drains and removes it.
    File,
    /// The admin API; a reload leaves it alone.
    Api,
}

impl Origin {
    /// The word used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

/// What the operator wants of a backend. Health is another matter ([`crate::backend::Health`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// Gets new requests while healthy.
    Active,
    /// Kept warm and probed, gets no new requests.
    Standby,
    /// Finishes what it holds, gets no new requests.
    Draining,
}

impl Intent {
    /// The word used in answers, logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Draining => "draining",
        }
    }
}
