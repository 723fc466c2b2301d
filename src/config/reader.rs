//! Reading typed values out of the tree, with the path to each.
//!
//! A [`Spot`] is a value and where it stands. Each reading method gives the value, or notes a problem and gives `None`, and reading goes on:
//! so all problems of a file are found in one pass. A value that could not be read never stops
//! another from being looked at.
//!
//! The words of a problem follow one pattern: what was found, then in brackets what is expected.
//! What the keys mean is left to the readers of sections, the modules beside this one.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::node::{Node, Value};
use super::problems::{Findings, quoted, shown};
use super::section::Section;
use super::units::{format_size, parse_duration, parse_size};
use crate::spec::Invalid;

/// Whether a duration may be zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// It means "at once" or "never", as the key says.
    Allowed,
    /// It would make the thing it bounds impossible.
    Refused,
}

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Spot<'n> {
    pub(super) path: String,
    pub(super) node: &'n Node,
    pub(super) findings: &'n Findings,
}

impl<'n> Spot<'n> {
    /// Notes what is wrong with this value.
    pub(super) fn problem(&self, text: impl Into<String>) {
        self.findings
            .problem(self.node.place, &self.path, text.into());
    }

    /// Notes that this value is of the wrong kind.
    pub(super) fn mismatch<T>(&self, expected: &str) -> Option<T> {
        let found = found(&self.node.value);
        self.problem(format!("{found} (expected {expected})"));
        None
    }

    /// Notes that this value is of the right kind and still not valid.
    pub(super) fn invalid<T>(&self, text: &str, expected: &str) -> Option<T> {
        let text = quoted(text);
        self.problem(format!("{text} is not valid (expected {expected})"));
        None
    }

    pub(super) fn text(&self, expected: &str) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.mismatch(expected),
        }
    }

    /// A text that `parse` understands.
    pub(super) fn parsed<T>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = self.text(expected)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(Invalid(expected)) => self.invalid(text, &expected),
        }
    }

    /// A name; a number is a common slip, because YAML reads `id: 1` as one.
    pub(super) fn name<T>(&self, parse: impl FnOnce(&str) -> Result<T, Invalid>) -> Option<T> {
        match &self.node.value {
            Value::Whole(number) => {
                self.problem(format!(
                    "{number} is a number (expected a name, write it in quotes: \"{number}\")"
                ));
                None
            }
            _ => self.parsed("a name", parse),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names = || words.iter().map(|(name, _)| *name);
        let expected = format!("one of: {}", names().collect::<Vec<_>>().join(", "));
        let text = self.text(&expected)?;
        match words.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => Some(*value),
            None => {
                let text_quoted = quoted(text);
                let suggestion = self.findings.suggestion(text, names());
                self.problem(format!("{text_quoted} is not valid ({suggestion})"));
                None
            }
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(value) => Some(value),
            _ => self.mismatch("true or false"),
        }
    }

    /// A whole number within `range`; `expected` says so in words.
    pub(super) fn number(&self, range: RangeInclusive<u64>, expected: &str) -> Option<u64> {
        let problem = match &self.node.value {
            Value::Whole(number) => match u64::try_from(*number) {
                Ok(number) if range.contains(&number) => return Some(number),
                _ => format!("{number} is out of range (expected {expected})"),
            },
            Value::Float(number) => {
                format!("{number:?} is not a whole number (expected {expected})")
            }
            Value::Text(text) if text.parse::<u64>().is_ok() => {
                let text = quoted(text);
                format!("{text} is a text (expected {expected}, without quotes)")
            }
            _ => return self.mismatch(expected),
        };
        self.problem(problem);
        None
    }

    pub(super) fn duration(&self, zero: Zero) -> Option<Duration> {
        let expected = "a whole number and ms, s, m or h, such as 30s";
        let duration = self.with_unit(expected, parse_duration)?;
        match duration.is_zero() && zero == Zero::Refused {
            true => self.too_short(),
            false => Some(duration),
        }
    }

    fn too_short<T>(&self) -> Option<T> {
        let text = quoted(self.text("a duration")?);
        self.problem(format!("{text} is too short (expected more than zero)"));
        None
    }

    /// A duration, zero included; `never`, or a problem, is `None`.
    pub(super) fn duration_or_never(&self) -> Option<Duration> {
        let expected = "never, or a whole number and ms, s, m or h, such as 30s";
        let duration = self.with_unit(expected, |text| match (text, parse_duration(text)) {
            ("never", _) => Ok(None),
            (_, Err(Invalid(what))) if expected.ends_with(&what) => Err(Invalid(expected.into())),
            (_, duration) => duration.map(Some),
        });
        duration.flatten()
    }

    /// Bytes within `range`, written with a unit.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let expected = "a whole number and B, KiB or MiB, such as 32KiB";
        self.with_unit(expected, |text| {
            let bytes = parse_size(text)?;
            match range.contains(&bytes) {
                true => Ok(bytes),
                false => Err(Invalid(format!(
                    "{} to {}",
                    format_size(*range.start()),
                    format_size(*range.end())
                ))),
            }
        })
    }

    fn with_unit<T>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        match &self.node.value {
            Value::Whole(number) => {
                self.problem(format!("{number} has no unit (expected {expected})"));
                None
            }
            _ => self.parsed(expected, parse),
        }
    }

    /// The items of a list of at most `items_max`. A longer list is a problem and read all the
    /// same, so that what refers to its items still finds them.
    pub(super) fn list(&self, items_max: usize, expected: &str) -> Option<Vec<Spot<'n>>> {
        let Value::List(items) = &self.node.value else {
            return self.mismatch(&format!("a list of {expected}"));
        };
        self.check_count(items.len(), items_max, expected);
        let spot = |(index, node)| Spot {
            path: format!("{}[{index}]", self.path),
            node,
            findings: self.findings,
        };
        Some(items.iter().enumerate().map(spot).collect())
    }

    /// The entries of a map with keys that the operator chooses, each with its key.
    pub(super) fn table(
        &self,
        entries_max: usize,
        expected: &str,
    ) -> Option<Vec<(&'n str, Spot<'n>)>> {
        let entries = self.entries(&format!("{expected} by name"))?;
        self.check_count(entries.len(), entries_max, expected);
        Some(entries)
    }

    /// A map of which all keys are known.
    pub(super) fn section(&self, known: &'static [&'static str]) -> Option<Section<'n>> {
        let expected = format!("a section with any of: {}", known.join(", "));
        let mut entries = self.entries(&expected)?;
        entries.retain(|(key, spot)| {
            let is_known = known.contains(key);
            if !is_known {
                spot.unknown_key(key, known);
            }
            is_known
        });
        Some(Section::new(self.clone(), entries))
    }

    /// The entries of a map in the order of the file, each key once.
    fn entries(&self, expected: &str) -> Option<Vec<(&'n str, Spot<'n>)>> {
        let Value::Map(entries) = &self.node.value else {
            return self.mismatch(expected);
        };
        let mut seen = HashSet::new();
        let mut kept = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let Value::Text(text) = &key.value else {
                let found = found(&key.value);
                let text = format!("a key {found} (expected a text, in quotes if need be)");
                self.findings.problem(key.place, &self.path, text);
                continue;
            };
            let path = child_path(&self.path, text);
            if seen.insert(text.as_str()) {
                let findings = self.findings;
                kept.push((
                    text.as_str(),
                    Spot {
                        path,
                        node,
                        findings,
                    },
                ));
            } else {
                let text = "is given twice (expected once, remove one)".into();
                self.findings.problem(key.place, &path, text);
            }
        }
        Some(kept)
    }

    fn unknown_key(&self, key: &str, known: &'static [&'static str]) {
        let known = known.iter().copied();
        self.problem(match key {
            "<<" => "merge keys are not known (expected the keys themselves, or an alias as the \
                     whole value)"
                .into(),
            key => format!(
                "is not a known key ({})",
                self.findings.suggestion(key, known)
            ),
        });
    }

    fn check_count(&self, count: usize, count_max: usize, what: &str) {
        if count > count_max {
            self.problem(format!("has {count} {what} (expected at most {count_max})"));
        }
    }
}

/// A value in words that begin a problem.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "is empty".into(),
        Value::Bool(value) => format!("{value} is a boolean"),
        Value::Whole(number) => format!("{number} is a number"),
        Value::Float(number) => format!("{number:?} is a number"),
        Value::Text(text) => format!("{} is a text", quoted(text)),
        Value::List(_) => "is a list".into(),
        Value::Map(_) => "is a section".into(),
        Value::Tagged(tag) => format!("has the YAML tag !{}", shown(tag)),
    }
}

/// `pools.web`; a key that could be mistaken in a path is put in quotes.
pub(super) fn child_path(parent: &str, key: &str) -> String {
    let is_plain = crate::spec::parse_name(key).is_ok() && !key.contains('.');
    let key = if is_plain {
        key.to_owned()
    } else {
        quoted(key)
    };
    match parent {
        "" => key,
        parent => format!("{parent}.{key}"),
    }
}
