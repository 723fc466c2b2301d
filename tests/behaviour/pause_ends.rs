//! What ends a pause, beside a resume: its time, also over a restart; a request that does not end; the
//! pool's own end. And what does not.

use std::process::{Command, Stdio};

use crate::support::{App, Proxy, Setup, get, said, within};

const PAUSE: &str = "/v1/pools/web/pause";

async fn one() -> (App, Proxy) {
    let app = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &app)])).await;
    proxy.until_healthy(&["a"]).await;
    (app, proxy)
}

async fn is_paused(proxy: &Proxy) -> bool {
    let pool = proxy.admin("GET", "/v1/pools/web").await.json();
    !pool["pool"]["paused"].is_null()
}

async fn until_resumed(proxy: &Proxy) {
    within("the pool to resume", async {
        while is_paused(proxy).await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Cause of each resume so far.
async fn causes(proxy: &Proxy) -> Vec<String> {
    let log = proxy.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("event=\"resumed\""));
    let causes = lines.map(|line| {
        let cause = line.split("cause=").nth(1).unwrap();
        cause.split(' ').next().unwrap().to_owned()
    });
    causes.collect()
}

#[tokio::test]
async fn a_pause_that_finds_a_request_that_does_not_end_is_taken_back() {
    let (mut app, proxy) = one().await;
    let answer = proxy.fetch(get("/door"));
    let entered = app.entered().await;
    let (code, out, words) = said(&proxy.cli(&["pause", "web", "--wait", "1s"]).await);
    assert_eq!((code, out.as_str()), (6, ""));
    let (error, rest) = words.split_once('\n').unwrap();
    assert_eq!(
        error,
        "error: web: 1 request still in flight after 1s; it was resumed"
    );
    let (blocks, rest) = rest.split_once('\n').unwrap();
    let begin = "  in flight request GET /door from 127.0.0.1, ";
    assert!(blocks.starts_with(begin), "{blocks}");
    assert_eq!(
        rest,
        "hint: `pause web --wait 30s` waits longer, `pause web --no-wait` does not wait\n"
    );
    assert!(!is_paused(&proxy).await);
    let other = proxy.fetch(get("/quick")).await.unwrap().unwrap();
    assert_eq!(other.text(), "a");
    let late = proxy.admin("POST", &format!("{PAUSE}?wait=1ms")).await;
    assert_eq!(
        (late.status(), &late.json()["outcome"]),
        (408, &"not_yet".into())
    );
    assert_eq!(late.field("content-type"), Some("application/problem+json"));
    entered.release("finished").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "finished");
    assert_eq!(causes(&proxy).await, ["in_flight", "in_flight"]);
}

#[tokio::test]
async fn a_pause_that_does_not_wait_stays_with_a_request_in_flight() {
    let (mut app, proxy) = one().await;
    let answer = proxy.fetch(get("/door"));
    let entered = app.entered().await;
    let (code, out, _) = said(
        &proxy
            .cli(&["pause", "web", "--no-wait", "--ttl", "2m"])
            .await,
    );
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "web is paused, 1 request in flight; it resumes by itself in 120s\n"
        )
    );
    assert!(is_paused(&proxy).await);
    entered.release("finished").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "finished");
    assert!(is_paused(&proxy).await);
}

#[tokio::test]
async fn a_pool_that_is_not_there_is_unknown() {
    let (_app, proxy) = one().await;
    for verb in ["pause", "resume"] {
        let (code, out, words) = said(&proxy.cli(&[verb, "wbe"]).await);
        assert_eq!((code, out.as_str()), (5, ""));
        assert_eq!(
            words,
            "error: there is no pool \"wbe\"\nhint: `tidegate status` lists the pools\n"
        );
    }
}

#[tokio::test]
async fn a_pool_whose_script_died_resumes_by_itself() {
    let (_app, proxy) = one().await;
    let (code, _, _) = said(&proxy.cli(&["pause", "web", "--ttl", "500ms"]).await);
    assert_eq!(code, 0);
    let held = proxy.fetch(get("/quick"));
    let answer = within("the pool to resume", held).await.unwrap().unwrap();
    assert_eq!(answer.text(), "a");
    assert!(!is_paused(&proxy).await);
    assert_eq!(causes(&proxy).await, ["ttl"]);
}

#[tokio::test]
async fn a_pool_whose_script_was_killed_while_it_waited_resumes_by_itself() {
    let (mut app, proxy) = one().await;
    let answer = proxy.fetch(get("/door"));
    let entered = app.entered().await;
    let mut script = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["pause", "web", "--ttl", "1s", "--wait", "1h"])
        .env("TIDEGATE_ADMIN", proxy.path("admin.sock"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    within("the pause", async {
        while !is_paused(&proxy).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    script.kill().unwrap();
    script.wait().unwrap();
    until_resumed(&proxy).await;
    let other = proxy.fetch(get("/quick")).await.unwrap().unwrap();
    assert_eq!(other.text(), "a");
    entered.release("finished").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "finished");
}

#[tokio::test]
async fn a_restart_keeps_a_pause_and_its_time() {
    let app = App::start("a").await;
    let mut setup = Setup::web(&[("a", &app)]);
    setup.state = true;
    let mut proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let paused = proxy.admin("POST", &format!("{PAUSE}?ttl=1h")).await;
    assert_eq!(paused.json()["outcome"], "done");
    let before = proxy.admin("GET", "/v1/pools/web").await.json();
    proxy.crash_and_restart().await;
    let after = proxy.admin("GET", "/v1/pools/web").await.json();
    assert_eq!(after["pool"]["paused"], before["pool"]["paused"]);
    proxy.until_healthy(&["a"]).await;
    let held = proxy.fetch(get("/quick"));
    proxy.until_held(1).await;
    // A second pause has a time of its own; the next process keeps that.
    proxy.admin("POST", &format!("{PAUSE}?ttl=2s")).await;
    proxy.crash_and_restart().await;
    assert!(held.await.unwrap().is_err(), "it crashed");
    let held = proxy.fetch(get("/quick"));
    let answer = within("the pool to resume", held).await.unwrap().unwrap();
    assert_eq!(answer.text(), "a");
    proxy.crash_and_restart().await;
    assert!(!is_paused(&proxy).await);
}

#[tokio::test]
async fn a_pause_whose_time_passes_between_two_processes_is_over_at_the_start() {
    let app = App::start("a").await;
    let mut setup = Setup::web(&[("a", &app)]);
    setup.state = true;
    let mut proxy = Proxy::start(setup).await;
    proxy.admin("POST", &format!("{PAUSE}?ttl=1ms")).await;
    until_resumed(&proxy).await;
    // As a process leaves it that ended before the time did.
    let path = proxy.path("state.json");
    let state = std::fs::read_to_string(&path).unwrap();
    let pause = r#""pause": {"actor": "uid:0", "since": 1, "until": 2}, "rollouts": "#;
    let state = state.replace("\"rollouts\":", pause);
    assert!(state.contains("\"until\""), "{state}");
    std::fs::write(&path, state).unwrap();
    proxy.crash_and_restart().await;
    assert!(!is_paused(&proxy).await);
    assert_eq!(causes(&proxy).await, ["ttl"]);
}

#[tokio::test]
async fn a_reload_leaves_a_pause_alone_and_a_pool_that_leaves_takes_it_along() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut setup = Setup::web(&[("a", &a)]);
    setup.pool("old", &[("b", &b)], "");
    let mut proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    for pool in ["web", "old"] {
        let path = format!("/v1/pools/{pool}/pause?ttl=1h");
        assert_eq!(proxy.admin("POST", &path).await.status(), 200);
    }
    proxy.rewrite(Setup::web(&[("a", &a)]));
    assert_eq!(proxy.admin("POST", "/v1/reload").await.status(), 200);
    assert!(is_paused(&proxy).await);
    assert_eq!(causes(&proxy).await, ["leaving"]);
    let held = proxy.fetch(get("/quick"));
    proxy.until_held(1).await;
    let mut setup = Setup::web(&[("a", &a)]);
    setup.pool("old", &[("b", &b)], "");
    proxy.rewrite(setup);
    assert_eq!(proxy.admin("POST", "/v1/reload").await.status(), 200);
    let old = proxy.admin("GET", "/v1/pools/old").await.json();
    assert_eq!(old["pool"]["paused"], serde_json::Value::Null);
    proxy.admin("POST", "/v1/pools/web/resume").await;
    assert_eq!(held.await.unwrap().unwrap().text(), "a");
}
