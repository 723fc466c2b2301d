//! What a generation's answers say of it, for whoever judges it.
//!
//! `metrics` counts answers and errors where they happen, in the handles that a generation carries;
//! a [`Tally`] is read out of those, so that nothing is counted twice on the request path. What is
//! held against a backend is said where it is counted ([`crate::metrics::BackendMetrics`]).

use std::any::Any;

/// Answers of a generation since it was added, and the errors among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Tries that came to something: an answer, or an error that is held against the backend.
    pub answers: u64,
    /// Those that were errors; never more than the answers.
    pub errors: u64,
}

/// The counts that a generation carries; what they are is the business of `metrics`.
pub trait Counts: Any + Send + Sync {
    /// What they say by now.
    fn tally(&self) -> Tally;
}
