//! What each operation can end in, on the wire.

use super::*;

#[tokio::test]
async fn status_and_pools_say_what_there_is() {
    let rig = Rig::new().await;
    let status = rig.call("GET", "/v1/status").await;
    assert_eq!(status.outcome(), (200, "done"));
    assert_eq!(status.body["pid"], std::process::id());
    assert_eq!(status.body["listeners"][0]["address"], "127.0.0.1:80");
    let pools = rig.call("GET", "/v1/pools").await;
    assert_eq!(pools.outcome(), (200, "done"));
    assert_eq!(pools.body["pools"][0]["backends"][1]["id"], "b");
    let pool = rig.call("GET", "/v1/pools/web").await;
    assert_eq!(pool.outcome(), (200, "done"));
    assert_eq!(pool.body["pool"]["eligible"], 2);
    let unknown = rig.call("GET", "/v1/pools/nope").await;
    assert_eq!(unknown.outcome(), (404, "unknown"));
    let one = rig.call("GET", "/v1/pools/web/backends/a").await;
    assert_eq!(one.outcome(), (200, "done"));
    let generation = one.body["generation"].as_u64().unwrap();
    let same = rig
        .call("GET", &format!("/v1/pools/web/backends/a@{generation}"))
        .await;
    assert_eq!(same.body["backend"]["id"], "a");
    let other = rig.call("GET", "/v1/pools/web/backends/a@999").await;
    assert_eq!(other.outcome(), (404, "unknown"));
}

#[tokio::test]
async fn drain_of_an_idle_backend_is_clean_and_says_safe_to_kill() {
    let rig = Rig::new().await;
    let drained = rig.post("a/drain").await;
    assert_eq!(drained.outcome(), (200, "clean"));
    assert_eq!(drained.body["safe_to_kill"], true);
    assert_eq!(drained.body["serving"][0]["id"], "b");
    // Again: the same answer.
    assert_eq!(rig.post("a/drain").await.outcome(), (200, "clean"));
}

#[tokio::test]
async fn drain_refuses_the_last_one_and_what_is_not_there() {
    let rig = Rig::new().await;
    let unknown = rig.post("nope/drain").await;
    assert_eq!(unknown.outcome(), (404, "unknown"));
    rig.set_health("b", Health::Unhealthy);
    let last = rig.post("a/drain").await;
    assert_eq!(last.outcome(), (409, "refused"));
    assert_eq!(last.body["safe_to_kill"], false);
    assert_eq!(rig.post("a/drain?force").await.outcome(), (200, "clean"));
}

#[tokio::test]
async fn drain_is_not_yet_while_something_is_in_flight() {
    let rig = Rig::new().await;
    let (_, claim) = rig.hold("a");
    let begun = rig.post("a/drain?wait=0").await;
    assert_eq!(begun.outcome(), (202, "begun"));
    let not_yet = rig.post("a/drain?wait=1ms").await;
    assert_eq!(not_yet.outcome(), (408, "not_yet"));
    assert_eq!(not_yet.body["safe_to_kill"], false);
    assert_eq!(not_yet.body["drain"]["blocked_by"][0]["path"], "/slow");
    let look = "/v1/pools/web/backends/a?wait_for=drained&wait=1ms";
    assert_eq!(rig.call("GET", look).await.outcome(), (408, "not_yet"));
    drop(claim);
    let look = "/v1/pools/web/backends/a?wait_for=drained";
    assert_eq!(rig.call("GET", look).await.outcome(), (200, "clean"));
}

#[tokio::test]
async fn the_clocks_of_a_drain_are_passed_on() {
    let rig = Rig::new().await;
    rig.hold_until_cut("a");
    let forced = rig.post("a/drain?timeout=1ms&on_timeout=close").await;
    assert_eq!(forced.outcome(), (200, "forced"));
    assert_eq!(forced.body["drain"]["cut_requests"], 1);
    assert_eq!(forced.body["drain"]["cut"][0]["client"], "10.0.0.9");
}

#[tokio::test]
async fn a_drain_goes_on_when_the_caller_hangs_up() {
    let rig = Rig::new().await;
    let (_, claim) = rig.hold("a");
    let target = "/v1/pools/web/backends/a/drain";
    let calling = rig.call("POST", target);
    // Long enough for the request to be read, then the connection is dropped.
    let draining = until("draining", || rig.backend("a").reading().is_draining());
    tokio::select! {
        _ = calling => panic!("answered while a request was in flight"),
        () = draining => {}
    }
    drop(claim);
    until("sealed", || rig.backend("a").reading().is_sealed()).await;
}

#[tokio::test]
async fn ready_ends_a_drain_which_says_restored() {
    let rig = Rig::new().await;
    let (_, claim) = rig.hold("a");
    let brought_back = async {
        until("draining", || rig.backend("a").reading().is_draining()).await;
        rig.post("a/ready").await
    };
    let (drained, ready) = tokio::join!(rig.post("a/drain"), brought_back);
    assert_eq!(drained.outcome(), (409, "restored"));
    assert_eq!(ready.outcome(), (200, "done"));
    drop(claim);
}

#[tokio::test]
async fn ready_waits_for_healthy() {
    let rig = Rig::new().await;
    rig.set_health("a", Health::Unhealthy);
    let ready = rig.post("a/ready?wait=1ms").await;
    assert_eq!(ready.outcome(), (408, "not_healthy_yet"));
    let look = "/v1/pools/web/backends/a?wait_for=healthy&wait=1ms";
    let answered = rig.call("GET", look).await;
    assert_eq!(answered.outcome(), (408, "not_healthy_yet"));
    let look = "/v1/pools/web/backends/b?wait_for=healthy";
    assert_eq!(rig.call("GET", look).await.outcome(), (200, "done"));
    assert_eq!(rig.post("nope/ready").await.outcome(), (404, "unknown"));
}

#[tokio::test]
async fn standby_and_close() {
    let rig = Rig::new().await;
    assert_eq!(rig.post("a/close").await.outcome(), (409, "refused"));
    assert_eq!(rig.post("nope/close").await.outcome(), (404, "unknown"));
    let standby = rig.post("a/standby").await;
    assert_eq!(standby.outcome(), (200, "done"));
    assert_eq!(standby.body["backend"]["intent"], "standby");
    assert_eq!(rig.post("b/standby").await.outcome(), (409, "refused"));
    assert_eq!(rig.post("b/standby?force=1").await.outcome(), (200, "done"));
    assert_eq!(rig.post("nope/standby").await.outcome(), (404, "unknown"));
    assert_eq!(rig.post("a/close").await.outcome(), (200, "done"));
    rig.post("b/ready").await;
    rig.hold_until_cut("b");
    rig.post("b/drain?wait=0&force").await;
    assert_eq!(rig.post("b/close?wait=5s").await.outcome(), (200, "forced"));
}

#[tokio::test]
async fn remove_takes_drained_or_never_used_ones() {
    let rig = Rig::new().await;
    let path = "/v1/pools/web/backends/a";
    rig.hold_until_cut("a");
    let refused = rig.call("DELETE", path).await;
    assert_eq!(refused.outcome(), (409, "refused"));
    let forced = rig.call("DELETE", &format!("{path}?force=true")).await;
    assert_eq!(forced.outcome(), (200, "forced"));
    assert_eq!(forced.body["safe_to_kill"], true);
    assert_eq!(rig.call("DELETE", path).await.outcome(), (404, "unknown"));
    let last = rig.call("DELETE", "/v1/pools/web/backends/b").await;
    assert_eq!(last.outcome(), (409, "refused"));
    rig.post("b/standby?force=1").await;
    let unused = rig.call("DELETE", "/v1/pools/web/backends/b").await;
    assert_eq!(unused.outcome(), (200, "done"));
}

#[tokio::test]
async fn add_answers_when_healthy_or_leaves_nothing() {
    let rig = Rig::new().await;
    let add = async |body: &str| rig.tell("POST", "/v1/pools/web/backends", body).await;
    let failed = add(r#"{"id":"c","address":"127.0.0.1:8083","wait":"1ms"}"#).await;
    assert_eq!(failed.outcome(), (409, "failed"));
    let gone = rig.call("GET", "/v1/pools/web/backends/c").await;
    assert_eq!(gone.outcome(), (404, "unknown"));
    let unresolved = add(r#"{"id":"c","address":"app.invalid:8083"}"#).await;
    assert_eq!(unresolved.outcome(), (409, "failed"));
    let begun =
        add(r#"{"id":"c","address":"127.0.0.1:8083","standby":true,"weight":7,"wait":"0s"}"#).await;
    assert_eq!(begun.outcome(), (202, "begun"));
    assert_eq!(begun.body["backend"]["weight"], 7);
    assert_eq!(begun.body["backend"]["intent"], "standby");
    rig.set_health("c", Health::Healthy);
    let again = add(r#"{"id":"c","address":"127.0.0.1:8083"}"#).await;
    assert_eq!(again.outcome(), (200, "done"));
    let other = add(r#"{"id":"c","address":"127.0.0.1:9999"}"#).await;
    assert_eq!(other.outcome(), (409, "refused"));
    let elsewhere = r#"{"id":"c","address":"127.0.0.1:1"}"#;
    let nowhere = rig.tell("POST", "/v1/pools/nope/backends", elsewhere).await;
    assert_eq!(nowhere.outcome(), (404, "unknown"));
}

#[tokio::test]
async fn pause_and_resume() {
    let rig = Rig::new().await;
    let web = "/v1/pools/web";
    let unknown = rig.call("POST", "/v1/pools/nope/pause").await;
    assert_eq!(unknown.outcome(), (404, "unknown"));
    let unknown = rig.call("POST", "/v1/pools/nope/resume").await;
    assert_eq!(unknown.outcome(), (404, "unknown"));
    let (_, claim) = rig.hold("a");
    let in_vain = rig.call("POST", &format!("{web}/pause?wait=1ms")).await;
    assert_eq!(in_vain.outcome(), (408, "not_yet"));
    assert_eq!(in_vain.body["in_flight"][0]["path"], "/slow");
    let begun = rig.call("POST", &format!("{web}/pause?wait=0")).await;
    assert_eq!(begun.outcome(), (202, "begun"));
    drop(claim);
    let paused = rig.call("POST", &format!("{web}/pause?ttl=1h")).await;
    assert_eq!(paused.outcome(), (200, "done"));
    assert_eq!(paused.body["safe_to_kill"], false);
    let status = rig.call("GET", web).await;
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(status.body["pool"]["paused"]["actor"], format!("uid:{uid}"));
    for _ in 0..2 {
        let resumed = rig.call("POST", &format!("{web}/resume")).await;
        assert_eq!(resumed.outcome(), (200, "done"));
    }
    let status = rig.call("GET", web).await;
    assert_eq!(status.body["pool"]["paused"], Value::Null);
}

#[tokio::test]
async fn a_drain_or_standby_that_would_leave_too_few_is_refused() {
    let rig = Rig::new().await;
    for verb in ["drain", "standby"] {
        let refused = rig.post(&format!("a/{verb}?min_eligible=2")).await;
        assert_eq!(refused.outcome(), (409, "refused"));
    }
    let drained = rig.post("a/drain?min_eligible=1").await;
    assert_eq!(drained.outcome(), (200, "clean"));
}

#[tokio::test]
async fn weight_and_reload() {
    let rig = Rig::new().await;
    let path = "/v1/pools/web/backends/a";
    let weighed = rig.tell("PATCH", path, r#"{"weight":10}"#).await;
    assert_eq!(weighed.outcome(), (200, "done"));
    assert_eq!(weighed.body["backend"]["weight"], 10);
    let nope = "/v1/pools/web/backends/nope";
    let unknown = rig.tell("PATCH", nope, r#"{"weight":10}"#).await;
    assert_eq!(unknown.outcome(), (404, "unknown"));
    assert_eq!(
        rig.call("POST", "/v1/reload").await.outcome(),
        (200, "done")
    );
    *rig.file.0.lock().unwrap() = Err(Rejected {
        problems: 1,
        text: "proxy.yaml has 1 problem\n  pools.web: …".to_owned(),
    });
    let rejected = rig.call("POST", "/v1/reload").await;
    assert_eq!(rejected.outcome(), (422, "rejected"));
    assert_eq!(
        rejected.message(),
        "proxy.yaml has 1 problem\n  pools.web: …"
    );
}

#[tokio::test]
async fn the_actor_is_the_uid_of_the_peer() {
    let rig = Rig::new().await;
    rig.post("a/standby").await;
    let events = rig.control.events().since(0, 100);
    let mut actors = events.iter().filter_map(|event| event.about.actor.clone());
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(actors.next_back(), Some(format!("uid:{uid}")));
}
