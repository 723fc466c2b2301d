//! What is wrong with a configuration, and how it is said.
//!
//! A [`Problem`] is one fragment: where, what was found, what is expected. [`Problems`] is all of
//! them for one file, in the order of the file. While a file is read they gather in [`Findings`],
//! each with the place of the value it is about, so that a problem found late (a route to no pool)
//! still stands where the reader of the file looks for it.
//!
//! Every text that comes out of the file passes through [`quoted`] or [`shown`]: its length is
//! bounded and nothing in it can move a cursor or break a line.

use std::cell::{Cell, RefCell};
use std::fmt;

/// Problems that are shown; more are counted. A terminal holds about as many lines.
pub const PROBLEMS_SHOWN_MAX: usize = 50;

/// Problems that are kept while a file is read; more are only counted. It bounds memory and time
/// when a file of [`super::CONFIG_BYTES_MAX`] is nothing but mistakes.
const PROBLEMS_KEPT_MAX: usize = 500;

/// Known words that a found one is compared with: the names of all pools of a valid file.
const KNOWN_MAX: usize = super::POOLS_MAX;

/// Characters of a found text that are repeated in a problem.
const QUOTED_CHARS_MAX: usize = 60;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, such as `pools.web.backends[1].address`; empty for the whole file.
    pub path: String,
    /// What was found and, in brackets, what is expected.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.text),
            path => write!(f, "{path}: {}", self.text),
        }
    }
}

/// Everything that is wrong with one file; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file, as the operator named it.
    pub file: String,
    /// In the order of the file; at most a bounded number of them.
    pub problems: Vec<Problem>,
    /// How many were found, those that are not in `problems` included.
    pub total: usize,
}

impl Problems {
    /// One problem about the file as a whole.
    pub(super) fn whole(file: &str, text: impl Into<String>) -> Self {
        let path = String::new();
        let text = text.into();
        Self {
            file: file.to_owned(),
            problems: vec![Problem { path, text }],
            total: 1,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.total == 1 { "" } else { "s" };
        let file = escaped(&self.file, usize::MAX);
        write!(f, "{file} has {} problem{plural}", self.total)?;
        let shown = self.problems.iter().take(PROBLEMS_SHOWN_MAX);
        let left = self.total.saturating_sub(shown.len());
        for problem in shown {
            write!(f, "\n  {problem}")?;
        }
        match left {
            0 => Ok(()),
            left => write!(f, "\n  and {left} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// What was found so far. Shared by all readers of one file, which run one after another.
#[derive(Default)]
pub(super) struct Findings {
    /// Each problem with the place in the file of what it is about.
    problems: RefCell<Vec<(usize, Problem)>>,
    total: Cell<usize>,
    warnings: RefCell<Vec<String>>,
}

impl Findings {
    /// Notes a problem with the value that stands at `place`.
    pub(super) fn problem(&self, place: usize, path: &str, text: String) {
        self.total.set(self.total.get() + 1);
        if !self.is_full() {
            let path = path.to_owned();
            let problem = Problem { path, text };
            self.problems.borrow_mut().push((place, problem));
        }
    }

    /// Whether problems are only counted from here on.
    fn is_full(&self) -> bool {
        self.problems.borrow().len() >= PROBLEMS_KEPT_MAX
    }

    /// `did you mean "x"?` if one of `known` is near, else all of them.
    pub(super) fn suggestion<'a>(
        &self,
        found: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> String {
        // Not kept anyway, so not worth the comparisons.
        if self.is_full() {
            return String::new();
        }
        match nearest(found, known.clone()) {
            Some(word) => format!("did you mean {}?", quoted(word)),
            None => format!("expected one of: {}", listed(known)),
        }
    }

    /// Notes something that is allowed and may surprise.
    pub(super) fn warning(&self, text: String) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < PROBLEMS_KEPT_MAX {
            warnings.push(text);
        }
    }

    /// The warnings if nothing is wrong, else all problems in the order of the file.
    pub(super) fn settle(self, file: &str) -> Result<Vec<String>, Problems> {
        let mut problems = self.problems.into_inner();
        if problems.is_empty() {
            return Ok(self.warnings.into_inner());
        }
        problems.sort_by_key(|(place, _)| *place);
        Err(Problems {
            file: file.to_owned(),
            problems: problems.into_iter().map(|(_, problem)| problem).collect(),
            total: self.total.get(),
        })
    }
}

/// A found text in quotes, escaped and cut to a bounded length.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text, QUOTED_CHARS_MAX))
}

/// A text without quotes, escaped and cut to a bounded length.
pub(super) fn shown(text: &str) -> String {
    escaped(text, 4 * QUOTED_CHARS_MAX)
}

fn escaped(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars();
    let mut out = String::new();
    for c in chars.by_ref().take(chars_max) {
        // Quotes inside a text are readable as they are.
        match c {
            '"' | '\'' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

/// Words in a row, bounded in number, such as the names of pools.
fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    const LISTED_MAX: usize = 12;
    let mut words = words.map(|word| escaped(word, QUOTED_CHARS_MAX));
    let mut out = words
        .by_ref()
        .take(LISTED_MAX)
        .collect::<Vec<_>>()
        .join(", ");
    match words.count() {
        0 => {}
        left => out.push_str(&format!(" and {left} more")),
    }
    out
}

/// The word of `known` that `found` was probably meant to be; `None` if none is near.
fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any key or name: not a slip of the finger, and the distance would cost.
    const NEAR_BYTES_MAX: usize = 80;
    if found.len() > NEAR_BYTES_MAX {
        return None;
    }
    let found = found.to_lowercase().replace('-', "_");
    known
        .take(KNOWN_MAX)
        .map(|word| (strsim::osa_distance(&found, &word.replace('-', "_")), word))
        // A third of the word may be wrong, and always one letter.
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
