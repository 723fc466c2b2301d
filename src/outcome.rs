//! The table of outcomes: what every operation can end in, with its HTTP status and exit code.
//!
//! One table, as code. The admin API takes the status from it, the command line the exit code, the
//! documentation its rows ([`Outcome::table`]), and the tests assert the running program against
//! it. No status of 200 to 299 stands in it unless the thing asked for is true: for a drain, that
//! the backend is safe to kill, or that the caller asked not to wait.

use serde::{Deserialize, Serialize};

/// What an operation ended in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An operation without a drain was done, or was done already.
    Done,
    /// A drain: everything finished by itself.
    Clean,
    /// A drain or close: something was cut.
    Forced,
    /// The wait for *drained* is over, the drain goes on; or that of a pause, which is taken back.
    NotYet,
    /// Somebody made the backend active again.
    Restored,
    /// The operation would not be safe, and was not forced.
    Refused,
    /// An add or a rollout did not get healthy or was taken back; who served before serves.
    Failed,
    /// No such pool or backend.
    Unknown,
    /// The wait for *healthy* is over.
    NotHealthyYet,
    /// Begun, and the caller asked not to wait.
    Begun,
    /// The request itself makes no sense.
    Invalid,
    /// The configuration has problems; nothing was changed.
    Rejected,
    /// The caller may not do this.
    NotAuthorised,
    /// Something that should not happen, such as a state file that cannot be written.
    Error,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The outcome.
    pub outcome: Outcome,
    /// Its word in answers.
    pub word: &'static str,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The exit code of the command line.
    pub exit: u8,
    /// In words.
    pub meaning: &'static str,
}

const TABLE: [Row; 14] = [
    row(Outcome::Done, "done", 200, 0, "done, or already so"),
    row(
        Outcome::Clean,
        "clean",
        200,
        0,
        "everything finished by itself; safe to kill",
    ),
    row(
        Outcome::Forced,
        "forced",
        200,
        7,
        "something was cut (how many, which); safe to kill",
    ),
    row(
        Outcome::NotYet,
        "not_yet",
        408,
        6,
        "the wait is over: a drain goes on, a pause is taken back",
    ),
    row(
        Outcome::Restored,
        "restored",
        409,
        8,
        "somebody made it active again, or resumed the pool",
    ),
    row(
        Outcome::Refused,
        "refused",
        409,
        5,
        "the last eligible one without --force, a live id or address, not drained, a rollout in the way",
    ),
    row(
        Outcome::Failed,
        "failed",
        409,
        5,
        "an add or a rollout did not get healthy or was taken back; who served before serves",
    ),
    row(
        Outcome::Unknown,
        "unknown",
        404,
        5,
        "no such pool or backend",
    ),
    row(
        Outcome::NotHealthyYet,
        "not_healthy_yet",
        408,
        6,
        "the wait for healthy is over",
    ),
    row(Outcome::Begun, "begun", 202, 0, "begun; asked not to wait"),
    row(
        Outcome::Invalid,
        "invalid",
        400,
        2,
        "the request makes no sense",
    ),
    row(
        Outcome::Rejected,
        "rejected",
        422,
        3,
        "the configuration has problems; nothing was changed",
    ),
    row(
        Outcome::NotAuthorised,
        "not_authorised",
        401,
        9,
        "no token, a wrong one, or another site",
    ),
    row(
        Outcome::Error,
        "error",
        500,
        1,
        "unexpected; the log says more",
    ),
];

const fn row(
    outcome: Outcome,
    word: &'static str,
    status: u16,
    exit: u8,
    meaning: &'static str,
) -> Row {
    Row {
        outcome,
        word,
        status,
        exit,
        meaning,
    }
}

/// Exit code when the proxy cannot be reached; it has no outcome, since nobody answered.
pub const EXIT_UNREACHABLE: u8 = 4;

impl Outcome {
    /// All rows, for documentation and tests.
    pub fn table() -> &'static [Row] {
        &TABLE
    }

    /// Its row.
    pub fn row(self) -> &'static Row {
        TABLE
            .iter()
            .find(|row| row.outcome == self)
            .expect("every outcome has a row: a unit test holds it")
    }

    /// Whether the answer says that the backend may be killed.
    pub fn is_drained(self) -> bool {
        matches!(self, Self::Clean | Self::Forced)
    }

    /// The table as Markdown, as it stands in the README.
    pub fn markdown() -> String {
        let mut text =
            String::from("| outcome | HTTP | exit | meaning |\n| --- | --- | --- | --- |\n");
        for row in &TABLE {
            text += &format!(
                "| `{}` | {} | {} | {} |\n",
                row.word, row.status, row.exit, row.meaning
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_one_row_and_reads_back_by_its_word() {
        for row in Outcome::table() {
            let word = serde_json::to_value(row.outcome).unwrap();
            assert_eq!(word, row.word);
            assert_eq!(row.outcome.row(), row);
        }
        // A new variant without a row fails here: the words serde knows are the words of the table.
        let error = serde_json::from_str::<Outcome>("\"?\"")
            .unwrap_err()
            .to_string();
        for row in Outcome::table() {
            assert!(error.contains(&format!("`{}`", row.word)), "{error}");
        }
        assert_eq!(
            error.matches('`').count(),
            2 * (Outcome::table().len() + 1),
            "{error}"
        );
    }

    #[test]
    fn success_is_only_said_when_it_is_safe_or_no_wait_was_asked() {
        for row in Outcome::table() {
            let is_success = (200..300).contains(&row.status);
            let may =
                row.outcome.is_drained() || matches!(row.outcome, Outcome::Begun | Outcome::Done);
            assert_eq!(is_success, may, "{}", row.word);
        }
    }

    #[test]
    fn the_readme_has_this_table() {
        let readme = include_str!("../README.md");
        assert!(
            readme.contains(&Outcome::markdown()),
            "README.md must contain:\n{}",
            Outcome::markdown()
        );
    }
}
