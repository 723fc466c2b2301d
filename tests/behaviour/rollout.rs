//! Rollouts through the real binary, with traffic beside them: the pool moves or nothing has changed,
//! and no request is lost either way.

use serde_json::{Value, json};

use crate::support::traffic::{Traffic, assert_all_good};
use crate::support::{App, Proxy, Setup, get, shipped, within};

/// Probes that a busy machine does not fail: a verdict would take a rollout back.
const STEADY: &str = "health: {http: /up, interval: 500ms, timeout: 500ms, rise: 1, fall: 2}";

/// A proxy before two healthy apps, `a` and `b`.
async fn pair() -> (App, App, Proxy) {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web_with(&[("a", &a), ("b", &b)], STEADY)).await;
    proxy.until_healthy(&["a", "b"]).await;
    (a, b, proxy)
}

/// A rollout of `c` for `a` and `b`, with short clocks; `more` goes over it.
fn c_for_all(c: &App, more: &Value) -> String {
    let mut body = json!({
        "add": [{"id": "c", "address": c.address}],
        "replace": "all",
        "min_healthy_time": "100ms",
        "healthy_deadline": "5s",
        "bake": "300ms",
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body.to_string()
}

async fn rollout(proxy: &Proxy, body: &str) -> Value {
    let answer = proxy.admin_with("POST", "/v1/pools/web/rollout", body);
    within("the rollout to be answered", answer).await.json()
}

async fn pool(proxy: &Proxy) -> Value {
    proxy.admin("GET", "/v1/pools/web").await.json()["pool"].clone()
}

fn ids(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|one| one["id"].as_str().unwrap()).collect()
}

/// Waits until the rollout of `web` is in this phase.
async fn until_phase(proxy: &Proxy, phase: &str) {
    within(&format!("the phase {phase}"), async {
        while pool(proxy).await["rollout"]["phase"] != phase {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The newest record of the history.
async fn last(proxy: &Proxy) -> Value {
    let history = proxy.admin("GET", "/v1/pools/web/history").await.json();
    history["records"][0].clone()
}

#[tokio::test]
async fn a_rollout_moves_the_traffic_and_loses_nothing() {
    let (_a, _b, proxy) = pair().await;
    let c = App::start("c").await;
    let traffic = Traffic::start(&proxy, 4);
    let answer = rollout(&proxy, &c_for_all(&c, &json!({}))).await;
    assert_eq!(answer["outcome"], "clean", "{answer}");
    assert_eq!(answer["safe_to_kill"], true);
    assert_eq!(ids(&answer["serving"]), ["c"]);
    let after = std::time::Instant::now();
    traffic.goes_on_for(20).await;
    let seen = traffic.stop().await;
    assert_all_good(&seen);
    let late = seen.iter().filter(|one| one.at > after);
    assert!(late.clone().count() > 5);
    // What was under way when the answer came had been claimed by c already: a and b were drained.
    assert!(
        late.clone().all(|one| one.by == "c"),
        "the old set answered"
    );
    for old in ["a", "b"] {
        assert_eq!(proxy.backend(old).await["connections"], 0);
    }
    let timings = &answer["rollout"]["timings"];
    for phase in ["gate_ms", "bake_ms", "drain_ms"] {
        assert!(timings[phase].is_u64(), "{timings}");
    }
}

#[tokio::test]
async fn a_new_version_that_never_gets_healthy_changes_nothing() {
    let (_a, _b, proxy) = pair().await;
    let c = App::start("c").await;
    c.set_health(503);
    let traffic = Traffic::start(&proxy, 2);
    let body = c_for_all(&c, &json!({"healthy_deadline": "400ms"}));
    let answer = rollout(&proxy, &body).await;
    assert_eq!(answer["outcome"], "failed");
    assert_eq!(
        answer["message"],
        "rollout 1 of web failed: not healthy within 400ms: c (last probe: status 503 (expected 200-299))"
    );
    assert_eq!(ids(&pool(&proxy).await["backends"]), ["a", "b"]);
    let seen = traffic.stop().await;
    assert_all_good(&seen);
    assert!(seen.iter().all(|one| one.by != "c"));
    assert_eq!(last(&proxy).await["phase"], "failed");
}

#[tokio::test]
async fn a_new_version_that_crashes_in_the_bake_is_taken_back_and_no_new_request_is_lost() {
    let (_a, _b, proxy) = pair().await;
    let mut c = App::start("c").await;
    let body = c_for_all(&c, &json!({"bake": "20s"}));
    let begun = later(&proxy, body);
    until_phase(&proxy, "bake").await;
    assert_eq!(quick(&proxy).await, "c");
    // Nothing is in flight there: what comes now meets a port that nobody listens on.
    c.kill();
    let traffic = Traffic::start(&proxy, 4);
    let answer = within("the rollout to be taken back", begun).await.unwrap();
    assert_eq!(answer["outcome"], "failed", "{answer}");
    let message = answer["message"].as_str().unwrap();
    let cause = "rollout 1 of web reverted: failed its probes: c (last probe: ";
    assert!(message.starts_with(cause), "{message}");
    assert_eq!(ids(&answer["serving"]), ["a", "b"]);
    assert_eq!(ids(&pool(&proxy).await["backends"]), ["a", "b"]);
    let added = &answer["rollout"]["added"][0];
    assert_eq!(
        (&added["state"], &added["safe_to_kill"]),
        (&json!("removed"), &json!(true))
    );
    traffic.goes_on_for(20).await;
    assert_all_good(&traffic.stop().await);
}

#[tokio::test]
async fn a_new_version_that_crashes_as_a_whole_is_bridged_beyond_the_tries_of_a_request() {
    let (_a, _b, proxy) = pair().await;
    let mut new = Vec::new();
    for _ in 0..5 {
        new.push(App::start("new").await);
    }
    let add = new.iter().enumerate();
    let add = add.map(|(n, app)| json!({"id": format!("n{n}"), "address": app.address}));
    let add: Vec<Value> = add.collect();
    let body = c_for_all(&new[0], &json!({"bake": "20s", "add": add}));
    let begun = later(&proxy, body);
    until_phase(&proxy, "bake").await;
    assert_eq!(quick(&proxy).await, "new");
    new.iter_mut().for_each(App::kill);
    let traffic = Traffic::start(&proxy, 8);
    let answer = within("the rollout to be taken back", begun).await.unwrap();
    assert_eq!(answer["outcome"], "failed", "{answer}");
    assert_eq!(ids(&pool(&proxy).await["backends"]), ["a", "b"]);
    traffic.goes_on_for(20).await;
    assert_all_good(&traffic.stop().await);
}

#[tokio::test]
async fn a_new_version_with_too_many_errors_in_the_bake_is_taken_back() {
    let (_a, _b, proxy) = pair().await;
    let c = App::start("c").await;
    c.fail_one_of(20);
    let traffic = Traffic::start(&proxy, 4);
    let answer = rollout(&proxy, &c_for_all(&c, &json!({"bake": "20s"}))).await;
    assert_eq!(answer["outcome"], "failed", "{answer}");
    let message = answer["message"].as_str().unwrap();
    let cause = "rollout 1 of web reverted: too many errors: c ";
    assert!(message.starts_with(cause), "{message}");
    let errors = &answer["rollout"]["errors"];
    assert_eq!(errors["judged"], true);
    assert!(errors["new_errors"].as_u64() >= Some(3), "{errors}");
    assert_eq!(errors["old_errors"], 0);
    assert_eq!(ids(&pool(&proxy).await["backends"]), ["a", "b"]);
    let seen = traffic.stop().await;
    assert!(
        seen.iter()
            .filter(|one| one.status != 200)
            .all(|one| one.by == "c")
    );
}

#[tokio::test]
async fn the_old_sets_own_errors_are_not_held_against_the_new() {
    let (a, b, proxy) = pair().await;
    let c = App::start("c").await;
    for app in [&a, &b, &c] {
        app.fail_one_of(5);
    }
    let traffic = Traffic::start(&proxy, 4);
    let body = c_for_all(&c, &json!({"bake": "1s", "error_margin": "15%"}));
    let answer = rollout(&proxy, &body).await;
    assert_eq!(answer["outcome"], "clean", "{answer}");
    assert_eq!(answer["rollout"]["errors"]["judged"], true);
    traffic.stop().await;
}

#[tokio::test]
async fn a_new_version_that_hangs_in_the_bake_is_taken_back_and_forgotten() {
    let (_a, _b, proxy) = pair().await;
    let c = App::start("c").await;
    let begun = later(&proxy, c_for_all(&c, &json!({"bake": "20s"})));
    until_phase(&proxy, "bake").await;
    c.hang();
    let caught = proxy.fetch(get("/quick"));
    let answer = within("the rollout to be taken back", begun).await.unwrap();
    assert_eq!(answer["outcome"], "failed", "{answer}");
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("failed its probes: c")
    );
    assert_eq!(ids(&pool(&proxy).await["backends"]), ["a", "b"]);
    // Its time was over: it hung in a process that hangs.
    assert_eq!(caught.await.unwrap().unwrap().status(), 503);
    assert_eq!(last(&proxy).await["taken_out"], "forced");
    assert_ne!(quick(&proxy).await, "c");
}

#[tokio::test]
async fn a_crash_of_the_proxy_leaves_the_old_set_or_the_new_and_the_history_says_which() {
    for (phase, serves) in [("gate", ["a", "b"].as_slice()), ("bake", &["c"])] {
        let (a, b, c) = (
            App::start("a").await,
            App::start("b").await,
            App::start("c").await,
        );
        let mut setup = Setup::web_with(&[("a", &a), ("b", &b)], STEADY);
        setup.state = true;
        let mut proxy = Proxy::start(setup).await;
        proxy.until_healthy(&["a", "b"]).await;
        let slow = match phase {
            "gate" => json!({"min_healthy_time": "4s"}),
            _ => json!({"bake": "1s"}),
        };
        let begun = later(&proxy, c_for_all(&c, &slow));
        until_phase(&proxy, phase).await;
        proxy.crash_and_restart().await;
        begun.abort();
        proxy.until_healthy(serves).await;
        let record = within("the record", async {
            loop {
                let record = last(&proxy).await;
                if record["taken_out"].is_string() && record["taken_out"] != "draining" {
                    return record;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        let (decided, taken_out) = match phase {
            "gate" => ("failed", "clean"),
            _ => ("moved", "clean"),
        };
        assert_eq!(record["phase"], decided, "{record}");
        assert_eq!(record["taken_out"], taken_out, "{record}");
        assert!(serves.contains(&quick(&proxy).await.as_str()), "{phase}");
        let backends = pool(&proxy).await["backends"].clone();
        let active = backends.as_array().unwrap().iter();
        let active: Vec<&str> = active
            .filter(|one| one["intent"] == "active")
            .map(|one| one["id"].as_str().unwrap())
            .collect();
        assert_eq!(active, serves, "{phase}");
    }
}

#[tokio::test]
async fn a_reload_that_would_take_a_part_of_a_rollout_is_refused_as_a_whole() {
    let (a, b, c) = (
        App::start("a").await,
        App::start("b").await,
        App::start("c").await,
    );
    let mut proxy = Proxy::start(Setup::web_with(&[("a", &a), ("b", &b)], STEADY)).await;
    proxy.until_healthy(&["a", "b"]).await;
    let begun = later(&proxy, c_for_all(&c, &json!({"bake": "1s"})));
    until_phase(&proxy, "bake").await;
    proxy.rewrite(Setup::web_with(&[("a", &a)], STEADY));
    let refused = proxy.admin("POST", "/v1/reload").await.json();
    assert_eq!(refused["outcome"], "refused");
    let message = refused["message"].as_str().unwrap();
    let part = "web/b is part of rollout 1 of web, which is under way: bake, by ";
    assert!(message.starts_with(part), "{message}");
    let answer = within("the rollout", begun).await.unwrap();
    assert_eq!(answer["outcome"], "clean");
    let applied = proxy.admin("POST", "/v1/reload").await.json();
    assert_eq!(applied["outcome"], "done", "{applied}");
}

/// From the call to the last request that came to the wrong side. The design promises one snapshot; the
/// time is what storing it takes, and is printed.
#[tokio::test]
async fn a_rollback_to_a_set_on_standby_moves_new_requests_at_once() {
    let (mut took, rounds) = (Vec::new(), if shipped().is_some() { 50 } else { 5 });
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut setup = Setup::web_with(&[("a", &a), ("b", &b)], STEADY);
    setup.state = true;
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a", "b"]).await;
    let traffic = Traffic::start(&proxy, 4);
    for _ in 0..rounds {
        let c = App::start("c").await;
        let body = c_for_all(
            &c,
            &json!({"keep_standby": true, "min_healthy_time": "0s", "bake": "0s"}),
        );
        let answer = rollout(&proxy, &body).await;
        assert_eq!(
            (&answer["outcome"], &answer["safe_to_kill"]),
            (&json!("done"), &json!(false))
        );
        within("a request on the new side", async {
            while c.last_quick().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await;
        let called = std::time::Instant::now();
        let back = proxy.admin("POST", "/v1/pools/web/rollback").await.json();
        assert_eq!(back["outcome"], "clean", "{back}");
        let last = c.last_quick().unwrap();
        assert_eq!(ids(&back["serving"]), ["a", "b"]);
        took.push(last.saturating_duration_since(called));
    }
    assert_all_good(&traffic.stop().await);
    took.sort();
    let (median, worst) = (took[rounds / 2], took[rounds - 1]);
    println!(
        "rollback: last request on the wrong side after {median:?} (median), {worst:?} (worst of {rounds})"
    );
    assert!(median < std::time::Duration::from_secs(1), "{took:?}");
}

/// The app that answers.
async fn quick(proxy: &Proxy) -> String {
    let answer = within("an answer", proxy.fetch(get("/quick"))).await;
    answer.unwrap().unwrap().text()
}

/// A rollout in the background.
fn later(proxy: &Proxy, body: String) -> tokio::task::JoinHandle<Value> {
    let socket = proxy.path("admin.sock");
    tokio::spawn(async move {
        let path = "/v1/pools/web/rollout";
        crate::support::call(socket, "POST", path, &body)
            .await
            .json()
    })
}
