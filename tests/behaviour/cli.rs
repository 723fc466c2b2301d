//! The command line: what it prints and what it exits with.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::support::{App, Proxy, Setup, assert_drain_closed, get, said, within};

#[tokio::test]
async fn the_exit_code_is_that_of_the_outcome() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    let code = async |args: &[&str]| said(&proxy.cli(args).await).0;
    assert_eq!(code(&["standby", "web/b"]).await, 0);
    assert_eq!(code(&["drain", "web/a"]).await, 5, "the last eligible one");
    assert_eq!(code(&["drain", "web/none"]).await, 5);
    assert_eq!(code(&["drain", "none/a"]).await, 5);
    assert_eq!(code(&["drain", "web"]).await, 2);
    assert_eq!(code(&["drain", "web/a", "--wait", "soon"]).await, 2);
    assert_eq!(
        code(&["wait", "web/a", "--for", "drained", "--wait", "10ms"]).await,
        6
    );
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    assert_eq!(code(&["ready", "web/b"]).await, 0);
    assert_eq!(code(&["drain", "web/a", "--wait", "10ms"]).await, 6);
    assert_eq!(code(&["drain", "web/a", "--no-wait"]).await, 0);
    assert_eq!(code(&["remove", "web/a"]).await, 5);
    assert_eq!(code(&["close", "web/a"]).await, 7);
    assert_drain_closed(answer.await.unwrap());
    drop(entered);
    assert_eq!(code(&["drain", "web/a"]).await, 7, "it stays forced");
    assert_eq!(code(&["remove", "web/a"]).await, 0);
    assert_eq!(code(&["weight", "web/b", "3"]).await, 0);
    assert_eq!(code(&["weight", "web/b", "0"]).await, 2);
    assert_eq!(code(&["reload"]).await, 0);
    assert_eq!(code(&["--admin", "/nowhere/admin.sock", "status"]).await, 4);
}

#[tokio::test]
async fn data_goes_to_stdout_and_words_to_stderr() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    proxy.cli(&["standby", "web/b"]).await;
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    proxy.cli(&["ready", "web/b"]).await;
    let (code, out, words) = said(&proxy.cli(&["drain", "web/a", "--wait", "1s"]).await);
    assert_eq!((code, out.as_str()), (6, ""));
    assert!(
        words.contains("error: web/a is not drained yet: 1 request in flight after 1s\n"),
        "{words}"
    );
    assert!(
        words.contains("hint: it goes on draining; `drain web/a` waits again, `close web/a` cuts, `ready web/a` brings it back\n"),
        "{words}"
    );
    entered.release("x").await;
    answer.await.unwrap().unwrap();
    let (code, out, words) = said(&proxy.cli(&["drain", "web/a"]).await);
    assert_eq!((code, words.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("web/a is drained: clean, after "), "{out}");
    assert!(out.ends_with("; safe to kill\n"), "{out}");
    let (code, out, _) = said(&proxy.cli(&["--json", "drain", "web/a"]).await);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (
            code,
            json["outcome"].as_str(),
            json["safe_to_kill"].as_bool()
        ),
        (0, Some("clean"), Some(true))
    );
    let (code, out, words) = said(&proxy.cli(&["--json", "drain", "web/b"]).await);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, json["outcome"].as_str()),
        (5, Some("refused")),
        "{words}"
    );
    let (code, out, _) = said(&proxy.cli(&["status"]).await);
    assert_eq!(code, 0);
    assert!(out.contains("drained") && out.contains("healthy"), "{out}");
}

#[tokio::test]
async fn check_says_every_problem_and_exits_3() {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let path = proxy.path("bad.yaml");
    std::fs::write(
        &path,
        "listeners: [{address: \"127.0.0.1:80\"}]\n\
         pools:\n  web:\n    backends: [{id: a, address: 10.0.0.7}]\n\
         \x20   health: {http: /up, interval: 2s, timeout: 5s}\n\
         routes: [{pool: wbe}]\n",
    )
    .unwrap();
    let (code, out, words) = said(&proxy.cli(&["check", "-c", path.to_str().unwrap()]).await);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(words.contains("has 3 problems"), "{words}");
    for problem in [
        "pools.web.backends[0].address",
        "pools.web.health.timeout",
        "routes[0].pool",
    ] {
        assert!(words.contains(problem), "{words}");
    }
    let good = proxy.path("config.yaml");
    let (code, _, _) = said(&proxy.cli(&["check", "-c", good.to_str().unwrap()]).await);
    assert_eq!(code, 0);
    let (code, _, words) = said(&proxy.cli(&["run", "-c", path.to_str().unwrap()]).await);
    assert_eq!(code, 3, "{words}");
}

#[tokio::test]
async fn a_watched_status_ends_with_its_reader() {
    let a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    for args in [
        &["status", "--watch"][..],
        &["status", "web", "--watch", "--json"],
    ] {
        let mut watch = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(args)
            .env("TIDEGATE_ADMIN", proxy.path("admin.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ended = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let out = watch.stdout.take().unwrap();
            BufReader::new(out).read_line(&mut line).unwrap();
            (line, watch.wait_with_output().unwrap())
        });
        let (line, output) = within("the command line to end", ended).await.unwrap();
        assert!(line.starts_with("tidegate ") || line == "{\n", "{line}");
        // It went on for ever: that nobody reads it was not noticed.
        let (code, _, words) = said(&output);
        assert_eq!((code, words.as_str()), (0, ""));
    }
}

#[tokio::test]
async fn each_verb_that_shows_says_one_document_with_json() {
    let a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    let config = proxy.path("config.yaml");
    for args in [
        &["status"][..],
        &["status", "web"],
        &["status", "web/a"],
        &["status", "none"],
        &["history", "web"],
        &["history", "none"],
        &["completions", "zsh"],
        &["check", "-c", config.to_str().unwrap()],
        &["check", "-c", "/nonexistent"],
        &["run", "-c", "/nonexistent"],
        &["status", "/"],
        &["--admin", "/nowhere/admin.sock", "status"],
    ] {
        let output = proxy.cli(&[&["--json"], args].concat()).await;
        let (code, out, _) = said(&output);
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        let outcome = document["outcome"].as_str().unwrap();
        let mut rows = tidegate::outcome::Outcome::table().iter();
        let row = rows.find(|row| row.word == outcome);
        let exit = row.map_or(4, |row| row.exit.into());
        assert_eq!(code, exit, "{args:?}: {outcome}");
    }
}
