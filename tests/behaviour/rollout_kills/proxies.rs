//! The proxy itself stopped or killed in the middle of a rollout, and started again where it left its
//! state.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::{Phase, Stage, active, within};
use crate::support::said;
use crate::support::traffic::{Traffic, assert_all_good};

/// Looks at `web` without a pause, through ends and starts of the proxy.
struct Looks {
    is_over: Arc<AtomicBool>,
    seen: JoinHandle<Vec<String>>,
}

impl Looks {
    fn start(stage: &Stage) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = tokio::spawn(look(stage.proxy.path("admin.sock"), Arc::clone(&is_over)));
        Self { is_over, seen }
    }

    /// The sets of active backends that were seen, one after the other.
    async fn stop(self) -> Vec<String> {
        self.is_over.store(true, Ordering::SeqCst);
        within("the looks to end", self.seen).await.unwrap()
    }
}

async fn look(socket: PathBuf, is_over: Arc<AtomicBool>) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        if let Some(pool) = pool(&socket).await {
            seen.push(active(&pool));
            seen.dedup();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    seen
}

/// The pool, if there is somebody to ask.
async fn pool(socket: &PathBuf) -> Option<Value> {
    let mut wire = crate::support::Wire::new(UnixStream::connect(socket).await.ok()?);
    let request = "GET /v1/pools/web HTTP/1.1\r\nHost: tidegate\r\nConnection: close\r\n\r\n";
    let answer = wire.exchange(request).await.ok()?;
    Some(answer.json()["pool"].clone())
}

/// How the proxy ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Stopped,
    Killed,
}

impl Stage {
    /// Ends the proxy in this phase and starts it again.
    async fn end(&mut self, phase: Phase, end: End) {
        match end {
            End::Killed => self.proxy.crash_and_restart().await,
            End::Stopped => {
                self.proxy.signal(Signal::TERM);
                if phase == Phase::Drain {
                    // What is in flight is finished first.
                    self.release().await;
                }
                self.proxy.end_and_restart().await;
            }
        }
    }
}

/// A rollout whose proxy ends in `phase`; then `then` is done. Says what was seen of the active set from
/// the end on, and the record.
async fn ends(phase: Phase, end: End, then: Option<&str>) -> (Vec<String>, Value) {
    let mut stage = Stage::start().await;
    let typed = stage.rollout(phase, &[]).await;
    let looks = Looks::start(&stage);
    stage.end(phase, end).await;
    let traffic = Traffic::start(&stage.proxy, 4);
    drop(typed);
    // What it was in must not be over only because nobody looked.
    if let Some(verb) = then {
        let is_healthy = |backend: &Value| backend["health"] == "healthy";
        for id in ["a", "b", "c"] {
            stage.proxy.until(id, "healthy", is_healthy).await;
        }
        let (exit, out, err) = said(&stage.proxy.cli(&[verb, "web"]).await);
        assert_eq!(exit, 0, "{phase:?} {end:?} {verb}: {out}{err}");
    }
    let record = stage.record().await;
    // And some requests more, to whoever serves now.
    traffic.goes_on_for(40).await;
    let answered = traffic.stop().await;
    assert_all_good(&answered);
    let serves = stage.active().await;
    let last = &answered.last().unwrap().by;
    assert!(serves.split(',').any(|id| id == last), "{last} of {serves}");
    (looks.stop().await, record)
}

const BOTH: [End; 2] = [End::Stopped, End::Killed];

fn told(record: &Value) -> [&str; 2] {
    ["phase", "taken_out"].map(|key| record[key].as_str().unwrap())
}

#[tokio::test]
async fn a_proxy_that_ends_in_the_gate_leaves_the_old_set() {
    for end in BOTH {
        let (seen, record) = ends(Phase::Gate, end, None).await;
        assert_eq!(seen, ["a,b"], "{end:?}");
        assert_eq!(told(&record), ["failed", "clean"], "{end:?}");
        assert_eq!(
            record["cause"],
            "the proxy was stopped before the new ones served"
        );
        assert_eq!(record["added"][0]["state"], "removed");
        assert_eq!(record["added"][0]["safe_to_kill"], true);
    }
}

#[tokio::test]
async fn a_canary_is_open_when_the_proxy_starts_again_and_can_be_promoted() {
    for end in BOTH {
        let (seen, record) = ends(Phase::Canary, end, Some("promote")).await;
        assert_eq!(seen, ["a,b,c", "c"], "{end:?}");
        assert_eq!(told(&record), ["moved", "clean"], "{end:?}");
    }
}

#[tokio::test]
async fn a_canary_is_open_when_the_proxy_starts_again_and_can_be_rolled_back() {
    for end in BOTH {
        let (seen, record) = ends(Phase::Canary, end, Some("rollback")).await;
        assert_eq!(seen, ["a,b,c", "a,b"], "{end:?}");
        assert_eq!(told(&record), ["aborted", "clean"], "{end:?}");
        let cause = record["cause"].as_str().unwrap();
        assert!(cause.starts_with("rolled back by uid:"), "{cause}");
    }
}

#[tokio::test]
async fn a_proxy_that_ends_in_the_bake_goes_on_with_the_new_set() {
    for end in BOTH {
        let (seen, record) = ends(Phase::Bake, end, None).await;
        assert_eq!(seen, ["c"], "{end:?}");
        assert_eq!(told(&record), ["moved", "clean"], "{end:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_ends_in_the_drain_goes_on_with_it() {
    for end in BOTH {
        let (seen, record) = ends(Phase::Drain, end, None).await;
        assert_eq!(seen, ["c"], "{end:?}");
        assert_eq!(told(&record), ["moved", "clean"], "{end:?}");
    }
}

/// From one killing to the next; a rollout takes a few of them.
const STEP: Duration = Duration::from_millis(25);

/// The moment is not held by a door: each of them is as good as any other.
#[tokio::test]
async fn a_proxy_that_is_killed_at_any_moment_leaves_the_old_set_or_the_new() {
    let mut sets = Vec::new();
    for steps in 0..12 {
        let mut stage = Stage::start().await;
        (stage.min_healthy_time, stage.bake) = ("75ms", "75ms");
        let looks = Looks::start(&stage);
        let typed = stage.type_rollout(Phase::Bake, &[]);
        tokio::time::sleep(STEP * steps).await;
        stage.proxy.crash_and_restart().await;
        drop(typed);
        let set = stage.active().await;
        let history = stage.proxy.admin("GET", "/v1/pools/web/history").await;
        let phases = history.json()["records"].clone();
        let phases = phases.as_array().unwrap().iter();
        let phases: Vec<&str> = phases.map(|one| one["phase"].as_str().unwrap()).collect();
        let expected = match phases[..] {
            [] | ["failed"] => "a,b",
            ["moved" | "bake"] => "c",
            _ => panic!("{phases:?}"),
        };
        assert_eq!(set, expected, "{phases:?} after {steps} steps");
        // What was seen before it was killed is not taken back.
        let seen = looks.stop().await;
        let is_in_order = seen == ["a,b"] || seen == ["a,b", "c"];
        assert!(is_in_order, "{seen:?}");
        assert_eq!(seen.last().unwrap(), &set, "{seen:?}");
        sets.push(set);
    }
    assert!(
        sets.contains(&"a,b".to_owned()) && sets.contains(&"c".to_owned()),
        "{sets:?}"
    );
}
