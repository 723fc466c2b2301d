//! Stepping in: canary, promote, rollback and abort.

use super::rollouts::{AT_ONCE, Held, LONG_BAKE, words};
use super::{Case, Three, Way, case, provoke};
use crate::support::pair::enter;
use crate::support::{App, Proxy, Setup, Typed};

pub const CASES: &[Case] = &[
    case!("canary", Done, canary_done),
    case!("canary", Refused, canary_refused),
    case!("canary", Refused, canary_refused_in_another_phase),
    case!("canary", Unknown, canary_unknown),
    case!("promote", Done, promote_done),
    case!("promote", Clean, promote_clean),
    case!("promote", Begun, promote_begun),
    case!("promote", Forced, promote_forced),
    case!("promote", NotYet, promote_not_yet),
    case!("promote", Restored, promote_restored),
    case!("promote", Refused, promote_refused),
    case!("promote", Refused, promote_refused_of_a_sick_one),
    case!("promote", Failed, promote_failed),
    case!("promote", Unknown, promote_unknown),
    case!("rollback", Done, rollback_done),
    case!("rollback", Clean, rollback_clean),
    case!("rollback", Begun, rollback_begun),
    case!("rollback", Forced, rollback_forced),
    case!("rollback", NotYet, rollback_not_yet),
    case!("rollback", Restored, rollback_restored),
    case!("rollback", Refused, rollback_refused),
    case!("rollback", Refused, rollback_refused_of_a_drained_set),
    case!("rollback", Unknown, rollback_unknown),
    case!("abort", Done, abort_done),
    case!("abort", Clean, abort_clean),
    case!("abort", Begun, abort_begun),
    case!("abort", Forced, abort_forced),
    case!("abort", NotYet, abort_not_yet),
    case!("abort", Restored, abort_restored),
    case!("abort", Refused, abort_refused),
    case!("abort", Unknown, abort_unknown),
];

fn of(verb: &str) -> impl Iterator<Item = &Case> {
    CASES.iter().filter(move |case| case.verb == verb)
}

#[tokio::test]
async fn a_canary_and_its_promotion_end_as_listed() {
    provoke(of("canary").chain(of("promote"))).await;
}

#[tokio::test]
async fn a_rollback_ends_as_listed() {
    provoke(of("rollback")).await;
}

#[tokio::test]
async fn an_abort_ends_as_listed() {
    provoke(of("abort")).await;
}

const SERVING_C: &str = "serving: c (127.0.0.1:PORT)\n";
const SERVING_A_B: &str = "serving: a (127.0.0.1:PORT), b (127.0.0.1:PORT)\n";
const SERVING_ALL: &str = "serving: a (127.0.0.1:PORT), b (127.0.0.1:PORT), c (127.0.0.1:PORT)\n";
const SAFE_A_B: &str = "safe to kill: a (127.0.0.1:PORT), b (127.0.0.1:PORT)\n";
const SAFE_C: &str = "safe to kill: c (127.0.0.1:PORT)\n";
const NO_POOL: &str = "error: there is no pool \"none\"\nhint: `tidegate status` lists the pools\n";
const KILL_NOT_A: &str = "hint: do not kill a: it is in use again\n";
const KILL_NOT_C: &str = "hint: do not kill c: it is in use again\n";
const WAIT_FOR_C: &str =
    "hint: the drain goes on; `tidegate wait web/c --for drained` waits for it\n";

async fn canary_done(way: Way) {
    let three = Three::start().await;
    three.open_canary().await;
    let out = format!(
        "web: the canary of rollout 1 is open: 25.5% of new requests to c\n{SERVING_ALL}\
         took: gate T\n"
    );
    let err = "hint: `tidegate canary web N%` changes the share, `promote web` goes on, `rollback web` takes it back\n";
    way.ends(&three.proxy, &["canary", "web", "25.5%"], &out, err)
        .await;
}

async fn canary_refused(way: Way) {
    let three = Three::start().await;
    let err = "error: no canary is open in web\n\
        hint: `tidegate rollout web --canary 10% ...` opens one\n";
    way.ends(&three.proxy, &["canary", "web", "5%"], "", err)
        .await;
}

async fn canary_refused_in_another_phase(way: Way) {
    let three = Three::start().await;
    let _rollout = baking(&three).await;
    let err = "error: rollout 1 of web has no open canary: it is in its bake\n\
        hint: `tidegate status web` shows where it stands\n";
    way.ends(&three.proxy, &["canary", "web", "5%"], "", err)
        .await;
}

async fn canary_unknown(way: Way) {
    let three = Three::start().await;
    way.ends(&three.proxy, &["canary", "none", "5%"], "", NO_POOL)
        .await;
}

/// An open canary, with more options of the rollout, and a request that is held in `a`.
async fn canary_with(more: &[&str]) -> (Three, Held) {
    let mut three = Three::start().await;
    let args = three.rollout(&[&AT_ONCE, &["--canary", "0%"], more]);
    three.proxy.cli(&words(&args)).await;
    let held = enter(&three.proxy, &mut three.a, &mut three.b).await;
    (three, held)
}

const PROMOTE: [&str; 2] = ["promote", "web"];
const TOOK_CANARY: &str = "took: gate T, canary T, bake T, drain T\n";

async fn promote_done(way: Way) {
    let (three, _held) = canary_with(&["--keep-standby"]).await;
    let out =
        format!("web: c in service; a, b on standby\n{SERVING_C}took: gate T, canary T, bake T\n");
    let err = "hint: `tidegate rollback web` brings a, b back at once\n";
    way.ends(&three.proxy, &PROMOTE, &out, err).await;
}

async fn promote_clean(way: Way) {
    let three = Three::start().await;
    three.open_canary().await;
    let out = format!(
        "web: c in service; a, b drained: clean; safe to kill\n{SERVING_C}{SAFE_A_B}{TOOK_CANARY}"
    );
    way.ends(&three.proxy, &PROMOTE, &out, "").await;
}

async fn promote_begun(way: Way) {
    let three = Three::start().await;
    let args = three.rollout(&[&LONG_BAKE, &["--canary", "0%"]]);
    three.proxy.cli(&words(&args)).await;
    let out = format!("web: rollout 1 was promoted\n{SERVING_C}took: gate T, canary T\n");
    let err = "hint: `tidegate status web` shows how it goes\n";
    let args = [&PROMOTE[..], &["--no-wait"]].concat();
    way.ends(&three.proxy, &args, &out, err).await;
}

async fn promote_forced(way: Way) {
    let (three, _held) = canary_with(&["--timeout", "1ms", "--on-timeout", "close"]).await;
    let out = format!(
        "web: c in service; a, b drained: forced, 1 request and 0 tunnels cut; safe to kill\n{SERVING_C}{SAFE_A_B}{TOOK_CANARY}"
    );
    way.ends(&three.proxy, &PROMOTE, &out, "").await;
}

async fn promote_not_yet(way: Way) {
    let (three, _held) = canary_with(&[]).await;
    let err = format!(
        "error: web: c in service; not drained yet: a (1 request in flight)\n{SERVING_C}\
         safe to kill: b (127.0.0.1:PORT)\ntook: gate T, canary T, bake T\n\
         hint: the drain goes on; `tidegate wait web/a --for drained` waits for it\n"
    );
    let args = [&PROMOTE[..], &["--wait", "500ms"]].concat();
    way.ends(&three.proxy, &args, "", &err).await;
}

async fn promote_restored(way: Way) {
    let (three, _held) = canary_with(&[]).await;
    let promote = way.types_later(&three.proxy, &PROMOTE);
    until_drained(&three.proxy, "b").await;
    three.proxy.cli(&["ready", "web/a"]).await;
    let err = format!(
        "error: web: moved to c; a brought back, b drained\n\
         serving: a (127.0.0.1:PORT), c (127.0.0.1:PORT)\n\
         safe to kill: b (127.0.0.1:PORT)\n{TOOK_CANARY}{KILL_NOT_A}"
    );
    way.says(&promote.ended().await, "", &err);
}

async fn promote_refused(way: Way) {
    let three = Three::start().await;
    let err = "error: no canary is open in web\n\
        hint: `tidegate rollout web --canary 10% ...` opens one\n";
    way.ends(&three.proxy, &PROMOTE, "", err).await;
}

async fn promote_refused_of_a_sick_one(way: Way) {
    let three = Three::start().await;
    let args = three.rollout(&[&AT_ONCE, &["--canary", "0%", "--no-auto-revert"]]);
    three.proxy.cli(&words(&args)).await;
    three.c.set_health(503);
    let is_sick = |c: &serde_json::Value| c["health"] == "unhealthy";
    three.proxy.until("c", "sick", is_sick).await;
    let err = "error: web: not healthy now: c (last probe: status 503 (expected 200-299))\n\
        hint: nothing was changed\n";
    way.ends(&three.proxy, &PROMOTE, "", err).await;
}

async fn promote_failed(way: Way) {
    let three = Three::start().await;
    let args = three.rollout(&[&LONG_BAKE, &["--canary", "0%"]]);
    three.proxy.cli(&words(&args)).await;
    let promote = way.types_later(&three.proxy, &PROMOTE);
    three.until_phase("bake").await;
    three.c.set_health(503);
    let err = format!(
        "error: rollout 1 of web reverted: failed its probes: c (last probe: status 503 (expected 200-299))\n\
         {SERVING_A_B}{SAFE_C}{TOOK_CANARY}\
         hint: nothing of it is left; who served before serves: a, b\n"
    );
    way.says(&promote.ended().await, "", &err);
}

async fn promote_unknown(way: Way) {
    let three = Three::start().await;
    way.ends(&three.proxy, &["promote", "none"], "", NO_POOL)
        .await;
}

/// A rollout that moved the pool to `c` and kept the others, and a request that is held in `c`.
async fn kept(keys: &str) -> (Three, Held) {
    let mut three = Three::with(keys).await;
    let args = three.rollout(&[&AT_ONCE, &["--keep-standby"]]);
    three.proxy.cli(&words(&args)).await;
    let held = three.enter_c().await;
    (three, held)
}

const ROLLBACK: [&str; 2] = ["rollback", "web"];

async fn rollback_done(way: Way) {
    let (three, _held) = kept("").await;
    let out = format!("web: a, b in service; c on standby\n{SERVING_A_B}");
    let err = "hint: `tidegate rollback web` brings c back at once\n";
    let args = [&ROLLBACK[..], &["--keep-standby"]].concat();
    way.ends(&three.proxy, &args, &out, err).await;
}

async fn rollback_clean(way: Way) {
    let (three, (inside, answer)) = kept("").await;
    inside.release("c").await;
    answer.await.unwrap().unwrap();
    let out = format!(
        "web: a, b in service; c drained: clean; safe to kill\n{SERVING_A_B}{SAFE_C}took: drain T\n"
    );
    way.ends(&three.proxy, &ROLLBACK, &out, "").await;
}

async fn rollback_begun(way: Way) {
    let (three, _held) = kept("").await;
    let out = format!("web: a, b in service; draining: c (1 request in flight)\n{SERVING_A_B}");
    let args = [&ROLLBACK[..], &["--no-wait"]].concat();
    way.ends(&three.proxy, &args, &out, WAIT_FOR_C).await;
}

async fn rollback_forced(way: Way) {
    let (three, _held) = kept("drain: {timeout: 1ms, on_timeout: close}").await;
    let out = format!(
        "web: a, b in service; c drained: forced, 1 request and 0 tunnels cut; safe to kill\n{SERVING_A_B}{SAFE_C}took: drain T\n"
    );
    way.ends(&three.proxy, &ROLLBACK, &out, "").await;
}

async fn rollback_not_yet(way: Way) {
    let (three, _held) = kept("").await;
    let err = format!(
        "error: web: a, b in service; not drained yet: c (1 request in flight)\n{SERVING_A_B}{WAIT_FOR_C}"
    );
    let args = [&ROLLBACK[..], &["--wait", "50ms"]].concat();
    way.ends(&three.proxy, &args, "", &err).await;
}

async fn rollback_restored(way: Way) {
    let (three, _held) = kept("").await;
    let rollback = way.types_later(&three.proxy, &ROLLBACK);
    restore_c(&three.proxy).await;
    let err = format!(
        "error: web: moved to a, b; c brought back\n{SERVING_ALL}took: drain T\n{KILL_NOT_C}"
    );
    way.says(&rollback.ended().await, "", &err);
}

async fn rollback_refused(way: Way) {
    let three = Three::start().await;
    let err = "error: web has no rollout to roll back\n\
        hint: `tidegate history web` shows what there was\n";
    way.ends(&three.proxy, &ROLLBACK, "", err).await;
}

async fn rollback_refused_of_a_drained_set(way: Way) {
    let three = Three::start().await;
    three.proxy.cli(&words(&three.rollout(&[&AT_ONCE]))).await;
    let err = "error: web/a is drained: the set before rollout 1 is not there any more\n\
        hint: start what is gone and roll it out: `tidegate rollout web --add a=127.0.0.1:PORT --add b=127.0.0.1:PORT --replace c`\n";
    way.ends(&three.proxy, &ROLLBACK, "", err).await;
}

async fn rollback_unknown(way: Way) {
    let three = Three::start().await;
    way.ends(&three.proxy, &["rollback", "none"], "", NO_POOL)
        .await;
}

/// A rollout that is in its bake until it is ended, in the background.
async fn baking(three: &Three) -> Typed {
    let args = three.rollout(&[&LONG_BAKE]);
    let rollout = three.proxy.cli_later(&words(&args));
    three.until_phase("bake").await;
    rollout
}

/// The same with a request that is held in `c`.
async fn holding(more: &[&str]) -> (Three, Held, Typed) {
    let mut three = Three::start().await;
    let args = three.rollout(&[&LONG_BAKE, more]);
    let rollout = three.proxy.cli_later(&words(&args));
    three.until_phase("bake").await;
    let held = three.enter_c().await;
    (three, held, rollout)
}

const ABORT: [&str; 2] = ["abort", "web"];
const TAKEN_BACK: &str = "web: rollout 1 was taken back; a, b in service; ";

/// What was on standby before goes back there.
async fn abort_done(way: Way) {
    let three = Three::start().await;
    let add = ["add", "web/c", &three.c.address, "--standby"];
    three.proxy.cli(&add).await;
    let _rollout = baking(&three).await;
    let out = format!("{TAKEN_BACK}c on standby\n{SERVING_A_B}took: gate T, bake T\n");
    way.ends(&three.proxy, &ABORT, &out, "").await;
}

async fn abort_clean(way: Way) {
    let three = Three::start().await;
    let _rollout = baking(&three).await;
    let out = format!(
        "{TAKEN_BACK}c drained: clean; safe to kill\n{SERVING_A_B}{SAFE_C}took: gate T, bake T, drain T\n"
    );
    way.ends(&three.proxy, &ABORT, &out, "").await;
}

async fn abort_begun(way: Way) {
    let (three, _held, _rollout) = holding(&[]).await;
    let out = format!(
        "{TAKEN_BACK}draining: c (1 request in flight)\n{SERVING_A_B}took: gate T, bake T\n"
    );
    let args = [&ABORT[..], &["--no-wait"]].concat();
    way.ends(&three.proxy, &args, &out, WAIT_FOR_C).await;
}

async fn abort_forced(way: Way) {
    let clocks = ["--timeout", "1ms", "--on-timeout", "close"];
    let (three, _held, _rollout) = holding(&clocks).await;
    let out = format!(
        "{TAKEN_BACK}c drained: forced, 1 request and 0 tunnels cut; safe to kill\n{SERVING_A_B}{SAFE_C}took: gate T, bake T, drain T\n"
    );
    way.ends(&three.proxy, &ABORT, &out, "").await;
}

async fn abort_not_yet(way: Way) {
    let (three, _held, _rollout) = holding(&[]).await;
    let err = format!(
        "error: {TAKEN_BACK}not drained yet: c (1 request in flight)\n{SERVING_A_B}\
         took: gate T, bake T\n{WAIT_FOR_C}"
    );
    let args = [&ABORT[..], &["--wait", "50ms"]].concat();
    way.ends(&three.proxy, &args, "", &err).await;
}

async fn abort_restored(way: Way) {
    let (three, _held, _rollout) = holding(&[]).await;
    let abort = way.types_later(&three.proxy, &ABORT);
    restore_c(&three.proxy).await;
    let err = format!(
        "error: {TAKEN_BACK}c brought back\n{SERVING_ALL}took: gate T, bake T, drain T\n{KILL_NOT_C}"
    );
    way.says(&abort.ended().await, "", &err);
}

async fn abort_refused(way: Way) {
    let three = Three::start().await;
    let err = "error: no rollout is under way in web\n\
        hint: `tidegate rollback web` brings back the set before\n";
    way.ends(&three.proxy, &ABORT, "", err).await;
}

async fn abort_unknown(way: Way) {
    let proxy = Proxy::start(Setup::web(&[("a", &App::start("a").await)])).await;
    way.ends(&proxy, &["abort", "none"], "", NO_POOL).await;
}

async fn until_drained(proxy: &Proxy, id: &str) {
    proxy
        .until(id, "drained", |backend| backend["drained"] == true)
        .await;
}

async fn restore_c(proxy: &Proxy) {
    proxy
        .until("c", "draining", |c| c["intent"] == "draining")
        .await;
    proxy.cli(&["ready", "web/c"]).await;
}
