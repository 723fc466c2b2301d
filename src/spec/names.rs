//! Names of pools and backends.
//!
//! What always holds: a [`PoolName`] or [`BackendId`] may stand in a path, a label, a table column
//! or an option as it is, and is never mistaken there for anything else; [`parse_name`] is their one
//! rule. It is also the rule of other names that are not types of their own. Whether a name is taken
//! is for the configuration and the pool to say.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// Longest name of a pool or backend, in bytes. Names go into paths, labels and table columns.
pub const NAME_BYTES_MAX: usize = 64;

/// Reads any name: letters, digits, '-', '_' and '.', none of which means something in a path,
/// label or option.
pub fn parse_name(text: &str) -> Result<Arc<str>, Invalid> {
    let fits = !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.as_bytes()[0].is_ascii_alphanumeric();
    if fits {
        Ok(text.into())
    } else {
        Err(Invalid(format!(
            "a name of 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.' that begins with a letter or digit"
        )))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Reads a name; refuses anything that could be mistaken in a path, label or option.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                parse_name(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name! {
    /// The name of a pool, unique in the configuration.
    PoolName
}
name! {
    /// The id of a backend, unique among the live backends of its pool.
    BackendId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_a_path_or_option_could_mistake() {
        for text in ["", "-a", ".", "a/b", "a@1", "a b", "ä", &"x".repeat(65)] {
            assert!(BackendId::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(BackendId::parse("v1.2_b-3").unwrap().as_str(), "v1.2_b-3");
    }
}
