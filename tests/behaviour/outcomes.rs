//! Every verb in every outcome that it can end in, typed for real: the exit code, the one document of
//! `--json`, and every text in full.
//!
//! What there is to provoke is `cli::endings()`, which the documentation is made from too. A pair of
//! verb and outcome without a [`Case`] fails, and so does a case whose pair is not listed.

mod backends;
mod everywhere;
mod leaving;
mod pausing;
mod rollouts;
mod shown;
mod slow_cuts;
mod steps;

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::Output;

use futures_util::FutureExt;
use serde_json::Value;
use tidegate::cli;
use tidegate::outcome::Outcome;

use crate::support::mask::masked;
use crate::support::{App, Proxy, Setup, Typed, said};

/// How a verb comes to one of its outcomes.
pub struct Case {
    verb: &'static str,
    outcome: Outcome,
    provoke: fn(Way) -> Pin<Box<dyn Future<Output = ()>>>,
}

/// `case!("verb", Outcome, function)`.
macro_rules! case {
    ($verb:literal, $outcome:ident, $provoke:path) => {
        $crate::outcomes::Case {
            verb: $verb,
            outcome: tidegate::outcome::Outcome::$outcome,
            provoke: |way| Box::pin($provoke(way)),
        }
    };
}
use case;

/// In which of its two ways a case is typed, and what has to come of it.
#[derive(Clone, Copy)]
pub struct Way {
    outcome: Outcome,
    json: bool,
}

impl Way {
    /// The words to type.
    fn words<'a>(self, args: &[&'a str]) -> Vec<&'a str> {
        let json = self.json.then_some("--json");
        json.iter().chain(args).copied().collect()
    }

    pub async fn types(self, proxy: &Proxy, args: &[&str]) -> Output {
        proxy.cli(&self.words(args)).await
    }

    pub fn types_later(self, proxy: &Proxy, args: &[&str]) -> Typed {
        proxy.cli_later(&self.words(args))
    }

    /// Types it, and asserts what [`Way::says`] does.
    pub async fn ends(self, proxy: &Proxy, args: &[&str], out: &str, err: &str) {
        self.says(&self.types(proxy, args).await, out, err);
    }

    /// The exit code is that of the outcome, and these are the words, masked: data on stdout, the rest
    /// on stderr. With `--json` stdout is one document that says the same, and all words are on stderr.
    pub fn says(self, output: &Output, out: &str, err: &str) {
        let (exit, said_out, said_err) = said(output);
        let row = self.outcome.row();
        assert_eq!(exit, i32::from(row.exit), "{said_out}{said_err}");
        if !self.json {
            assert_eq!((&*masked(&said_out), &*masked(&said_err)), (out, err));
            return;
        }
        assert_eq!(masked(&said_err), format!("{out}{err}"));
        let document: Value = serde_json::from_str(&said_out).unwrap();
        assert_eq!(document["outcome"], row.word, "{document}");
        agrees(&document, &format!("{out}{err}"));
    }
}

/// What people and scripts are told is the same.
fn agrees(document: &Value, words: &str) {
    let lines: Vec<&str> = words.lines().collect();
    let line = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key));
    let message = masked(document["message"].as_str().unwrap());
    let is_said = line("error: ").map_or(words.starts_with(&message), |_| {
        words.contains(&format!("error: {message}\n"))
    });
    assert!(is_said, "{message} is not in {words}");
    let hint = document["hint"].as_str().map(masked);
    assert_eq!(hint.as_deref(), line("hint: "));
    // Only what was drained, or never lived, may be killed; who reads only this field kills nobody else.
    let drained = ["clean", "forced"].contains(&document["outcome"].as_str().unwrap());
    assert!(!drained || document["safe_to_kill"] == true, "{document}");
    if document["status"].is_number() {
        let outcome = document["outcome"].as_str().unwrap();
        assert_eq!(document["type"], format!("tidegate:outcome:{outcome}"));
        assert_eq!(document["detail"], document["message"]);
    }
    let rollout = &document["rollout"];
    if rollout.is_null() {
        return;
    }
    let at = |one: &Value| {
        let (id, address) = (one["id"].as_str(), one["address"].as_str());
        format!("{} ({})", id.unwrap(), masked(address.unwrap()))
    };
    let serving = document["serving"].as_array().unwrap();
    let serving: Vec<String> = serving.iter().map(at).collect();
    assert_eq!(line("serving: "), Some(&*serving.join(", ")));
    let sides = [&rollout["replaced"], &rollout["added"]];
    let all = sides.iter().flat_map(|side| side.as_array().unwrap());
    let safe: Vec<String> = all
        .filter(|one| one["safe_to_kill"] == true)
        .map(at)
        .collect();
    let safe = (!safe.is_empty()).then(|| safe.join(", "));
    assert_eq!(line("safe to kill: "), safe.as_deref());
}

/// Provokes each case in both ways, and fails at the end with the names of those that failed.
async fn provoke(cases: impl IntoIterator<Item = &Case>) {
    let mut failed = Vec::new();
    for case in cases {
        let provoked = async |json| {
            let outcome = case.outcome;
            let ended = AssertUnwindSafe((case.provoke)(Way { outcome, json }));
            ended.catch_unwind().await.is_err()
        };
        let (words, json) = tokio::join!(provoked(false), provoked(true));
        if words || json {
            failed.push(format!("{} {}", case.verb, case.outcome.row().word));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn every_outcome_that_a_verb_can_end_in_has_its_case_and_no_other() {
    let tables = [
        shown::CASES,
        backends::CASES,
        leaving::CASES,
        slow_cuts::CASES,
        pausing::CASES,
        rollouts::CASES,
        steps::CASES,
    ];
    let provoked = tables.iter().flat_map(|table| table.iter());
    let provoked = provoked.map(|case| (case.verb.to_owned(), case.outcome.row().word));
    let provoked: BTreeSet<(String, &str)> = provoked.collect();
    let listed = cli::endings().into_iter().flat_map(|ending| {
        let own = ending.own.into_iter();
        own.map(move |outcome| (ending.verb.clone(), outcome.row().word))
    });
    let listed: BTreeSet<(String, &str)> = listed.collect();
    let missing: Vec<_> = listed.difference(&provoked).collect();
    let unlisted: Vec<_> = provoked.difference(&listed).collect();
    assert!(missing.is_empty(), "without a case: {missing:?}");
    assert!(unlisted.is_empty(), "not listed: {unlisted:?}");
}

/// Probes that a test which is busy for a while does not fail.
const CALM: &str = "health: {http: /up, interval: 400ms, timeout: 400ms, rise: 1, fall: 2}";

/// A proxy before two healthy apps, `a` and `b`.
async fn pair() -> (App, App, Proxy) {
    let Three { a, b, proxy, .. } = Three::start().await;
    (a, b, proxy)
}

/// Two apps that serve pool `web`, and a third that is to come.
pub struct Three {
    pub a: App,
    pub b: App,
    pub c: App,
    pub proxy: Proxy,
}

impl Three {
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// With more keys of the pool, one per line.
    pub async fn with(keys: &str) -> Self {
        let (a, b, c) = (
            App::start("a").await,
            App::start("b").await,
            App::start("c").await,
        );
        let keys = format!("{CALM}\n{keys}");
        let setup = Setup::web_with(&[("a", &a), ("b", &b)], &keys);
        let proxy = Proxy::start(setup).await;
        proxy.until_healthy(&["a", "b"]).await;
        Self { a, b, c, proxy }
    }
}
