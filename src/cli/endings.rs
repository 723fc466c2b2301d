//! What every verb can end in: the list that the documentation is made from and a test can walk.
//!
//! What the proxy answers is what the admin API's document says of the operation behind a verb
//! ([`crate::admin::endings`]); the verbs without one are said here.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::tree::Tree;
use crate::admin::{self, Ending};
use crate::outcome::Outcome;

/// What a verb can end in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerbEnding {
    /// As it is typed.
    pub verb: String,
    /// The outcomes of its own.
    pub own: Vec<Outcome>,
    /// Whether it asks a running proxy: then it can end in [`Ending::EVERYWHERE`] too, and in exit
    /// code 4 if nobody answers.
    pub asks: bool,
}

impl VerbEnding {
    /// All outcomes, those that every question can end in last.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let everywhere: &[Outcome] = match self.asks {
            true => &Ending::EVERYWHERE,
            false => &[Outcome::Invalid, Outcome::Error],
        };
        let mut outcomes = self.own.clone();
        let more = everywhere.iter().filter(|one| !self.own.contains(one));
        outcomes.extend(more);
        outcomes
    }
}

/// Every verb, in the order of `--help`.
pub fn endings() -> Vec<VerbEnding> {
    let verbs = Tree::command();
    let verbs = verbs.get_subcommands().map(|verb| verb.get_name());
    verbs.map(ending).collect()
}

fn ending(verb: &str) -> VerbEnding {
    let alone: &[Outcome] = match verb {
        "run" | "check" => &[Outcome::Done, Outcome::Rejected],
        "completions" => &[Outcome::Done],
        _ => &[],
    };
    let own = match verb {
        // Of a backend too: without `wait_for` it ends in these.
        "status" => answered("pool"),
        "wait" => answered("backend"),
        "weight" => answered("weigh"),
        _ if alone.is_empty() => answered(verb),
        _ => alone.to_vec(),
    };
    VerbEnding {
        verb: verb.to_owned(),
        own,
        asks: alone.is_empty(),
    }
}

fn answered(operation: &str) -> Vec<Outcome> {
    let all = admin::endings();
    let ending = all.iter().find(|ending| ending.operation == operation);
    ending.map_or_else(Vec::new, |ending| ending.outcomes.to_vec())
}

/// The table of verbs and exit codes as Markdown, as it stands in `deploy/README.md`.
pub fn markdown() -> String {
    let endings = endings();
    let own = endings.iter().flat_map(|ending| &ending.own);
    let exits: BTreeSet<u8> = own.map(|outcome| outcome.row().exit).collect();
    let heads: String = exits.iter().map(|exit| format!(" {exit} |")).collect();
    let mut text = format!("| verb |{heads}\n|{}\n", " --- |".repeat(1 + exits.len()));
    for VerbEnding { verb, own, .. } in &endings {
        text += &format!("| `{verb}` |");
        for exit in &exits {
            let rows = own.iter().map(|outcome| outcome.row());
            let words = rows.filter(|row| row.exit == *exit);
            let words: Vec<String> = words.map(|row| format!("`{}`", row.word)).collect();
            text += &format!(" {} |", words.join(" "));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_ends_somehow() {
        for ending in endings() {
            assert!(!ending.own.is_empty(), "{}", ending.verb);
            assert!(ending.outcomes().contains(&Outcome::Invalid));
        }
    }

    #[test]
    fn the_page_on_the_verbs_has_this_table() {
        let page = include_str!("../../deploy/README.md");
        assert!(
            page.contains(&markdown()),
            "deploy/README.md must contain:\n{}",
            markdown()
        );
    }
}
