//! Pause and resume.

use super::{CALM, Case, Way, case, pair, provoke};
use crate::support::pair::enter;
use crate::support::{App, Proxy, Setup};

pub const CASES: &[Case] = &[
    case!("pause", Done, pause_done),
    case!("pause", Begun, pause_begun),
    case!("pause", NotYet, pause_not_yet),
    case!("pause", Restored, pause_restored),
    case!("pause", Refused, pause_refused),
    case!("pause", Unknown, pause_unknown),
    case!("resume", Done, resume_done),
    case!("resume", Done, resume_done_already),
    case!("resume", Unknown, resume_unknown),
];

#[tokio::test]
async fn pause_and_resume_end_as_listed() {
    provoke(CASES).await;
}

const NO_POOL: &str = "error: there is no pool \"wob\"\nhint: `tidegate status` lists the pools\n";
const HELD: &str = "hint: a request is held for T at most (hold.timeout), then answered 503; `resume web` lets all go on\n";

async fn pause_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let out = "web is paused, no request is in flight; it resumes by itself in T\n";
    way.ends(&proxy, &["pause", "web"], out, HELD).await;
}

async fn pause_begun(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let out = "web is paused, 1 request in flight; it resumes by itself in T\n";
    way.ends(&proxy, &["pause", "web", "--no-wait"], out, HELD)
        .await;
}

async fn pause_not_yet(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let err = "error: web: 1 request still in flight after T; it was resumed\n  \
        in flight request GET /door from 127.0.0.1, T old, idle T, 0 B up, 0 B down\n\
        hint: `pause web --wait T` waits longer, `pause web --no-wait` does not wait\n";
    way.ends(&proxy, &["pause", "web", "--wait", "50ms"], "", err)
        .await;
}

async fn pause_restored(way: Way) {
    let (mut a, mut b, proxy) = pair().await;
    let (_inside, _answer) = enter(&proxy, &mut a, &mut b).await;
    let pause = way.types_later(&proxy, &["pause", "web", "--wait", "1m"]);
    let ended = pause.ended_by(async || {
        let pool = proxy.admin("GET", "/v1/pools/web").await.json();
        if pool["pool"]["paused"].is_object() {
            proxy.admin("POST", "/v1/pools/web/resume").await;
        }
    });
    let err = "error: web was resumed while requests were in flight\n\
        hint: somebody else did that; its requests are not held\n";
    way.says(&ended.await, "", err);
}

async fn pause_refused(way: Way) {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let mut setup = Setup::web_with(&[("a", &a)], CALM);
    setup.pool("other", &[("b", &b)], CALM);
    let mut proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let _answer = proxy.fetch(crate::support::get("/door"));
    let _inside = a.entered().await;
    let mut without = Setup::web(&[]);
    without.pools.clear();
    without.pool("other", &[("b", &b)], CALM);
    without.extra = "routes: [{pool: other}]\n".to_owned();
    proxy.rewrite(without);
    let reloaded = proxy.admin("POST", "/v1/reload").await.json();
    assert_eq!(reloaded["outcome"], "done", "{reloaded}");
    let err = "error: pool \"web\" is leaving: the configuration no longer names it\n";
    way.ends(&proxy, &["pause", "web"], "", err).await;
}

async fn pause_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["pause", "wob"], "", NO_POOL).await;
}

async fn resume_done(way: Way) {
    let (_a, _b, proxy) = pair().await;
    proxy.cli(&["pause", "web"]).await;
    let out = "web is resumed, nothing was held\n";
    way.ends(&proxy, &["resume", "web"], out, "").await;
}

async fn resume_done_already(way: Way) {
    let (_a, _b, proxy) = pair().await;
    let out = "web is not paused\n";
    way.ends(&proxy, &["resume", "web"], out, "").await;
}

async fn resume_unknown(way: Way) {
    let (_a, _b, proxy) = pair().await;
    way.ends(&proxy, &["resume", "wob"], "", NO_POOL).await;
}
