//! A map of which all keys are known, and reading its values over defaults.
//!
//! [`Spot::section`] makes one, after it reported the keys that are not known. A value that is not
//! there, or that is a problem, leaves the default in its place: a file with problems is refused as
//! a whole, so what is read from it is never used.

use std::time::Duration;

use super::reader::{Spot, Zero, child_path};

/// A map of which all keys are known.
pub(super) struct Section<'n> {
    pub(super) spot: Spot<'n>,
    entries: Vec<(&'n str, Spot<'n>)>,
}

impl<'n> Section<'n> {
    /// A section with the entries whose keys are known; for [`Spot::section`].
    pub(super) fn new(spot: Spot<'n>, entries: Vec<(&'n str, Spot<'n>)>) -> Self {
        Self { spot, entries }
    }

    /// The value of `key`, if it is there.
    pub(super) fn find(&self, key: &str) -> Option<&Spot<'n>> {
        let entry = self.entries.iter().find(|(name, _)| *name == key);
        entry.map(|(_, spot)| spot)
    }

    /// The value of `key`, which must be there.
    pub(super) fn require(&self, key: &str, expected: &str) -> Option<&Spot<'n>> {
        let found = self.find(key);
        if found.is_none() {
            let path = child_path(&self.spot.path, key);
            let text = format!("is missing (expected {expected})");
            self.spot
                .findings
                .problem(self.spot.node.place, &path, text);
        }
        found
    }

    /// The section under `key`, if it is there.
    pub(super) fn section(&self, key: &str, known: &'static [&'static str]) -> Option<Section<'n>> {
        self.find(key)?.section(known)
    }

    /// Puts the duration under `key` into `into`, which keeps its default if it is not there.
    pub(super) fn duration(&self, key: &str, zero: Zero, into: &mut Duration) {
        if let Some(duration) = self.find(key).and_then(|spot| spot.duration(zero)) {
            *into = duration;
        }
    }

    /// The same for a whole number from 1 to `number_max`.
    pub(super) fn count<T: TryFrom<u64>>(&self, key: &str, number_max: u64, into: &mut T) {
        let expected = format!("a number from 1 to {number_max}");
        let number = self
            .find(key)
            .and_then(|spot| spot.number(1..=number_max, &expected));
        // Every bound of ours fits its type.
        if let Some(Ok(number)) = number.map(T::try_from) {
            *into = number;
        }
    }

    /// The same for one of a few words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], into: &mut T) {
        if let Some(value) = self.find(key).and_then(|spot| spot.word(words)) {
            *into = value;
        }
    }
}
