//! What is shown of a rollout while its answer is not there.

use std::collections::VecDeque;
use std::sync::Condvar;

use super::rollouts::{LEAST, in_phase, moved, one, pool, typed};
use super::*;
use crate::report::PoolStatus;

/// Between two looks of the tests that want to see some.
const SOON: Duration = Duration::from_millis(20);

/// Off a terminal: the lines of a rollout whose pool looks like this, one after another, each shown at
/// least once before the next.
fn progress(looks: Vec<PoolStatus>, one: &Answer) -> Vec<String> {
    let looks = Arc::new((Mutex::new(VecDeque::from(looks)), Condvar::new()));
    let one = serde_json::to_value(one).unwrap();
    let admin = Scripted::new(move |question| {
        let (left, changed) = &*looks;
        let mut left = left.lock().unwrap();
        if question.contains("/backends/") {
            return one.clone();
        }
        if question.starts_with("GET ") {
            let look = left.pop_front();
            changed.notify_all();
            // The line of the last look is shown once it is asked for another.
            let look = look.unwrap_or_else(|| pool(None, Vec::new()));
            return json!({"outcome": "done", "pool": look});
        }
        drop(changed.wait_while(left, |left| !left.is_empty()).unwrap());
        serde_json::to_value(Answer::new(Outcome::Clean, "moved")).unwrap()
    });
    let mut line = vec!["--admin", &admin.admin];
    line.extend(typed(LEAST));
    let said = tidegate_looking(&line, false, SOON);
    assert_eq!((said.exit, said.out.as_str()), (0, "moved\n"));
    let lines = said.err.lines();
    // Without how long it took, which nobody knows.
    lines
        .map(|line| line.rsplit_once(", ").unwrap().0.to_owned())
        .collect()
}

fn healthy(id: &str, generation: u64, health: &str) -> BackendStatus {
    BackendStatus {
        generation,
        intent: "standby".to_owned(),
        health: health.to_owned(),
        ..backend(id)
    }
}

#[test]
fn while_it_waits_it_says_the_phase_and_what_is_left() {
    let sick = BackendStatus {
        last_probe: Some(ProbeStatus {
            good: false,
            detail: "status\u{1b} 503".to_owned(),
            at_ms: 0,
            took_ms: 1.0,
        }),
        ..healthy("v2", 2, "unhealthy")
    };
    let old = healthy("v1", 1, "healthy");
    let with = |phase: &str, share, new: &BackendStatus| {
        let mut rollout = in_phase(phase, share);
        // Not yet in its phase for a millisecond, whatever the clock of this machine says.
        rollout.begun_ms = u64::MAX;
        pool(Some(rollout), vec![old.clone(), new.clone()])
    };
    let new = healthy("v2", 2, "healthy");
    let draining = BackendStatus {
        generation: 1,
        connections: Some(3),
        ..backend("v1")
    };
    let mut bake = with("bake", None, &new);
    bake.rollout.as_mut().unwrap().errors = moved().errors;
    let drain_of = |id: &str| BackendStatus {
        drained: id == "v0",
        generation: 9,
        ..backend(id)
    };
    let drain_left = pool(None, vec![draining, drain_of("v0"), drain_of("another")]);
    let mut oldest = Answer::new(Outcome::Done, "web/v1");
    oldest.drain = Some(drain());
    let looks = vec![
        pool(None, vec![old.clone()]),
        with("gate", None, &sick),
        with("gate", None, &new),
        with("canary", Some("10%"), &new),
        bake,
        drain_left.clone(),
        drain_left,
    ];
    let lines = progress(looks, &oldest);
    let expected = [
        "web: waiting",
        "web: rollout 3: gate, v2 unhealthy (last probe: status  503)",
        "web: rollout 3: gate, v2 healthy for 0s",
        "web: rollout 3: canary with 10% for 0ms, v2 healthy",
        "web: rollout 3: bake for 0ms, v2 healthy, 12 of 210 answers were errors",
        "web: rollout 3: drain, v1 holds 2 requests, 1 tunnel, 3 connections, oldest: request GET /events for 3m02s",
    ];
    // The answer may come before the last look is shown, never before the one before it.
    assert_eq!(lines[..expected.len()], expected);
}

#[test]
fn of_many_new_ones_those_that_are_not_healthy_are_named() {
    let new: Vec<BackendStatus> = (10..16)
        .map(|n| {
            healthy(
                &format!("n{n}"),
                n,
                if n < 12 { "healthy" } else { "unknown" },
            )
        })
        .collect();
    let mut rollout = in_phase("gate", None);
    rollout.added = (10..16)
        .map(|n| one(&format!("n{n}"), n, "standby"))
        .collect();
    let look = pool(Some(rollout), new);
    let lines = progress(vec![look.clone(), look], &Answer::new(Outcome::Done, "-"));
    assert_eq!(
        lines[0],
        "web: rollout 3: gate, 2 of 6 healthy, n12 unknown, n13 unknown, n14 unknown"
    );
}

#[test]
fn an_interrupt_says_that_it_goes_on_and_how_to_take_it_back() {
    let line = format!("tidegate {LEAST}");
    let tree = Tree::try_parse_from(line.split(' ')).unwrap();
    let call = calls::call(&tree.verb).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        err_is_terminal: false,
        colours_out: false,
        colours_err: false,
        screen: None,
        progress_every: Duration::MAX,
    };
    assert_eq!(interrupted(&call, true, &mut console), 130);
    let hint = "`tidegate status web` shows it, `tidegate abort web` takes it back";
    assert_eq!(
        String::from_utf8(err).unwrap(),
        format!("error: interrupted; what was begun goes on\nhint: {hint}\n")
    );
    let document: Value = serde_json::from_slice(&out).unwrap();
    let message = "interrupted; what was begun goes on";
    assert_eq!(
        document,
        json!({"outcome": "interrupted", "message": message, "hint": hint})
    );
}
