//! Bringing a backend in: add, ready, standby, weight, and the wait.

use super::{Case, Three, Way, case, pair, provoke};
use crate::support::pair::enter;

pub const CASES: &[Case] = &[
    case!("add", Done, add_done),
    case!("add", Begun, add_begun),
    case!("add", Refused, add_refused),
    case!("add", Failed, add_failed),
    case!("add", Unknown, add_unknown),
    case!("add", NotHealthyYet, add_not_healthy_yet),
    case!("ready", Done, ready_done),
    case!("ready", Begun, ready_begun),
    case!("ready", Refused, ready_refused),
    case!("ready", Unknown, ready_unknown),
    case!("ready", NotHealthyYet, ready_not_healthy_yet),
    case!("standby", Done, standby_done),
    case!("standby", Refused, standby_refused),
    case!("standby", Unknown, standby_unknown),
    case!("weight", Done, weight_done),
    case!("weight", Refused, weight_refused),
    case!("weight", Unknown, weight_unknown),
    case!("wait", Done, wait_done),
    case!("wait", Clean, wait_clean),
    case!("wait", Forced, wait_forced),
    case!("wait", Refused, wait_refused),
    case!("wait", Unknown, wait_unknown),
    case!("wait", NotYet, wait_not_yet),
    case!("wait", NotHealthyYet, wait_not_healthy_yet),
    case!("wait", Restored, wait_restored),
];

#[tokio::test]
async fn add_ready_standby_weight_and_wait_end_as_listed() {
    provoke(CASES).await;
}

const NO_X: &str =
    "error: pool \"web\" has no backend \"x\"\nhint: `tidegate status web` lists its backends\n";

async fn add_done(way: Way) {
    let three = Three::start().await;
    let args = ["add", "web/c", &three.c.address];
    way.ends(&three.proxy, &args, "web/c is healthy and active\n", "")
        .await;
}

async fn add_begun(way: Way) {
    let three = Three::start().await;
    three.c.set_health(503);
    let args = ["add", "web/c", &three.c.address, "--no-wait"];
    way.ends(&three.proxy, &args, "web/c is not healthy yet\n", "")
        .await;
}

async fn add_refused(way: Way) {
    let three = Three::start().await;
    let args = ["add", "web/a", &three.c.address];
    let err = "error: a is live at 127.0.0.1:PORT; drain it first, or use another id\n";
    way.ends(&three.proxy, &args, "", err).await;
}

async fn add_failed(way: Way) {
    let three = Three::start().await;
    three.c.set_health(503);
    let args = ["add", "web/c", &three.c.address, "--wait", "1s"];
    let err = "error: web/c did not get healthy within T (last probe: status 503 (expected 200-299)); it was removed\n\
        hint: nothing else was changed; who served before still serves\n";
    way.ends(&three.proxy, &args, "", err).await;
}

async fn add_unknown(way: Way) {
    let three = Three::start().await;
    let args = ["add", "none/c", &three.c.address];
    let err = "error: there is no pool \"none\"\nhint: `tidegate status` lists the pools\n";
    way.ends(&three.proxy, &args, "", err).await;
}

async fn add_not_healthy_yet(way: Way) {
    let three = Three::start().await;
    three.c.set_health(503);
    let add = ["add", "web/c", &three.c.address];
    three.proxy.cli(&[&add[..], &["--no-wait"]].concat()).await;
    let args = [&add[..], &["--wait", "50ms"]].concat();
    way.ends(
        &three.proxy,
        &args,
        "",
        "error: web/c is not healthy after T (last probe: status 503 (expected 200-299))\n",
    )
    .await;
}

async fn ready_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    proxy.cli(&["standby", "web/b"]).await;
    let out = "web/b is healthy and active\n";
    way.ends(&proxy, &["ready", "web/b"], out, "").await;
}

async fn ready_begun(way: Way) {
    let (_a, b, proxy) = pair().await;
    proxy.cli(&["standby", "web/b"]).await;
    b.set_health(503);
    proxy
        .until("b", "sick", |b| b["health"] == "unhealthy")
        .await;
    let args = ["ready", "web/b", "--no-wait"];
    way.ends(&proxy, &args, "web/b is not healthy yet\n", "")
        .await;
}

async fn ready_refused(way: Way) {
    let mut three = Three::start().await;
    let proxy = &three.proxy;
    let (_inside, _answer) = enter(proxy, &mut three.a, &mut three.b).await;
    let old = proxy.backend("a").await["generation"].to_string();
    proxy.cli(&["drain", "web/a", "--no-wait"]).await;
    proxy.cli(&["add", "web/a", &three.c.address]).await;
    let args = ["ready", &format!("web/a@{old}")];
    let err = "error: a is live at 127.0.0.1:PORT; drain it first, or use another id\n";
    way.ends(proxy, &args, "", err).await;
}

async fn ready_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["ready", "web/x"], "", NO_X).await;
}

async fn ready_not_healthy_yet(way: Way) {
    let (_a, b, proxy) = pair().await;
    proxy.cli(&["standby", "web/b"]).await;
    b.set_health(503);
    proxy
        .until("b", "sick", |b| b["health"] == "unhealthy")
        .await;
    let args = ["ready", "web/b", "--wait", "50ms"];
    way.ends(
        &proxy,
        &args,
        "",
        "error: web/b is not healthy after T (last probe: status 503 (expected 200-299))\n",
    )
    .await;
}

async fn standby_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let out = "web/b is on standby\n";
    way.ends(&proxy, &["standby", "web/b"], out, "").await;
}

async fn standby_refused(way: Way) {
    let (_a, _b, proxy) = pair().await;
    proxy.cli(&["standby", "web/b"]).await;
    let err = "error: web/a is the last eligible backend of its pool\n\
        hint: add another one first, or use --force: requests are held, then answered 503\n";
    way.ends(&proxy, &["standby", "web/a"], "", err).await;
}

async fn standby_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["standby", "web/x"], "", NO_X).await;
}

async fn weight_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let out = "web/a has weight 3\n";
    way.ends(&proxy, &["weight", "web/a", "3"], out, "").await;
}

async fn weight_refused(way: Way) {
    let three = Three::start().await;
    three.open_canary().await;
    let err = "error: web/a is part of rollout 1 of web, which is under way: canary, by uid:N\n\
        hint: `tidegate abort web` takes the rollout back, `tidegate status web` shows it\n";
    way.ends(&three.proxy, &["weight", "web/a", "3"], "", err)
        .await;
}

async fn weight_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["weight", "web/x", "3"], "", NO_X).await;
}

const FOR_HEALTHY: [&str; 2] = ["--for", "healthy"];
const FOR_DRAINED: [&str; 2] = ["--for", "drained"];

fn wait<'a>(backend: &'a str, what: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [&["wait", backend], what, more].concat()
}

async fn wait_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let args = wait("web/a", &FOR_HEALTHY, &[]);
    way.ends(&proxy, &args, "web/a is healthy and active\n", "")
        .await;
}

async fn wait_clean(way: Way) {
    let (_a, _b, proxy) = pair().await;
    proxy.cli(&["drain", "web/a"]).await;
    let args = wait("web/a", &FOR_DRAINED, &[]);
    let out = "web/a is drained: clean, after T; safe to kill\n";
    way.ends(&proxy, &args, out, "").await;
}

async fn wait_forced(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    proxy.cli(&["drain", "web/a", "--no-wait"]).await;
    proxy.cli(&["close", "web/a"]).await;
    let args = wait("web/a", &FOR_DRAINED, &[]);
    let out = "web/a is drained: forced, 1 request and 0 tunnels cut, after T; safe to kill\n";
    let err = "  cut request GET /door from 127.0.0.1, T old, idle T, 0 B up, 0 B down\n";
    way.ends(&proxy, &args, out, err).await;
}

async fn wait_refused(way: Way) {
    let three = Three::start().await;
    three.c.set_health(503);
    let proxy = &three.proxy;
    proxy
        .cli(&["add", "web/c", &three.c.address, "--no-wait"])
        .await;
    let waits = way.types_later(proxy, &wait("web/c", &FOR_HEALTHY, &[]));
    // Whether it has begun to wait or not: it learns that there is nothing to wait for.
    proxy.cli(&["drain", "web/c"]).await;
    let ended = waits.ended().await;
    way.says(&ended, "", "error: web/c was taken out meanwhile\n");
}

async fn wait_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let args = wait("web/x", &FOR_HEALTHY, &[]);
    way.ends(&proxy, &args, "", NO_X).await;
}

async fn wait_not_yet(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let args = wait("web/a", &FOR_DRAINED, &["--wait", "50ms"]);
    way.ends(
        &proxy,
        &args,
        "",
        "error: web/a is not draining\nhint: `tidegate drain web/a` begins it\n",
    )
    .await;
}

async fn wait_not_healthy_yet(way: Way) {
    let (_a, b, proxy) = pair().await;
    b.set_health(503);
    proxy
        .until("b", "sick", |b| b["health"] == "unhealthy")
        .await;
    let args = wait("web/b", &FOR_HEALTHY, &["--wait", "50ms"]);
    way.ends(
        &proxy,
        &args,
        "",
        "error: web/b is not healthy after T (last probe: status 503 (expected 200-299))\n",
    )
    .await;
}

async fn wait_restored(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let waits = way.types_later(&proxy, &wait("web/a", &FOR_DRAINED, &[]));
    let ended = waits.ended_by(async || {
        proxy.cli(&["drain", "web/a", "--no-wait"]).await;
        proxy.cli(&["ready", "web/a"]).await;
    });
    let err = "error: web/a was brought back while it was draining\n\
        hint: do not kill it: it serves again\n";
    way.says(&ended.await, "", err);
}
