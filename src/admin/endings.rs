//! What every operation can end in, as a list: the same that the OpenAPI document is made from.
//!
//! The documentation of the command line is made from it, and a test walks it.

use super::handlers::*;
use super::reply::EVERYWHERE;
use super::rollouts::*;
use crate::outcome::Outcome;

/// An operation with the outcomes that its answer can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Its `operationId` in the OpenAPI document.
    pub operation: &'static str,
    /// Those of its own, in the order of its description.
    pub outcomes: &'static [Outcome],
}

/// Every operation, but the document itself.
pub fn endings() -> Vec<Ending> {
    let ending = |(operation, outcomes)| Ending {
        operation,
        outcomes,
    };
    [
        ("status", StatusAnswers::OUTCOMES),
        ("pools", PoolsAnswers::OUTCOMES),
        ("pool", PoolAnswers::OUTCOMES),
        ("backend", BackendAnswers::OUTCOMES),
        ("add", AddAnswers::OUTCOMES),
        ("drain", DrainAnswers::OUTCOMES),
        ("ready", ReadyAnswers::OUTCOMES),
        ("standby", StandbyAnswers::OUTCOMES),
        ("close", CloseAnswers::OUTCOMES),
        ("remove", RemoveAnswers::OUTCOMES),
        ("weigh", WeightAnswers::OUTCOMES),
        ("rollout", RolloutAnswers::OUTCOMES),
        ("canary", CanaryAnswers::OUTCOMES),
        ("promote", PromoteAnswers::OUTCOMES),
        ("rollback", RollbackAnswers::OUTCOMES),
        ("abort", AbortAnswers::OUTCOMES),
        ("history", HistoryAnswers::OUTCOMES),
        ("pause", PauseAnswers::OUTCOMES),
        ("resume", ResumeAnswers::OUTCOMES),
        ("reload", ReloadAnswers::OUTCOMES),
        ("events", EventsAnswers::OUTCOMES),
    ]
    .map(ending)
    .to_vec()
}

impl Ending {
    /// What every operation can end in besides.
    pub const EVERYWHERE: [Outcome; 3] = EVERYWHERE;
}
