//! *Drained* seen from outside: the sockets between the proxy and the instance, probes' included.

use std::time::Duration;

use tokio::net::TcpListener;

use crate::support::pair::DRAIN_A;
use crate::support::{App, Proxy, Setup, Wire, get, within};

/// The states, in the numbers of `/proc/net/tcp`, of a socket whose owner has closed it: FIN_WAIT1 and
/// 2, TIME_WAIT, CLOSE, LAST_ACK, CLOSING.
const CLOSING: [&str; 6] = ["04", "05", "06", "07", "09", "0B"];

/// Sockets connected to `address` whose owner has not closed them; in these tests that is the proxy.
fn open_to(address: &str) -> Vec<String> {
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    let remote = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let open = table.lines().skip(1).filter(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        columns[2].ends_with(&remote) && !CLOSING.contains(&columns[3])
    });
    open.map(str::to_owned).collect()
}

/// Many kept connections, exchanges that end at different times, and probes as fast as they come.
#[tokio::test]
async fn at_the_answer_drained_no_socket_to_the_instance_is_open() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let keys = "health: {http: /up, interval: 1ms, timeout: 1ms, rise: 1, fall: 1000}\n\
                timeouts: {upstream_idle: 1h}";
    let proxy = Proxy::start(Setup::web_with(&[("a", &a), ("b", &b)], keys)).await;
    proxy.until_healthy(&["a", "b"]).await;
    for round in 0..20 {
        let quick: Vec<_> = (0..20).map(|_| proxy.fetch(get("/quick"))).collect();
        for answer in quick {
            assert_eq!(answer.await.unwrap().unwrap().status(), 200);
        }
        proxy
            .admin("POST", "/v1/pools/web/backends/b/standby")
            .await;
        let last = proxy.fetch(get("/door"));
        let entered = a.entered().await;
        proxy.admin("POST", "/v1/pools/web/backends/b/ready").await;
        assert!(!open_to(&a.address).is_empty(), "the test sees none at all");
        let drain = proxy.admin_later("POST", DRAIN_A);
        entered.release("last").await;
        assert_eq!(last.await.unwrap().unwrap().text(), "last");
        let drained = within("the drain", drain).await.unwrap();
        let open = open_to(&a.address);
        assert!(open.is_empty(), "round {round}: {open:#?}");
        assert_eq!(drained.json()["outcome"], "clean");
        assert_eq!(drained.json()["backend"]["connections"], 0);
        let ready = proxy.admin("POST", "/v1/pools/web/backends/a/ready").await;
        assert_eq!(ready.json()["outcome"], "done");
        proxy.until_healthy(&["a"]).await;
    }
}

#[tokio::test]
async fn a_probe_that_hangs_is_given_up_before_the_answer_drained() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut setup = Setup::web(&[]);
    // Longer than any test is patient.
    setup.pools = format!(
        "  web:\n    backends: [{{id: a, address: \"{address}\"}}]\n    \
         health: {{http: /up, interval: 60s, timeout: 60s, rise: 1, fall: 1}}\n"
    );
    let proxy = Proxy::start(setup).await;
    let (stream, _) = within("a probe", listener.accept()).await.unwrap();
    let mut probe = Wire::new(stream);
    assert_eq!(probe.asked().await.path(), "/up");
    assert_eq!(proxy.backend("a").await["connections"], 1);
    let drained = within("the drain", proxy.admin("POST", DRAIN_A)).await;
    let open = open_to(&address);
    assert!(open.is_empty(), "{open:#?}");
    assert_eq!(drained.json()["outcome"], "clean");
    assert_eq!(probe.end().await.0, b"");
    // What was given up is no result.
    assert_eq!(drained.json()["backend"]["health"], "unknown");
    assert!(drained.json()["backend"]["last_probe"].is_null());
}

/// A restore in the moment when probing is held back must not end it.
#[tokio::test]
async fn a_restored_backend_is_probed_again() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    for _ in 0..10 {
        let answer = proxy.fetch(get("/door"));
        let entered = a.entered().await;
        let drain = proxy.admin_later("POST", &format!("{DRAIN_A}?force"));
        proxy
            .until("a", "draining", |backend| backend["intent"] == "draining")
            .await;
        let ready = proxy.admin_later("POST", "/v1/pools/web/backends/a/ready");
        entered.release("done").await;
        answer.await.unwrap().unwrap();
        // Either of the two may have been first; both must be told the same story.
        let told = drain.await.unwrap().json();
        let ready = ready.await.unwrap().json();
        assert_eq!(ready["outcome"], "done");
        let is_new = ready["generation"] != told["generation"];
        assert_eq!(told["outcome"], if is_new { "clean" } else { "restored" });
        let probes = a.probes();
        within("more probes", async {
            while a.probes() < probes + 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        proxy.until_healthy(&["a"]).await;
    }
}

/// Kept connections belong to the generation: a new process on the same port has none of them, and
/// meets no request on one that died with the old process.
#[tokio::test]
async fn a_new_process_on_the_same_port_gets_only_connections_of_its_own() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let keys = "timeouts: {upstream_idle: 1h}\nbalance: round_robin";
    let proxy = Proxy::start(Setup::web_with(&[("a", &a), ("b", &b)], keys)).await;
    proxy.until_healthy(&["a", "b"]).await;
    for _ in 0..10 {
        proxy.fetch(get("/quick")).await.unwrap().unwrap();
    }
    let address = a.address.clone();
    assert_eq!(
        proxy.admin("POST", DRAIN_A).await.json()["outcome"],
        "clean"
    );
    a.kill();
    drop(a);
    let new = App::at(&address, "new").await;
    let ready = proxy.admin("POST", "/v1/pools/web/backends/a/ready").await;
    assert_eq!(ready.json()["outcome"], "done");
    assert_eq!(new.connections(), 0);
    let mut seen = 0;
    for _ in 0..10 {
        let answer = proxy.fetch(get("/quick")).await.unwrap().unwrap();
        seen += usize::from(answer.text() == "new");
    }
    assert!(seen > 0, "nothing went to the new process");
    assert!(new.connections() > 0);
    let metrics = proxy.metrics().await;
    let retries = metrics
        .lines()
        .filter(|line| line.starts_with("tidegate_backend_retries_total{"));
    for line in retries {
        assert!(line.ends_with(" 0"), "a dead connection was tried: {line}");
    }
}
