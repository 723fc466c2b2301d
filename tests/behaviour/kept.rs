//! Kept connections to a backend: when they are closed, and that *drained* leaves none.

use std::io::Read as _;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::script::ok;
use crate::support::{Proxy, Script, Wire, get, not_yet, within};

const DRAIN_A: &str = "/v1/pools/web/backends/a/drain?force";

/// Nothing closes an idle connection but what the test is about.
const FOR_LONG: &str = "timeouts: {upstream_idle: 1h}";

/// What is there to be read at this very moment: `Some(0)` is the end of the connection.
fn read_now(wire: Wire<TcpStream>) -> Option<usize> {
    let mut stream = wire.stream.into_std().unwrap();
    stream.read(&mut [0; 1024]).ok()
}

/// A connection to the backend that is kept after one exchange.
async fn kept(script: &mut Script, proxy: &Proxy) -> Wire<TcpStream> {
    let answer = proxy.fetch(get("/"));
    let (mut inside, _) = script.asked().await;
    inside.send(ok("one")).await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "one");
    // The count goes back after the connection was put away.
    proxy.until_idle().await;
    inside
}

/// Who is told *drained* may send SIGTERM at once: an app that waits for its idle connections, or
/// races with a request on one, must find them closed.
#[tokio::test]
async fn at_the_answer_drained_every_idle_connection_has_been_closed() {
    let mut script = Script::start().await;
    let proxy = Proxy::before_with(&script, FOR_LONG, "").await;
    // Several at once, so that each worker keeps some.
    let answers: Vec<_> = (0..8).map(|_| proxy.fetch(get("/"))).collect();
    let mut idle = Vec::new();
    for _ in &answers {
        idle.push(script.asked().await.0);
    }
    for inside in &mut idle {
        inside.send(ok("one")).await;
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap().text(), "one");
    }
    proxy.until_idle().await;
    assert_eq!(proxy.backend("a").await["connections"], 8);
    let drained = proxy.admin("POST", DRAIN_A).await.json();
    // Nothing is waited for between the answer and this.
    let ends: Vec<_> = idle.into_iter().map(read_now).collect();
    assert_eq!(ends, vec![Some(0); 8]);
    assert_eq!(drained["outcome"], "clean");
    assert_eq!(drained["backend"]["connections"], 0);
}

#[tokio::test]
async fn an_exchange_that_ends_while_its_backend_drains_closes_its_connection() {
    let mut script = Script::start().await;
    let proxy = Proxy::before_with(&script, FOR_LONG, "").await;
    let (first, second) = (proxy.fetch(get("/1")), proxy.fetch(get("/2")));
    let (mut ends, _) = script.asked().await;
    let (mut goes_on, _) = script.asked().await;
    assert_eq!(proxy.backend("a").await["connections"], 2);
    let mut drain = proxy.admin_later("POST", DRAIN_A);
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    ends.send(ok("done")).await;
    // The drain is not over, so it is not its end that closes this one.
    assert_eq!(ends.end().await.0, b"");
    not_yet("drained", &mut drain).await;
    goes_on.send(ok("done")).await;
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(read_now(goes_on), Some(0));
    assert_eq!(drained["outcome"], "clean");
    for answer in [first, second] {
        assert_eq!(answer.await.unwrap().unwrap().text(), "done");
    }
}

/// With nobody to ask for it: the sweep sees the end.
#[tokio::test]
async fn an_idle_connection_that_the_backend_closes_is_closed_on_this_side_too() {
    let mut script = Script::start().await;
    let proxy = Proxy::before_with(&script, FOR_LONG, "").await;
    let mut inside = kept(&mut script, &proxy).await;
    assert_eq!(proxy.backend("a").await["connections"], 1);
    inside.stream.shutdown().await.unwrap();
    assert_eq!(inside.end().await.0, b"");
    proxy
        .until("a", "left", |backend| backend["connections"] == 0)
        .await;
}

/// Also in the moment before it would be closed: the backend may be closing it just now.
#[tokio::test]
async fn an_idle_connection_is_not_used_when_its_time_is_over() {
    let mut script = Script::start().await;
    let proxy = Proxy::before_with(&script, "timeouts: {upstream_idle: 5ms}", "workers: 1\n").await;
    let mut open = Vec::new();
    for round in 1..=10 {
        open.push(kept(&mut script, &proxy).await);
        assert_eq!(script.connections(), round);
        let over = Instant::now() + Duration::from_millis(6);
        tokio::time::sleep_until(over.into()).await;
    }
}
