//! The verbs that show, and those that are about the file or the process.

use std::io::{BufRead, BufReader};
use std::process::Output;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::rollouts::words;
use super::{Case, Three, Way, case, pair, provoke};
use crate::support::mask::masked;
use crate::support::{App, Proxy, Setup, Typed, said, within};

pub const CASES: &[Case] = &[
    case!("run", Done, run_done),
    case!("run", Rejected, run_rejected),
    case!("check", Done, check_done),
    case!("check", Rejected, check_rejected),
    case!("status", Done, status_done),
    case!("status", Done, status_of_a_backend),
    case!("status", Unknown, status_unknown),
    case!("history", Done, history_done),
    case!("history", Done, history_of_nothing),
    case!("history", Unknown, history_unknown),
    case!("events", Done, events_done),
    case!("events", Unknown, events_unknown),
    case!("reload", Done, reload_done),
    case!("reload", Rejected, reload_rejected),
    case!("reload", Refused, reload_refused),
    case!("completions", Done, completions_done),
];

#[tokio::test]
async fn what_shows_and_what_is_about_the_file_ends_as_listed() {
    provoke(CASES).await;
}

impl Way {
    /// Data alone: a document with `--json`, else these words, masked, with their columns let go.
    fn shows(self, output: &Output, out: &str, err: &str) -> Value {
        let (exit, said_out, said_err) = said(output);
        assert_eq!(exit, i32::from(self.outcome.row().exit), "{said_err}");
        if self.json {
            assert_eq!(said_err, "");
            let document: Value = serde_json::from_str(&said_out).unwrap();
            assert_eq!(document["outcome"], self.outcome.row().word);
            return document;
        }
        assert_eq!((&*squeezed(&masked(&said_out)), &*said_err), (out, err));
        Value::Null
    }
}

/// One space where there were several: how wide a column is depends on what was masked.
fn squeezed(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ") + "\n"
    });
    lines.collect()
}

const BAD: &str = "pools: {web: {helth: 1}}\nlisteners: []\nroutes: [{pool: web}]\n";

/// A second configuration beside that of a proxy, and what is said of it if it is bad.
fn bad_file(proxy: &Proxy) -> (String, String) {
    let path = proxy.path("bad.yaml");
    std::fs::write(&path, BAD).unwrap();
    let path = path.to_str().unwrap().to_owned();
    let err = format!(
        "error: {path} has 3 problems\n  \
         pools.web.health: is missing (expected how to probe, such as {{http: /up}})\n  \
         pools.web.helth: is not a known key (did you mean \"health\"?)\n  \
         listeners: is an empty list (expected at least one, such as {{address: \"[::]:80\"}})\n"
    );
    (path, err)
}

async fn run_done(way: Way) {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let config = std::fs::read_to_string(proxy.path("config.yaml")).unwrap();
    let second = proxy.path("second.yaml");
    std::fs::write(&second, config.replace("admin.sock", "second.sock")).unwrap();
    let mut run = way.types_later(&proxy, &["run", "-c", second.to_str().unwrap()]);
    within("the proxy to start", async {
        while tokio::net::UnixStream::connect(proxy.path("second.sock"))
            .await
            .is_err()
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    kill_process(run.pid(), Signal::TERM).unwrap();
    // Its stdout is the access log's, so it has a document only if it does not start.
    let (exit, out, _) = said(&run.ended().await);
    assert_eq!((exit, &*out), (i32::from(way.outcome.row().exit), ""));
}

async fn run_rejected(way: Way) {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let (path, err) = bad_file(&proxy);
    way.ends(&proxy, &["run", "-c", &path], "", &err).await;
}

async fn check_done(way: Way) {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let config = proxy.path("config.yaml");
    let path = config.to_str().unwrap();
    let checked = way.types(&proxy, &["check", "-c", path]).await;
    way.shows(&checked, &format!("{path} is good\n"), "");
}

async fn check_rejected(way: Way) {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let (path, err) = bad_file(&proxy);
    let checked = way.types(&proxy, &["check", "-c", &path]).await;
    let (exit, out, said_err) = said(&checked);
    assert_eq!((exit, said_err), (i32::from(way.outcome.row().exit), err));
    if way.json {
        let document: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(document["outcome"], "rejected");
        let problems = document["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 3);
        assert_eq!(problems[1]["path"], "pools.web.helth");
    } else {
        assert_eq!(out, "");
    }
}

const HEAD: &str =
    "backend address weight intent health eligible requests tunnels connections since";

async fn status_done(way: Way) {
    let three = Three::start().await;
    three.open_canary().await;
    let shown = way.types(&three.proxy, &["status", "web"]).await;
    let out = format!(
        "pool web: 3 of 3 eligible, 0 held, least_requests\n\
         rollout 1 by uid:N, canary with 0% for T: c for a, b\n{HEAD}\n\
         a@1 127.0.0.1:PORT 1 active healthy yes 0 0 0 T\n\
         b@2 127.0.0.1:PORT 1 active healthy yes 0 0 0 T\n\
         c@3 127.0.0.1:PORT 1 active healthy yes 0 0 0 T\n"
    );
    // A probe may hold a connection at this very moment.
    let shown = steady(&shown);
    let document = way.shows(&shown, &out, "");
    if way.json {
        let rollout = &document["pool"]["rollout"];
        assert_eq!(rollout["phase"], "canary");
        // A phase that goes on has taken no time yet.
        let timings = &rollout["timings"];
        assert!(timings["gate_ms"].is_u64() && timings["canary_ms"].is_null());
    }
}

async fn status_of_a_backend(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let shown = way.types(&proxy, &["status", "web/a"]).await;
    let out = format!(
        "pool web\n{HEAD}\na@1 127.0.0.1:PORT 1 active healthy yes 0 0 0 T\n\
         last probe: good, status 200, took T, T ago\n"
    );
    let document = way.shows(&steady(&shown), &out, "");
    if way.json {
        assert_eq!(document["backend"]["id"], "a");
    }
}

/// The output with the connection of a probe under way taken off.
fn steady(output: &Output) -> Output {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut steady = output.clone();
    if !text.starts_with('{') {
        steady.stdout = squeezed(&text).replace("yes 0 0 1 ", "yes 0 0 0 ").into();
    }
    steady
}

async fn status_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let err = "error: pool \"web\" has no backend \"x\"\nhint: `tidegate status web` lists its backends\n";
    way.ends(&proxy, &["status", "web/x"], "", err).await;
}

async fn history_done(way: Way) {
    let three = Three::start().await;
    three.c.set_health(503);
    let args = three.rollout(&[&["--healthy-deadline", "1s"]]);
    three.proxy.cli(&words(&args)).await;
    three.c.set_health(200);
    three.open_canary().await;
    let history = way.types(&three.proxy, &["history", "web"]).await;
    let out = "# when who what from -> to outcome took cause\n\
        2 DATE uid:N rollout a, b -> c canary with 0% T\n\
        1 DATE uid:N rollout a, b -> c failed, clean T \
        not healthy within T: c (last probe: status 503 (expected 200-299))\n";
    let document = way.shows(&dated(&history), out, "");
    if way.json {
        let records = document["records"].as_array().unwrap();
        let phases: Vec<&Value> = records.iter().map(|record| &record["phase"]).collect();
        assert_eq!(phases, ["canary", "failed"]);
    }
}

/// The output with the moments in it masked.
fn dated(output: &Output) -> Output {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut dated = output.clone();
    if !text.starts_with('{') {
        let words = text.split(' ').map(|word| match word {
            _ if word.starts_with("20") && word.ends_with('Z') => "DATE",
            _ => word,
        });
        dated.stdout = words.collect::<Vec<_>>().join(" ").into();
    }
    dated
}

async fn history_of_nothing(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let history = way.types(&proxy, &["history", "web"]).await;
    way.shows(&history, "", "pool web has had no rollout yet\n");
}

async fn history_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let err = "error: there is no pool \"none\"\nhint: `tidegate status` lists the pools\n";
    way.ends(&proxy, &["history", "none"], "", err).await;
}

/// It ends with its reader.
async fn events_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let events = way.types_later(&proxy, &["events", "web/b", "--since", "0"]);
    let (line, output) = first_line(events).await;
    match way.json {
        true => {
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["event"], "added");
        }
        false => assert!(squeezed(&line).contains(" added web/b@2 127."), "{line}"),
    }
    let (exit, _, err) = said(&output);
    assert_eq!((exit, &*err), (i32::from(way.outcome.row().exit), ""));
}

/// Reads one line, and then nothing any more until it has ended.
async fn first_line(typed: Typed) -> (String, Output) {
    let mut child = typed.into_child();
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        (line, child.wait_with_output().unwrap())
    });
    within("the command line to end", read).await.unwrap()
}

async fn events_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let err = "error: there is no pool \"none\"\nhint: `tidegate status` lists the pools\n";
    way.ends(&proxy, &["events", "none"], "", err).await;
}

async fn reload_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let out = "reloaded: 0 added, 0 drained, 0 reweighted\n";
    way.ends(&proxy, &["reload"], out, "").await;
}

async fn reload_rejected(way: Way) {
    let (_a, _b, proxy) = pair().await;
    std::fs::write(proxy.path("config.yaml"), BAD).unwrap();
    let (_, err) = bad_file(&proxy);
    let err = err.replace("bad.yaml", "config.yaml")
        + "hint: the running configuration was not changed\n";
    way.ends(&proxy, &["reload"], "", &err).await;
}

async fn reload_refused(way: Way) {
    let mut three = Three::start().await;
    three.open_canary().await;
    let without_b = Setup::web(&[("a", &three.a)]);
    three.proxy.rewrite(without_b);
    let err = "error: web/b is part of rollout 1 of web, which is under way: canary, by uid:N\n\
        hint: `tidegate abort web` takes the rollout back, `tidegate status web` shows it\n";
    way.ends(&three.proxy, &["reload"], "", err).await;
}

async fn completions_done(way: Way) {
    let proxy = Proxy::start(Setup::web(&[("a", &App::start("a").await)])).await;
    let written = way.types(&proxy, &["completions", "bash"]).await;
    let (exit, out, err) = said(&written);
    assert_eq!((exit, &*err), (i32::from(way.outcome.row().exit), ""));
    let script = match way.json {
        true => {
            let document: Value = serde_json::from_str(&out).unwrap();
            assert_eq!(document["outcome"], "done");
            document["script"].as_str().unwrap().to_owned()
        }
        false => out,
    };
    assert!(script.starts_with("_tidegate() {"), "{script}");
}
