//! From bytes to a tree of values: the YAML underneath the configuration.
//!
//! [`read`] turns the text of a file into a [`Node`] or into the one thing that makes it unreadable.
//! Unlike `serde_yaml::Value` the tree keeps the order of the file (each value knows its place in
//! it), keeps keys that are given twice, so that they can be reported beside everything else, and
//! is bounded: `serde_yaml` counts how often aliases are followed but not what they unfold to, and
//! a list of 100,000 aliases of a list of 100,000 is within its limit.
//!
//! What the values mean is left to [`super::reader`] and above.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess};
use serde::de::{VariantAccess, Visitor};

use super::problems::shown;

/// Values of a file, those that aliases repeat included. The largest useful file (10,000 routes) has
/// about 70,000.
pub const VALUES_MAX: usize = 500_000;

/// Bytes of all texts of a file, those that aliases repeat included.
const TEXT_BYTES_MAX: usize = 4 * super::CONFIG_BYTES_MAX;

/// Open brackets at one place of a file; a configuration needs 5.
const BRACKETS_MAX: usize = 256;

/// One value and its place in the file: values that come later have greater places.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Whole(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; a key may be there twice, and need not be a text.
    Map(Vec<(Node, Node)>),
    /// `!name …`: nothing of ours has one.
    Tagged(String),
}

/// Reads one YAML document; the error is the text of a problem.
pub(super) fn read(text: &str) -> Result<Node, String> {
    check_cost(text)?;
    let budget = Budget::default();
    Seed(&budget)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| syntax_problem(&error, text))
}

/// Refuses before parsing what the parser under `serde_yaml` takes too long for.
fn check_cost(text: &str) -> Result<(), String> {
    // Each directive is compared with all before it: a file of them would take minutes.
    if let Some(at) = text.lines().position(|line| line.starts_with('%')) {
        let line = at + 1;
        return Err(format!(
            "line {line} begins with % (expected no YAML directives, remove it)"
        ));
    }
    // For each token every open bracket is looked at. Brackets in texts and comments are counted
    // with the others: in pairs they cancel out.
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth > BRACKETS_MAX {
            return Err(TOO_DEEP.into());
        }
    }
    Ok(())
}

/// `serde_yaml` does not say by type what went wrong, so its words are looked at.
fn syntax_problem(error: &serde_yaml::Error, text: &str) -> String {
    let words = error.to_string();
    let known = [
        (
            "EOF while parsing",
            "is empty (expected at least listeners, pools and routes)",
        ),
        (
            "more than one document",
            "has more than one YAML document (expected one, without --- between)",
        ),
        ("recursion limit", TOO_DEEP),
        (
            "repetition limit",
            "repeats too much by aliases (expected a file that unfolds to a bounded size)",
        ),
        (
            TOO_LARGE,
            "unfolds to too many values (expected at most 500000, repeated aliases included)",
        ),
    ];
    let known = known.iter().find(|(sign, _)| words.contains(sign));
    match known {
        Some((_, text)) => (*text).into(),
        None => format!("is not YAML: {}{}", shown(&words), hint(error, text)),
    }
}

/// The usual reasons why a configuration is not YAML, looked for near the place of the error.
fn hint(error: &serde_yaml::Error, text: &str) -> &'static str {
    // An error is often noticed at the begin of the line after it.
    let line = error.location().map_or(0, |location| location.line());
    let near = || text.lines().skip(line.saturating_sub(2)).take(2);
    if near().any(|line| line.contains(": *.")) {
        " (a host that begins with * must be in quotes, such as \"*.example.com\")"
    } else if near().any(|line| line.contains(": [") && line.contains("]:")) {
        " (an address that begins with [ must be in quotes, such as \"[::]:80\")"
    } else if near().any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        " (indent with spaces, not with tabs)"
    } else {
        ""
    }
}

const TOO_DEEP: &str = "is nested too deeply (expected a few levels)";

const TOO_LARGE: &str = "tidegate: too many values";

/// How much the tree may still grow; its first number is also the place of the next value.
#[derive(Default)]
struct Budget {
    values: Cell<usize>,
    text_bytes: Cell<usize>,
}

impl Budget {
    fn spend<E: de::Error>(&self, text: &str) -> Result<usize, E> {
        let place = self.values.get();
        self.values.set(place + 1);
        self.text_bytes.set(self.text_bytes.get() + text.len());
        match place < VALUES_MAX && self.text_bytes.get() <= TEXT_BYTES_MAX {
            true => Ok(place),
            false => Err(E::custom(TOO_LARGE)),
        }
    }

    fn leaf<E: de::Error>(&self, value: Value) -> Result<Node, E> {
        let place = self.spend("")?;
        Ok(Node { place, value })
    }
}

#[derive(Clone, Copy)]
struct Seed<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.0.leaf(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.0.leaf(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.0.leaf(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.0.leaf(Value::Whole(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.0.leaf(Value::Whole(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.0.leaf(Value::Whole(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        // Out of any range of ours either way.
        let value = i128::try_from(value).unwrap_or(i128::MAX);
        self.0.leaf(Value::Whole(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.0.leaf(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        let place = self.0.spend(text)?;
        let value = Value::Text(text.to_owned());
        Ok(Node { place, value })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let place = self.0.spend("")?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        let value = Value::List(list);
        Ok(Node { place, value })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let place = self.0.spend("")?;
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry_seed(self, self)? {
            map.push(entry);
        }
        let value = Value::Map(map);
        Ok(Node { place, value })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Node, A::Error> {
        let place = self.0.spend("")?;
        let (tag, content) = tagged.variant::<String>()?;
        content.newtype_variant_seed(self)?;
        let value = Value::Tagged(tag);
        Ok(Node { place, value })
    }
}
