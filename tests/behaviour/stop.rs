//! The stop: in-flight exchanges finish, and the process ends with the last one.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::support::{App, Proxy, Setup, get, post, within};

async fn one() -> (App, Proxy) {
    let app = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &app)])).await;
    proxy.until_healthy(&["a"]).await;
    (app, proxy)
}

#[tokio::test]
async fn sigterm_closes_the_listeners_and_ends_with_the_last_exchange() {
    let (mut app, mut proxy) = one().await;
    let answer = proxy.fetch(get("/door"));
    let entered = app.entered().await;
    let _idle = proxy.client().await;
    proxy.signal(Signal::TERM);
    within("the listener to close", async {
        while TcpStream::connect(&proxy.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(proxy.is_running(), "an exchange is in flight");
    entered.release("finished").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "finished");
    let last = Instant::now();
    assert!(proxy.ended().await.success());
    assert!(
        last.elapsed() < Duration::from_secs(1),
        "{:?}",
        last.elapsed()
    );
    assert!(
        !proxy.path("admin.sock").exists(),
        "its own socket is unlinked"
    );
}

#[tokio::test]
async fn with_nothing_in_flight_it_ends_at_once() {
    let (_app, mut proxy) = one().await;
    let mut idle = proxy.client().await;
    idle.exchange(get("/quick")).await.unwrap();
    proxy.signal(Signal::TERM);
    let begun = Instant::now();
    assert!(proxy.ended().await.success());
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

/// Its client would otherwise send the next request to a process that goes.
#[tokio::test]
async fn answers_that_are_given_while_it_stops_close_their_connection() {
    let (mut dying, mut good) = (App::start("dying").await, App::start("good").await);
    let mut proxy = Proxy::start(Setup::web(&[("a", &dying)])).await;
    proxy.until_healthy(&["a"]).await;
    let (mut retried, mut failed) = (proxy.client().await, proxy.client().await);
    retried.send(get("/door")).await;
    let first = dying.entered().await;
    failed.send(post("/door", "x")).await;
    let second = dying.entered().await;
    let body = format!("{{\"id\": \"b\", \"address\": \"{}\"}}", good.address);
    let path = "/v1/pools/web/backends";
    proxy.admin_with("POST", path, &body).await;
    // Answered once, so that it was accepted for certain.
    let mut idle = proxy.client().await;
    idle.send(get("/quick")).await;
    assert_eq!(idle.answer().await.status(), 200);
    proxy.signal(Signal::TERM);
    // One that waits is closed a moment after the listeners.
    assert_eq!(idle.end().await.0, b"");
    drop((first, second));
    let answer = failed.answer().await;
    assert_eq!(answer.verdict(), (502, Some("upstream_reset")));
    assert!(answer.lists("connection", "close"), "an error");
    good.entered().await.release("second try").await;
    let answer = retried.answer().await;
    assert_eq!(answer.text(), "second try");
    assert!(answer.lists("connection", "close"), "an answer");
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once() {
    let (mut app, mut proxy) = one().await;
    let answer = proxy.fetch(get("/door"));
    let _entered = app.entered().await;
    proxy.signal(Signal::TERM);
    within("the stop to begin", async {
        while !proxy.log().contains("stopping") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(proxy.is_running());
    proxy.signal(Signal::TERM);
    proxy.ended().await;
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn the_deadline_of_the_stop_holds() {
    let mut app = App::start("a").await;
    let mut setup = Setup::web(&[("a", &app)]);
    setup.extra = "shutdown: {timeout: 200ms}\n".into();
    let mut proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let answer = proxy.fetch(get("/door"));
    let _entered = app.entered().await;
    proxy.signal(Signal::TERM);
    proxy.ended().await;
    assert!(answer.await.unwrap().is_err());
    assert!(proxy.log().contains("shutdown.timeout"), "{}", proxy.log());
}

/// The client was told that its connection is kept, and then it was closed.
#[tokio::test]
async fn an_exchange_that_ends_while_the_proxy_stops_closes_its_connection() {
    let (mut app, mut proxy) = one().await;
    let mut idle = proxy.client().await;
    idle.exchange(get("/quick")).await.unwrap();
    let answer = proxy.fetch(get("/door"));
    let entered = app.entered().await;
    proxy.signal(Signal::TERM);
    // By then it stops for everybody.
    assert_eq!(
        within("the idle one to be closed", idle.rest())
            .await
            .unwrap(),
        b""
    );
    entered.release("finished").await;
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(proxy.ended().await.success());
}

/// Requests whose bytes had come but that no worker had read yet were dropped.
#[tokio::test]
async fn requests_that_were_sent_before_sigterm_are_answered() {
    let (_app, mut proxy) = one().await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = proxy.client().await;
        client.exchange(get("/quick")).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        client.send(get("/quick")).await;
    }
    proxy.signal(Signal::TERM);
    for client in &mut clients {
        let answer = within("an answer", client.response()).await.unwrap();
        assert_eq!(answer.text(), "a");
    }
    assert!(proxy.ended().await.success());
}

/// Its answer was cut: the process ended with the very release that made the drain clean.
#[tokio::test]
async fn a_drain_that_waits_while_the_proxy_stops_gets_its_answer() {
    let (mut app, mut proxy) = one().await;
    let answer = proxy.fetch(get("/door"));
    let entered = app.entered().await;
    let drain = proxy.admin_later("POST", "/v1/pools/web/backends/a/drain?force");
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    proxy.signal(Signal::TERM);
    within("the stop to begin", async {
        while !proxy.log().contains("stopping") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    entered.release("finished").await;
    answer.await.unwrap().unwrap();
    let drained = within("the drain", drain).await.unwrap();
    assert_eq!(drained.json()["outcome"], "clean");
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn what_a_paused_pool_holds_does_not_keep_the_stop_beyond_its_deadline() {
    let app = App::start("a").await;
    let mut setup = Setup::web(&[("a", &app)]);
    setup.extra = "shutdown: {timeout: 300ms}\n".into();
    let mut proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let paused = proxy.admin("POST", "/v1/pools/web/pause").await;
    assert_eq!(paused.json()["outcome"], "done");
    let answer = proxy.fetch(get("/quick"));
    within("the request to be held", async {
        while proxy.admin("GET", "/v1/pools/web").await.json()["pool"]["held"] != 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    proxy.ended().await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert!(answer.await.unwrap().is_err());
    assert!(proxy.log().contains("shutdown.timeout"), "{}", proxy.log());
}

/// It goes on in the next process.
#[tokio::test]
async fn a_rollout_under_way_does_not_keep_the_process() {
    let (_app, mut proxy) = one().await;
    let new = App::start("c").await;
    let body = serde_json::json!({
        "add": [{"id": "c", "address": new.address}],
        "replace": "all",
        "min_healthy_time": "100ms",
        "bake": "1h",
        "wait": "0s",
    })
    .to_string();
    let asked = proxy.admin_with("POST", "/v1/pools/web/rollout", &body);
    assert_eq!(asked.await.json()["outcome"], "begun");
    within("the bake", async {
        let phase = async || {
            let pool = proxy.admin("GET", "/v1/pools/web").await.json();
            pool["pool"]["rollout"]["phase"].clone()
        };
        while phase().await != "bake" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    assert!(proxy.ended().await.success());
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}
