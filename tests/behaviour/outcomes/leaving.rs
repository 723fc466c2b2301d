//! Taking a backend out: drain, close and remove. Cuts that take their time are in `slow_cuts`.

use super::{Case, Way, case, pair, provoke};
use crate::support::pair::enter;

pub const CASES: &[Case] = &[
    case!("drain", Clean, drain_clean),
    case!("drain", Forced, drain_forced),
    case!("drain", Begun, drain_begun),
    case!("drain", NotYet, drain_not_yet),
    case!("drain", Restored, drain_restored),
    case!("drain", Refused, drain_refused),
    case!("drain", Unknown, drain_unknown),
    case!("close", Done, close_done),
    case!("close", Clean, close_clean),
    case!("close", Forced, close_forced),
    case!("close", Refused, close_refused),
    case!("close", Unknown, close_unknown),
    case!("remove", Done, remove_done),
    case!("remove", Forced, remove_forced),
    case!("remove", Refused, remove_refused),
    case!("remove", Unknown, remove_unknown),
];

#[tokio::test]
async fn drain_close_and_remove_end_as_listed() {
    provoke(CASES).await;
}

const NO_X: &str =
    "error: pool \"web\" has no backend \"x\"\nhint: `tidegate status web` lists its backends\n";
const CLEAN: &str = "web/a is drained: clean, after T; safe to kill\n";
const FORCED: &str =
    "web/a is drained: forced, 1 request and 0 tunnels cut, after T; safe to kill\n";
const CUT: &str = "  cut request GET /door from 127.0.0.1, T old, idle T, 0 B up, 0 B down\n";

async fn drain_clean(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["drain", "web/a"], CLEAN, "").await;
}

async fn drain_forced(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let args = [
        "drain",
        "web/a",
        "--timeout",
        "1ms",
        "--on-timeout",
        "close",
    ];
    way.ends(&proxy, &args, FORCED, CUT).await;
}

async fn drain_begun(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let args = ["drain", "web/a", "--no-wait"];
    let out = "web/a is draining: 1 request in flight\n";
    way.ends(&proxy, &args, out, "").await;
}

async fn drain_not_yet(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let args = ["drain", "web/a", "--wait", "50ms"];
    let err = "error: web/a is not drained yet: 1 request in flight after T\n  \
        held by request GET /door from 127.0.0.1, T old, idle T, 0 B up, 0 B down\n\
        hint: it goes on draining; `drain web/a` waits again, `close web/a` cuts, `ready web/a` brings it back\n";
    way.ends(&proxy, &args, "", err).await;
}

async fn drain_restored(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let drain = way.types_later(&proxy, &["drain", "web/a"]);
    proxy
        .until("a", "draining", |a| a["intent"] == "draining")
        .await;
    proxy.cli(&["ready", "web/a"]).await;
    let err = "error: web/a was brought back while it was draining\n\
        hint: do not kill it: it serves again\n";
    way.says(&drain.ended().await, "", err);
}

async fn drain_refused(way: Way) {
    let (_a, _b, proxy) = pair().await;
    proxy.cli(&["standby", "web/b"]).await;
    let err = "error: web/a is the last eligible backend of its pool\n\
        hint: add another one first, or use --force: requests are held, then answered 503\n";
    way.ends(&proxy, &["drain", "web/a"], "", err).await;
}

async fn drain_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["drain", "web/x"], "", NO_X).await;
}

async fn close_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    proxy.cli(&["standby", "web/a"]).await;
    let out = "web/a: 0 requests and 0 tunnels cut\n";
    way.ends(&proxy, &["close", "web/a"], out, "").await;
}

async fn close_clean(way: Way) {
    let (_a, _b, proxy) = pair().await;
    proxy.cli(&["drain", "web/a"]).await;
    way.ends(&proxy, &["close", "web/a"], CLEAN, "").await;
}

async fn close_forced(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    proxy.cli(&["drain", "web/a", "--no-wait"]).await;
    way.ends(&proxy, &["close", "web/a"], FORCED, CUT).await;
}

async fn close_refused(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let err = "error: web/a is active; new requests would follow\n\
        hint: `tidegate drain web/a --timeout T --on-timeout close` takes it out and cuts\n";
    way.ends(&proxy, &["close", "web/a"], "", err).await;
}

async fn close_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["close", "web/x"], "", NO_X).await;
}

async fn remove_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let out = "web/a was removed\n";
    way.ends(&proxy, &["remove", "web/a"], out, "").await;
}

async fn remove_forced(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let out = "web/a was removed, 1 request and 0 tunnels cut\n";
    way.ends(&proxy, &["remove", "web/a", "--force"], out, CUT)
        .await;
}

async fn remove_refused(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let err = "error: web/a is active and not drained: 1 request in flight\n\
        hint: `drain web/a` first, or `remove web/a --force` cuts\n";
    way.ends(&proxy, &["remove", "web/a"], "", err).await;
}

async fn remove_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["remove", "web/x"], "", NO_X).await;
}
