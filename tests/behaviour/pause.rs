//! Pause and resume: requests are held and none fails, from the begin to the end of a replacement.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::script::ok;
use crate::support::websocket::{frame, tunnel};
use crate::support::{App, Proxy, Script, Setup, Wire, get, not_yet, one_script, said, within};

const DONE: &str = "web is paused, no request is in flight; it resumes by itself in 60s\n";
const BOUND: &str = "hint: a request is held for 10s at most (hold.timeout), then answered 503; `resume web` lets all go on\n";

async fn one() -> (App, Proxy) {
    let app = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &app)])).await;
    proxy.until_healthy(&["a"]).await;
    (app, proxy)
}

#[tokio::test]
async fn a_paused_pool_holds_its_requests_and_lets_them_go_when_it_is_resumed() {
    let (mut app, proxy) = one().await;
    let (code, out, words) = said(&proxy.cli(&["pause", "web"]).await);
    assert_eq!((code, out.as_str(), words.as_str()), (0, DONE, BOUND));
    let held: Vec<_> = (0..3).map(|_| proxy.fetch(get("/door"))).collect();
    proxy.until_held(3).await;
    assert!(app.is_quiet());
    let (_, out, _) = said(&proxy.cli(&["status", "web"]).await);
    let head = out.lines().next().unwrap();
    let uid = rustix::process::getuid().as_raw();
    let begin =
        format!("pool web: 1 of 1 eligible, 3 held, least_requests, paused by uid:{uid} for ");
    assert!(
        head.starts_with(&begin) && head.ends_with("s more"),
        "{head}"
    );
    assert_eq!(proxy.backend("a").await["intent"], "active");
    assert!(
        proxy
            .metrics()
            .await
            .contains("\ntidegate_pool_paused{pool=\"web\"} 1\n")
    );
    let (code, out, words) = said(&proxy.cli(&["resume", "web"]).await);
    assert_eq!(
        (code, out.as_str(), words.as_str()),
        (0, "web is resumed, 3 requests held go on\n", "")
    );
    for _ in 0..3 {
        app.entered().await.release("served").await;
    }
    for answer in held {
        assert_eq!(answer.await.unwrap().unwrap().text(), "served");
    }
    let (code, out, words) = said(&proxy.cli(&["resume", "web"]).await);
    assert_eq!(
        (code, out.as_str(), words.as_str()),
        (0, "web is not paused\n", "")
    );
    assert!(
        proxy
            .metrics()
            .await
            .contains("\ntidegate_pool_paused{pool=\"web\"} 0\n")
    );
}

#[tokio::test]
async fn a_pause_is_done_when_the_last_request_is() {
    let (mut app, proxy) = one().await;
    let answer = proxy.fetch(get("/door"));
    let entered = app.entered().await;
    let mut paused = proxy.admin_later("POST", "/v1/pools/web/pause");
    within("the pause", async {
        while proxy.admin("GET", "/v1/pools/web").await.json()["pool"]["paused"].is_null() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    not_yet("the answer to the pause", &mut paused).await;
    let held = proxy.fetch(get("/door"));
    proxy.until_held(1).await;
    entered.release("finished").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "finished");
    let paused = within("the pause", paused).await.unwrap();
    assert_eq!(
        (paused.status(), &paused.json()["outcome"]),
        (200, &"done".into())
    );
    assert!(app.is_quiet());
    proxy.admin("POST", "/v1/pools/web/resume").await;
    app.entered().await.release("served").await;
    assert_eq!(held.await.unwrap().unwrap().text(), "served");
}

/// Accepts one connection after another, each when the one before has sent its request, and closes them
/// after the answer: what it sees is the order in which the proxy connected.
async fn in_line() -> (String, JoinHandle<Vec<(String, Instant)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut wire = Wire::new(stream);
            let Ok(Some(request)) = wire.request().await else {
                continue;
            };
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            let _ = wire.stream.write_all(answer.as_bytes()).await;
            match request.path() {
                "/up" => {}
                "/last" => return seen,
                path => seen.push((path.to_owned(), Instant::now())),
            }
        }
    });
    (address, seen)
}

/// With one worker, so that the order in which requests go on is that in which they connect.
#[tokio::test]
async fn held_requests_go_on_in_the_order_they_came_and_not_in_one_burst() {
    const HELD: u32 = 50;
    let (address, seen) = in_line().await;
    let mut setup = Setup::web(&[]);
    setup.pools = format!(
        "  web:\n    backends: [{{id: a, address: \"{address}\"}}]\n    \
         health: {{http: /up, interval: 1h, timeout: 5s, rise: 1, fall: 100}}\n    \
         hold: {{timeout: 1h}}\n"
    );
    setup.extra = "workers: 1\n".to_owned();
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    proxy.admin("POST", "/v1/pools/web/pause").await;
    let mut held = Vec::new();
    for number in 0..HELD {
        held.push(proxy.fetch(get(&format!("/{number}"))));
        proxy.until_held(u64::from(number) + 1).await;
    }
    let resumed = Instant::now();
    proxy.admin("POST", "/v1/pools/web/resume").await;
    for answer in held {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    proxy.fetch(get("/last")).await.unwrap().unwrap();
    let seen = seen.await.unwrap();
    let order: Vec<&str> = seen.iter().map(|(path, _)| path.as_str()).collect();
    let came: Vec<String> = (0..HELD).map(|number| format!("/{number}")).collect();
    assert_eq!(order, came);
    // Two milliseconds apart, and none goes before its time.
    let took = seen.last().unwrap().1 - resumed;
    assert!(took >= Duration::from_millis(2) * (HELD - 1), "{took:?}");
}

#[tokio::test]
async fn a_websocket_does_not_hinder_a_pause_and_goes_on_in_it() {
    let (mut script, proxy) = one_script().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let paused = proxy.admin("POST", "/v1/pools/web/pause").await;
    assert_eq!(
        (paused.status(), &paused.json()["outcome"]),
        (200, &"done".into())
    );
    let backend = proxy.backend("a").await;
    assert_eq!(
        (&backend["requests"], &backend["tunnels"]),
        (&0.into(), &1.into())
    );
    let (there, back) = (frame(0x81, b"there", true), frame(0x81, b"back", false));
    client.send(&there).await;
    assert_eq!(inside.bytes(there.len()).await, there);
    inside.send(&back).await;
    assert_eq!(client.bytes(back.len()).await, back);
    let held = proxy.fetch(get("/"));
    proxy.until_held(1).await;
    proxy.admin("POST", "/v1/pools/web/resume").await;
    let (mut wire, _) = script.asked().await;
    wire.send(ok("served")).await;
    assert_eq!(held.await.unwrap().unwrap().text(), "served");
}

/// It failed with the backend that it was tried on, although another would have been there in a moment.
#[tokio::test]
async fn a_request_that_is_to_be_tried_again_in_a_paused_pool_is_held_too() {
    let (mut a, mut b) = (Script::start().await, Script::start().await);
    let proxy = Proxy::start(Setup::scripts(&[&a, &b], "")).await;
    proxy.until_healthy(&["a", "b"]).await;
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    let answer = proxy.fetch(get("/"));
    let (inside, _) = a.asked().await;
    let paused = proxy.admin("POST", "/v1/pools/web/pause?wait=0").await;
    assert_eq!(
        (paused.status(), &paused.json()["outcome"]),
        (202, &"begun".into())
    );
    drop(inside);
    proxy.until_held(1).await;
    proxy.admin("POST", "/v1/pools/web/backends/b/ready").await;
    assert_eq!(b.connections(), 0);
    proxy.admin("POST", "/v1/pools/web/resume").await;
    let (mut inside, _) = b.asked().await;
    inside.send(ok("b")).await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "b");
}

#[tokio::test]
async fn a_request_is_held_in_a_pause_no_longer_than_anywhere() {
    let app = App::start("a").await;
    let proxy = Proxy::start(Setup::web_with(&[("a", &app)], "hold: {timeout: 50ms}")).await;
    proxy.until_healthy(&["a"]).await;
    proxy.admin("POST", "/v1/pools/web/pause").await;
    let answer = within("503", proxy.fetch(get("/quick")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.verdict(), (503, Some("held_too_long")));
    assert_eq!(answer.field("retry-after"), Some("1"));
    proxy.admin("POST", "/v1/pools/web/resume").await;
    let answer = proxy.fetch(get("/quick")).await.unwrap().unwrap();
    assert_eq!(answer.text(), "a");
}

#[tokio::test]
async fn a_pool_that_holds_nothing_says_so_when_it_is_paused() {
    let app = App::start("a").await;
    let proxy = Proxy::start(Setup::web_with(&[("a", &app)], "hold: {timeout: 0s}")).await;
    proxy.until_healthy(&["a"]).await;
    let (code, out, words) = said(&proxy.cli(&["pause", "web"]).await);
    assert_eq!(
        (code, out.as_str(), words.as_str()),
        (
            0,
            DONE,
            "hint: its requests are not held (hold.timeout: 0s) but answered 503\n"
        )
    );
    let answer = proxy.fetch(get("/quick")).await.unwrap().unwrap();
    assert_eq!(answer.verdict(), (503, Some("no_backend")));
}

/// Requests one after another, each on a connection of its own, until it is dropped.
struct Load {
    served: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    _clients: JoinSet<()>,
}

impl Load {
    fn start(proxy: &Proxy, clients: usize) -> Self {
        let served = Arc::<AtomicUsize>::default();
        let failed = Arc::<Mutex<Vec<String>>>::default();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let address = proxy.address.clone();
            let (served, failed) = (Arc::clone(&served), Arc::clone(&failed));
            running.spawn(async move {
                loop {
                    let stream = TcpStream::connect(&address).await.unwrap();
                    let how = match Wire::new(stream).exchange(get("/quick")).await {
                        Ok(answer) if answer.status() == 200 => {
                            served.fetch_add(1, Ordering::SeqCst);
                            continue;
                        }
                        Ok(answer) => format!("{:?}", answer.verdict()),
                        Err(error) => error.to_string(),
                    };
                    failed.lock().unwrap().push(how);
                }
            });
        }
        Self {
            served,
            failed,
            _clients: running,
        }
    }

    /// Waits until so many more were served.
    async fn goes_on(&self, more: usize) {
        let enough = self.served.load(Ordering::SeqCst) + more;
        within("requests to be served", async {
            while self.served.load(Ordering::SeqCst) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn a_single_instance_is_replaced_on_its_port_and_no_request_fails() {
    let mut app = App::start("0").await;
    let proxy = Proxy::start(Setup::web(&[("a", &app)])).await;
    proxy.until_healthy(&["a"]).await;
    let load = Load::start(&proxy, 4);
    load.goes_on(20).await;
    let address = app.address.clone();
    for name in ["1", "2", "3"] {
        let tidegate = async |typed: &str| {
            let typed: Vec<&str> = typed.split(' ').collect();
            let (code, out, words) = said(&proxy.cli(&typed).await);
            assert_eq!(code, 0, "{typed:?}: {out}{words}");
            out
        };
        assert_eq!(tidegate("pause web").await, DONE);
        tidegate("drain web/a --force --close-after 0s --spread 0s").await;
        app.kill();
        app = App::at(&address, name).await;
        let added = tidegate(&format!("add web/a {address}")).await;
        assert_eq!(added, "web/a is healthy and active\n");
        proxy.until_held(4).await;
        let resumed = tidegate("resume web").await;
        assert_eq!(resumed, "web is resumed, 4 requests held go on\n");
        load.goes_on(20).await;
        let answer = proxy.fetch(get("/quick")).await.unwrap().unwrap();
        assert_eq!(answer.text(), name);
    }
    assert_eq!(load.failed(), Vec::<String>::new());
}

/// The same without the pause: the load must be able to see it.
#[tokio::test]
async fn without_a_pause_the_same_replacement_is_seen_to_fail() {
    let mut app = App::start("0").await;
    let keys = "hold: {timeout: 0s}";
    let proxy = Proxy::start(Setup::web_with(&[("a", &app)], keys)).await;
    proxy.until_healthy(&["a"]).await;
    let load = Load::start(&proxy, 4);
    load.goes_on(20).await;
    app.kill();
    within("a failure", async {
        while load.failed().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
