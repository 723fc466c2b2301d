//! Callers that go, that come twice, or that step in while another waits.

use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::{Phase, Stage, within};
use crate::support::mask::masked;
use crate::support::pair::enter;
use crate::support::{App, Proxy, Typed, Wire, get, not_yet, said};

const KEY: [&str; 2] = ["--key", "deploy-7"];
const CLEAN: &str = "web: c in service; a, b drained: clean; safe to kill";

/// The answer of who typed it with `--json`.
async fn document(typed: Typed) -> (i32, Value) {
    let (exit, out, err) = said(&typed.ended().await);
    let document = serde_json::from_str(&out);
    (exit, document.unwrap_or_else(|_| panic!("{out}{err}")))
}

impl Stage {
    fn type_again(&self, phase: Phase) -> Typed {
        self.type_rollout(phase, &[&KEY[..], &["--json"]].concat())
    }

    /// The rollout goes on to its end, a second call with its key is told of it, and a third the same.
    async fn goes_on(&mut self, phase: Phase) {
        let joined = self.type_again(phase);
        self.open(phase).await;
        let (exit, answer) = document(joined).await;
        assert_eq!(exit, 0, "{phase:?}: {answer}");
        if phase == Phase::Canary {
            assert_eq!(
                answer["message"],
                "web: the canary of rollout 1 is open: 50% of new requests to c"
            );
            assert_eq!(self.active().await, "a,b,c");
            let promoted = self.proxy.cli(&["promote", "web"]).await;
            assert_eq!(said(&promoted).0, 0);
        }
        let (exit, answer) = document(self.type_again(phase)).await;
        assert_eq!(exit, 0, "{phase:?}: {answer}");
        assert_eq!(answer["message"], CLEAN, "{phase:?}");
        assert_eq!(answer["safe_to_kill"], true);
        assert_eq!(answer["rollout"]["number"], 1);
        assert_eq!(answer["rollout"]["key"], KEY[1]);
        assert_eq!(self.active().await, "c");
        let record = self.record().await;
        assert_eq!(
            (&record["phase"], &record["taken_out"]),
            (&json!("moved"), &json!("clean")),
            "{phase:?}"
        );
    }
}

#[tokio::test]
async fn a_rollout_goes_on_when_its_command_line_is_killed() {
    for phase in Phase::ALL {
        let mut stage = Stage::start().await;
        let typed = stage.rollout(phase, &KEY).await;
        typed.kill();
        stage.goes_on(phase).await;
    }
}

#[tokio::test]
async fn a_promotion_goes_on_when_its_command_line_is_killed() {
    let mut stage = Stage::start().await;
    let canary = stage.rollout(Phase::Canary, &KEY).await;
    assert_eq!(said(&canary.ended().await).0, 0);
    // So that what is to be held comes to the old ones.
    stage.proxy.cli(&["canary", "web", "0%"]).await;
    stage.shut(Phase::Drain).await;
    let promote = stage.proxy.cli_later(&["promote", "web"]);
    stage.until(Phase::Drain).await;
    promote.kill();
    stage.release().await;
    let record = stage.record().await;
    assert_eq!(record["phase"], "moved");
    assert_eq!(stage.active().await, "c");
}

#[tokio::test]
async fn a_rollout_goes_on_when_the_connection_of_its_caller_is_cut() {
    for phase in Phase::ALL {
        let mut stage = Stage::start().await;
        stage.shut(phase).await;
        let mut body = json!({
            "add": [{"id": "c", "address": stage.c.address}],
            "replace": "all",
            "key": KEY[1],
            "min_healthy_time": "0s",
            "bake": stage.bake(phase),
        });
        if phase == Phase::Canary {
            body["canary"] = "50%".into();
        }
        let (body, socket) = (body.to_string(), stage.proxy.path("admin.sock"));
        let mut wire = Wire::new(UnixStream::connect(socket).await.unwrap());
        wire.send(format!(
            "POST /v1/pools/web/rollout HTTP/1.1\r\nHost: tidegate\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
        stage.until(phase).await;
        drop(wire);
        stage.goes_on(phase).await;
    }
}

/// Types a rollout of this app for all, that waits in its gate.
fn type_for_all(proxy: &Proxy, id: &str, app: &App, more: &[&str]) -> Typed {
    let add = format!("{id}={}", app.address);
    let words = [
        &["rollout", "web", "--add", &add, "--replace", "all"],
        &["--min-healthy-time", "0s", "--bake", "0s"][..],
        more,
    ];
    proxy.cli_later(&words.concat())
}

#[tokio::test]
async fn of_two_rollouts_at_once_one_wins_and_the_other_is_told_of_it() {
    let stage = Stage::start().await;
    let d = App::start("d").await;
    stage.c.set_health(503);
    d.set_health(503);
    let mut both = [
        type_for_all(&stage.proxy, "c", &stage.c, &[]),
        type_for_all(&stage.proxy, "d", &d, &[]),
    ];
    let lost = within("one to be refused", async {
        loop {
            if let Some(lost) = both.iter_mut().position(|typed| !typed.waits()) {
                return lost;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let [c, d_typed] = both;
    let (won, lost, id) = match lost {
        0 => (d_typed, c, "d"),
        _ => (c, d_typed, "c"),
    };
    let (exit, out, err) = said(&lost.ended().await);
    assert_eq!((exit, &*out), (5, ""));
    assert_eq!(
        masked(&err),
        "error: rollout 1 of web is under way: gate, by uid:N, begun T ago\n\
         hint: --lock-wait waits for it, `tidegate abort web` takes it back, `tidegate status web` shows it\n"
    );
    stage.c.set_health(200);
    d.set_health(200);
    let (exit, out, err) = said(&won.ended().await);
    assert_eq!(exit, 0, "{err}");
    let begin = format!("web: {id} in service; a, b drained: clean; safe to kill\n");
    assert!(out.starts_with(&begin), "{out}");
    assert_eq!(stage.active().await, id);
    assert_eq!(stage.record().await["phase"], "moved");
}

#[tokio::test]
async fn a_rollout_that_waits_for_another_comes_after_it() {
    let mut stage = Stage::start().await;
    let d = App::start("d").await;
    let first = stage.rollout(Phase::Gate, &[]).await;
    let second = type_for_all(&stage.proxy, "d", &d, &["--lock-wait", "1m"]);
    stage.open(Phase::Gate).await;
    let (exit, out, err) = said(&first.ended().await);
    assert_eq!(exit, 0, "{err}");
    assert!(out.starts_with(CLEAN), "{out}");
    let (exit, out, err) = said(&second.ended().await);
    assert_eq!(exit, 0, "{err}");
    let begin = "web: d in service; c drained: clean; safe to kill\n";
    assert!(out.starts_with(begin), "{out}");
    assert_eq!(stage.active().await, "d");
}

/// Of a lock wait that is over before the other rollout is.
#[tokio::test]
async fn a_wait_for_another_rollout_ends_with_who_is_before_it() {
    let mut stage = Stage::start().await;
    let d = App::start("d").await;
    let _first = stage.rollout(Phase::Gate, &[]).await;
    let second = type_for_all(&stage.proxy, "d", &d, &["--lock-wait", "100ms"]);
    let (exit, _, err) = said(&second.ended().await);
    assert_eq!(exit, 5);
    let begin = "error: rollout 1 of web is under way: gate, by uid:N, begun T ago\n";
    assert!(masked(&err).starts_with(begin), "{err}");
}

#[tokio::test]
async fn an_abort_and_a_rollback_are_told_to_who_waits_too() {
    let serving = "serving: a (127.0.0.1:PORT), b (127.0.0.1:PORT)\n";
    for (verb, how) in [
        ("abort", "aborted by uid:N"),
        ("rollback", "aborted: rolled back by uid:N"),
    ] {
        for phase in [Phase::Gate, Phase::Bake] {
            let mut stage = Stage::start().await;
            stage.bake = "1h";
            let typed = stage.rollout(phase, &[]).await;
            let (exit, out, err) = said(&stage.proxy.cli(&[verb, "web"]).await);
            assert_eq!((exit, &*err), (0, ""), "{verb} {phase:?}");
            let took = match phase {
                Phase::Gate => "gate T, drain T",
                _ => "gate T, bake T, drain T",
            };
            let facts = format!("{serving}safe to kill: c (127.0.0.1:PORT)\ntook: {took}\n");
            assert_eq!(
                masked(&out),
                format!(
                    "web: rollout 1 was taken back; a, b in service; c drained: clean; safe to kill\n{facts}"
                )
            );
            let (exit, out, err) = said(&typed.ended().await);
            assert_eq!((exit, &*out), (5, ""), "{verb} {phase:?}");
            assert_eq!(
                masked(&err),
                format!(
                    "error: rollout 1 of web {how}\n{facts}\
                     hint: nothing of it is left; who served before serves: a, b\n"
                )
            );
            assert_eq!(stage.active().await, "a,b");
            assert_eq!(stage.record().await["phase"], "aborted");
        }
    }
}

/// It is decided then: there is nothing to abort, and who waits goes on to do so.
#[tokio::test]
async fn an_abort_in_the_drain_changes_nothing() {
    let mut stage = Stage::start().await;
    let mut typed = stage.rollout(Phase::Drain, &[]).await;
    let (exit, out, err) = said(&stage.proxy.cli(&["abort", "web"]).await);
    assert_eq!((exit, &*out), (5, ""));
    assert_eq!(
        err,
        "error: no rollout is under way in web\nhint: `tidegate rollback web` brings back the set before\n"
    );
    // One of them is drained, so there is no set to go back to.
    let (exit, _, err) = said(&stage.proxy.cli(&["rollback", "web"]).await);
    assert_eq!(exit, 5);
    let begin = "error: web/b is drained: the set before rollout 1 is not there any more\n";
    assert!(err.starts_with(begin), "{err}");
    assert!(typed.waits());
    stage.release().await;
    let (exit, out, _) = said(&typed.ended().await);
    assert_eq!(exit, 0);
    assert!(out.starts_with(CLEAN), "{out}");
    assert_eq!(stage.active().await, "c");
}

/// All of the old ones still hold something: they come back, and who waits for them to be drained must
/// not kill them.
#[tokio::test]
async fn a_rollback_in_the_drain_is_told_to_who_waits_too() {
    let mut stage = Stage::start().await;
    let proxy = &stage.proxy;
    let in_a = enter(proxy, &mut stage.a, &mut stage.b).await;
    let in_b = enter(proxy, &mut stage.b, &mut stage.a).await;
    let typed = stage.type_rollout(Phase::Drain, &[]);
    let is_draining = |backend: &Value| backend["intent"] == "draining";
    for id in ["a", "b"] {
        proxy.until(id, "draining", is_draining).await;
    }
    let held = proxy.fetch(get("/door"));
    let in_c = (stage.c.entered().await, held);
    let (exit, out, _) = said(&proxy.cli(&["rollback", "web", "--no-wait"]).await);
    assert_eq!(exit, 0);
    let begin = "web: a, b in service; draining: c (1 request in flight)\n";
    assert!(out.starts_with(begin), "{out}");
    let (exit, out, err) = said(&typed.ended().await);
    assert_eq!((exit, &*out), (8, ""));
    // Whether c is drained by then is not certain.
    let safe = "safe to kill: c (127.0.0.1:PORT)\n";
    assert_eq!(
        masked(&err).replace(safe, ""),
        "error: web: moved to c; a, b brought back\n\
         serving: a (127.0.0.1:PORT), b (127.0.0.1:PORT)\n\
         took: gate T, bake T, drain T\n\
         hint: do not kill a, b: they are in use again\n"
    );
    assert_eq!(stage.active().await, "a,b");
    for (inside, answer) in [in_a, in_b, in_c] {
        inside.release("x").await;
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
}

/// Decided: once the old ones drain nothing is taken back. The pool holds what comes, and it is answered
/// when the new version is there again.
#[tokio::test]
async fn a_new_version_that_dies_in_the_drain_is_waited_for() {
    let mut stage = Stage::start().await;
    let typed = stage.rollout(Phase::Drain, &[]).await;
    stage.c.kill();
    let is_sick = |backend: &Value| backend["health"] == "unhealthy";
    stage.proxy.until("c", "sick", is_sick).await;
    let mut held = stage.proxy.fetch(get("/quick"));
    within("the request to be held", async {
        while stage.pool().await["held"] != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    not_yet("an answer", &mut held).await;
    assert_eq!(stage.active().await, "c");
    stage.release().await;
    let (exit, out, _) = said(&typed.ended().await);
    assert_eq!(exit, 0);
    assert!(out.starts_with(CLEAN), "{out}");
    let record = stage.record().await;
    assert_eq!(
        (&record["phase"], &record["taken_out"]),
        (&json!("moved"), &json!("clean"))
    );
    let _again = App::at(&stage.c.address, "again").await;
    let answer = within("the held one", held).await.unwrap().unwrap();
    assert_eq!((answer.status(), &*answer.text()), (200, "again"));
}
