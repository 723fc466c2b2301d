//! Corners of a drain: what happens in the same moment as it.

use crate::support::pair::{DRAIN_A, enter, pair};
use crate::support::script::ok;
use crate::support::{App, Proxy, Script, Setup, assert_drain_closed, get, not_yet, post, within};

const STANDBY_B: &str = "/v1/pools/web/backends/b/standby";

#[tokio::test]
async fn two_drains_of_one_backend_at_once_get_the_same_answer() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let mut first = proxy.admin_later("POST", DRAIN_A);
    let mut second = proxy.admin_later("POST", DRAIN_A);
    not_yet("the first", &mut first).await;
    not_yet("the second", &mut second).await;
    entered.release("done").await;
    answer.await.unwrap().unwrap();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((first.status(), second.status()), (200, 200));
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["outcome"], "clean");
    assert_eq!(first["drain"], second["drain"], "one drain, begun once");
}

#[tokio::test]
async fn remove_while_draining_is_refused_and_forced_it_cuts() {
    let (mut a, mut b, proxy) = pair().await;
    let (_entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let drain = proxy.admin_later("POST", DRAIN_A);
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    let path = "/v1/pools/web/backends/a";
    let refused = proxy.admin("DELETE", path).await;
    assert_eq!(refused.status(), 409);
    assert_eq!(refused.json()["outcome"], "refused");
    assert_eq!(
        refused.json()["message"],
        "web/a is draining and not drained: 1 request in flight"
    );
    let forced = proxy.admin("DELETE", &format!("{path}?force")).await.json();
    assert_eq!(forced["outcome"], "forced");
    assert_eq!(forced["drain"]["cut_requests"], 1);
    assert_drain_closed(answer.await.unwrap());
    // Whoever waited for the drain is told what became of it.
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "forced");
    assert_eq!(drained["safe_to_kill"], true);
    assert_eq!(proxy.admin("GET", path).await.status(), 404);
}

#[tokio::test]
async fn add_of_the_same_address_while_the_old_one_drains_makes_a_new_generation() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let mut drain = proxy.admin_later("POST", DRAIN_A);
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    let body = format!("{{\"id\": \"again\", \"address\": \"{}\"}}", a.address);
    let added = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await;
    assert_eq!(added.json()["outcome"], "done", "{}", added.text());
    // The new one takes requests, the old one is not done.
    proxy.admin("POST", STANDBY_B).await;
    assert_eq!(
        proxy.fetch(get("/quick")).await.unwrap().unwrap().text(),
        "a"
    );
    not_yet("drained", &mut drain).await;
    entered.release("done").await;
    answer.await.unwrap().unwrap();
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    assert_eq!(proxy.backend("again").await["eligible"], true);
}

/// It was answered "on standby", with the generation that lives now, which was active and stayed so.
#[tokio::test]
async fn a_drained_generation_whose_id_lives_again_cannot_be_brought_back() {
    let (mut a, mut b, proxy) = pair().await;
    let old = proxy.backend("a").await["generation"].as_u64().unwrap();
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    proxy.admin("POST", &format!("{DRAIN_A}?wait=0s")).await;
    let body = format!("{{\"id\": \"a\", \"address\": \"{}\"}}", a.address);
    let added = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await
        .json();
    assert_eq!(added["outcome"], "done");
    let new = added["generation"].as_u64().unwrap();
    entered.release("done").await;
    answer.await.unwrap().unwrap();
    let path = format!("/v1/pools/web/backends/a@{old}?wait_for=drained&wait=10s");
    assert_eq!(proxy.admin("GET", &path).await.json()["outcome"], "clean");
    let path = format!("/v1/pools/web/backends/a@{old}/standby");
    let refused = proxy.admin("POST", &path).await;
    assert_eq!(refused.status(), 409, "{}", refused.text());
    let refused = refused.json();
    assert_eq!(
        (&refused["outcome"], &refused["message"]),
        (
            &"refused".into(),
            &format!("web/a@{old} is drained, and a lives again as a@{new}").into()
        )
    );
    assert_eq!(refused["hint"], "name that one: web/a");
    let lives = proxy.backend("a").await;
    assert_eq!(
        (&lives["generation"], &lives["intent"]),
        (&new.into(), &"active".into())
    );
}

#[tokio::test]
async fn a_reload_during_a_drain_leaves_it_alone_whether_the_file_has_the_backend_or_not() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let mut proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    proxy.admin("POST", STANDBY_B).await;
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    let mut drain = proxy.admin_later("POST", &format!("{DRAIN_A}?force"));
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    let before = proxy.backend("a").await;
    assert_eq!(proxy.admin("POST", "/v1/reload").await.status(), 200);
    let after = proxy.backend("a").await;
    for key in ["generation", "intent", "since_ms", "requests"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    proxy.rewrite(Setup::web(&[("b", &b)]));
    assert_eq!(proxy.admin("POST", "/v1/reload").await.status(), 200);
    not_yet("drained", &mut drain).await;
    entered.release("done").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "done");
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    assert_eq!(drained["safe_to_kill"], true);
    within("it to be forgotten", async {
        while proxy
            .admin("GET", "/v1/pools/web/backends/a")
            .await
            .status()
            != 404
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// It holds no claim, so it holds up no drain; and it is served by whoever comes.
#[tokio::test]
async fn a_held_request_does_not_hold_the_drain_and_is_served_by_the_next_generation() {
    let mut a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.until_healthy(&["a"]).await;
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    let mut drain = proxy.admin_later("POST", &format!("{DRAIN_A}?force"));
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    let mut held = proxy.fetch(get("/quick"));
    within("a held request", async {
        while proxy.admin("GET", "/v1/pools/web").await.json()["pool"]["held"] != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    not_yet("drained", &mut drain).await;
    entered.release("done").await;
    answer.await.unwrap().unwrap();
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    not_yet("an answer to the held one", &mut held).await;
    let ready = proxy.admin("POST", "/v1/pools/web/backends/a/ready").await;
    assert_eq!(ready.json()["outcome"], "done");
    let served = within("the held one", held).await.unwrap().unwrap();
    assert_eq!(served.text(), "a");
}

/// Its first backend is drained the moment it lets go of it, although the exchange goes on.
#[tokio::test]
async fn a_retry_that_leaves_a_draining_backend_is_counted_on_the_other_alone() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let mut drain = proxy.admin_later("POST", DRAIN_A);
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    not_yet("drained", &mut drain).await;
    // The connection dies without an answer: a GET is sent again, elsewhere.
    drop(entered);
    let second = b.entered().await;
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    assert_eq!(proxy.backend("b").await["requests"], 1);
    second.release("b").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "b");
}

#[tokio::test]
async fn a_request_that_is_cut_before_its_answer_is_not_tried_again_elsewhere() {
    let (mut a, mut b, proxy) = pair().await;
    let (_entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let path = format!("{DRAIN_A}?timeout=1ms&on_timeout=close");
    let drained = within("the drain", proxy.admin("POST", &path)).await;
    assert_eq!(drained.json()["outcome"], "forced");
    assert_drain_closed(answer.await.unwrap());
    assert!(b.is_quiet(), "what was cut was sent to the other one");
}

#[tokio::test]
async fn a_request_in_the_middle_of_its_upgrade_when_the_drain_begins_ends_as_a_tunnel() {
    let mut script = Script::start().await;
    let proxy = Proxy::before_with(&script, "", "").await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
        .await;
    let (mut inside, _) = script.asked().await;
    let path = format!("{DRAIN_A}?force&close_after=never");
    let mut drain = proxy.admin_later("POST", &path);
    let asked = proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    assert_eq!(
        (&asked["requests"], &asked["tunnels"]),
        (&1.into(), &0.into())
    );
    inside
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
        .await;
    assert_eq!(client.next_head().await.status(), 101);
    let tunnel = proxy
        .until("a", "a tunnel", |backend| backend["tunnels"] == 1)
        .await;
    assert_eq!(tunnel["requests"], 0);
    client.send("ping").await;
    assert_eq!(inside.bytes(4).await, b"ping");
    not_yet("drained", &mut drain).await;
    drop((client, inside));
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
}

/// One that hangs before its first byte, one whose client reads nothing, one in mid-upload.
#[tokio::test]
async fn a_forced_end_cuts_whatever_it_is_that_hangs_and_names_it() {
    let mut script = Script::start().await;
    let proxy = Proxy::before_with(&script, "", "").await;
    let silent = proxy.fetch(get("/silent"));
    let (_silent, _) = script.asked().await;
    let mut deaf = proxy.client().await;
    deaf.send(get("/deaf")).await;
    let (mut pouring, _) = script.asked().await;
    pouring
        .send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        .await;
    let poured = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while pouring.stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    });
    let mut upload = proxy.client().await;
    let half = post("/upload", "123456").replace("123456", "123");
    upload.send(half).await;
    let mut up = script.accepted().await;
    up.next_head().await;
    proxy
        .until("a", "holding three", |backend| backend["requests"] == 3)
        .await;
    // So that the one who reads nothing has really come to a standstill.
    let stuck = "/v1/pools/web/backends/a/drain?force&wait=300ms";
    let blocked = proxy.admin("POST", stuck).await.json();
    assert_eq!(blocked["outcome"], "not_yet");
    assert_eq!(blocked["drain"]["blocked_by"][0]["path"], "/silent");
    let path = format!("{DRAIN_A}?timeout=1ms&on_timeout=close");
    let drained = within("the drain", proxy.admin("POST", &path)).await.json();
    assert_eq!(drained["outcome"], "forced");
    assert_eq!(drained["drain"]["cut_requests"], 3);
    let cut = drained["drain"]["cut"].as_array().unwrap();
    let mut paths: Vec<_> = cut
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/deaf", "/silent", "/upload"]);
    assert_eq!(drained["backend"]["connections"], 0);
    assert_drain_closed(silent.await.unwrap());
    assert_drain_closed(Ok(upload.answer().await));
    poured.await.unwrap();
    let (rest, _) = deaf.end().await;
    assert!(rest.len() < 1_000_000_000, "it looks complete");
}

/// An exchange that ends by itself in the moment of the cut was counted as cut.
#[tokio::test]
async fn what_ends_by_itself_before_the_cut_is_clean() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let path = format!("{DRAIN_A}?timeout=1h&on_timeout=close");
    let drain = proxy.admin_later("POST", &path);
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    entered.release("done").await;
    answer.await.unwrap().unwrap();
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    assert_eq!(drained["drain"]["cut_requests"], 0);
}

#[tokio::test]
async fn a_drain_keeps_what_outlives_its_timeout_unless_told_to_close() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let path = format!("{DRAIN_A}?timeout=1ms&idle_timeout=1ms&on_timeout=keep");
    let mut drain = proxy.admin_later("POST", &path);
    not_yet("drained", &mut drain).await;
    entered.release("done").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "done");
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
}

/// Twice as many as are listed; the oldest first.
#[tokio::test]
async fn the_list_of_what_blocks_is_bounded_and_begins_with_the_oldest() {
    let mut a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.until_healthy(&["a"]).await;
    let mut inside = Vec::new();
    for n in 0..40 {
        let answer = proxy.fetch(get(&format!("/door/{n}?secret=1")));
        inside.push((a.entered().await, answer));
    }
    let path = format!("{DRAIN_A}?force&wait=20ms");
    let blocked = proxy.admin("POST", &path).await.json();
    let listed = blocked["drain"]["blocked_by"].as_array().unwrap();
    let paths: Vec<_> = listed.iter().map(|one| one["path"].clone()).collect();
    let oldest: Vec<_> = (0..20).map(|n| format!("/door/{n}")).collect();
    assert_eq!(paths, oldest);
    assert_eq!(
        blocked["message"].as_str().unwrap().split(" after").next(),
        Some("web/a is not drained yet: 40 requests in flight")
    );
    let drain = proxy.admin_later("POST", DRAIN_A);
    for (entered, answer) in inside {
        entered.release("done").await;
        answer.await.unwrap().unwrap();
    }
    assert_eq!(
        within("the drain", drain).await.unwrap().json()["outcome"],
        "clean"
    );
}

#[tokio::test]
async fn a_pool_of_one_can_be_drained_and_made_ready_again_and_again() {
    let script = Script::serving(|_| ok("served")).await;
    let keys = "health: {http: /up, interval: 20ms, timeout: 20ms, rise: 1, fall: 100}";
    let mut setup = Setup::web(&[]);
    setup.pools = format!(
        "  web:\n    backends: [{{id: a, address: \"{}\"}}]\n    {keys}\n",
        script.address
    );
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    for _ in 0..20 {
        let drained = proxy.admin("POST", &format!("{DRAIN_A}?force")).await;
        assert_eq!(drained.json()["outcome"], "clean");
        let ready = proxy.admin("POST", "/v1/pools/web/backends/a/ready").await;
        assert_eq!(ready.json()["outcome"], "done");
        let served = proxy.fetch(get("/")).await.unwrap().unwrap();
        assert_eq!(served.text(), "served");
    }
}

/// The operation ended with its caller, and the backend stayed for ever.
#[tokio::test]
async fn an_operation_goes_on_when_its_caller_is_gone() {
    let (_a, _b, proxy) = pair().await;
    let sick = App::start("sick").await;
    sick.set_health(500);
    let body = format!(
        "{{\"id\": \"c\", \"address\": \"{}\", \"wait\": \"300ms\"}}",
        sick.address
    );
    let caller = tokio::time::timeout(
        std::time::Duration::from_millis(50),
        proxy.admin_with("POST", "/v1/pools/web/backends", &body),
    );
    assert!(caller.await.is_err(), "it was answered at once");
    let path = "/v1/pools/web/backends/c";
    assert_eq!(proxy.admin("GET", path).await.status(), 200);
    within("it to be given up", async {
        while proxy.admin("GET", path).await.status() != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A drain that was forced was told as clean by the next process, and told to all who follow events.
#[tokio::test]
async fn how_a_drain_ended_is_known_after_a_crash() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let mut setup = Setup::web(&[("a", &a), ("b", &b)]);
    setup.state = true;
    let mut proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a", "b"]).await;
    proxy.admin("POST", STANDBY_B).await;
    let answer = proxy.fetch(get("/door"));
    let _entered = a.entered().await;
    proxy.admin("POST", "/v1/pools/web/backends/b/ready").await;
    let path = format!("{DRAIN_A}?timeout=1ms&on_timeout=close");
    let before = proxy.admin("POST", &path).await.json();
    assert_eq!(before["outcome"], "forced");
    assert_drain_closed(answer.await.unwrap());
    // Stored behind the answer.
    within("the end to be stored", async {
        let file = proxy.path("state.json");
        while !std::fs::read_to_string(&file)
            .unwrap()
            .contains("\"drained\"")
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    proxy.crash_and_restart().await;
    let after = proxy.admin("POST", DRAIN_A).await.json();
    for key in ["outcome", "generation", "safe_to_kill"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    for key in ["cut_requests", "cut_tunnels", "begun_ms"] {
        assert_eq!(after["drain"][key], before["drain"][key], "{key}");
    }
    assert_eq!(after["backend"]["drained"], true);
    assert!(!proxy.log().contains("drain_begun"), "{}", proxy.log());
    // Not probed again, and not taken for live.
    assert_eq!(after["serving"].as_array().unwrap().len(), 1);
}
