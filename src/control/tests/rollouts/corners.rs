//! Corners of rollouts: what comes back, what was there before, and what a restart or a full disk
//! comes between.

use super::*;
use crate::spec::BackendSpec;

impl Rig {
    /// Rolls out and lets gate and bake pass.
    async fn moved(&self, call: RolloutCall) -> Answer {
        let ids: Vec<String> = call.add.iter().map(|one| one.id.to_string()).collect();
        let rollout = self.under_way(call).await;
        for id in ids {
            self.observe(&self.backend(&id), Health::Healthy);
        }
        rollout.await.unwrap()
    }

    async fn added(&self, pool: PoolName, id: &str, at: &str, intent: Intent) -> Generation {
        let call = AddCall {
            id: BackendId::parse(id).unwrap(),
            address: Address::parse(at).unwrap(),
            weight: Weight::default(),
            intent,
            wait: Some(Duration::ZERO),
        };
        let answer = self.control.add(actor(), pool, call).await;
        assert_eq!(answer.outcome, Outcome::Begun, "{}", answer.message);
        for backend in self.backends() {
            if Some(backend.generation()) == answer.generation {
                self.observe(&backend, Health::Healthy);
            }
        }
        answer.generation.unwrap()
    }

    /// Begins a drain and waits a second for it.
    async fn drained(&self, backend: &str) -> Answer {
        let call = DrainCall {
            wait: Some(Duration::from_secs(1)),
            force: true,
            ..DrainCall::default()
        };
        let drain = self
            .control
            .drain(actor(), web(), reference_to(backend), call);
        drain.await
    }

    /// Of all that was told, the ends of rollouts: `decided` or `ended`, and how.
    fn rollout_ends(&self) -> Vec<(u64, &'static str)> {
        let events = self.control.events.since(0, usize::MAX);
        let ends = events.iter().filter_map(|event| match event.happening {
            Happening::RolloutDecided {
                rollout, decided, ..
            } => Some((rollout, decided)),
            Happening::RolloutEnded { rollout, taken_out } => Some((rollout, taken_out)),
            _ => None,
        });
        ends.collect()
    }
}

fn these(ids: &[&str]) -> Replace {
    let ids = ids.iter().map(|id| BackendId::parse(id).unwrap());
    Replace::These(ids.collect())
}

fn waiting_a_second(mut call: RolloutCall) -> RolloutCall {
    call.drain.wait = Some(Duration::from_secs(1));
    call
}

/// What was found was judged by the record of another set: it was called safe to kill.
#[test]
fn already_serving_calls_nothing_safe_that_holds_or_may_hold_requests() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        assert_eq!(rig.moved(c_for_all()).await.outcome, Outcome::Clean);
        let mut named = c_for_all();
        named.replace = these(&["a", "b"]);
        let again = rig.begin(named.clone()).await.unwrap();
        assert!(again.safe_to_kill, "{}", again.message);

        rig.added(web(), "a", "127.0.0.1:1", Intent::Standby).await;
        let again = rig.begin(c_for_all()).await.unwrap();
        assert_eq!(again.message, "web: already serving: c");
        assert!(!again.safe_to_kill, "a is on standby at its old address");

        let back = rig.control.ready(actor(), web(), reference_to("a"), None);
        assert_eq!(back.await.outcome, Outcome::Done);
        let held = rig.hold("a");
        assert_eq!(rig.drained("a").await.outcome, Outcome::NotYet);
        for dry_run in [true, false] {
            named.dry_run = dry_run;
            let again = rig.begin(named.clone()).await.unwrap();
            assert_eq!(
                (again.outcome, again.message.as_str()),
                (
                    Outcome::Refused,
                    "web: a is draining, not active: it cannot be replaced"
                )
            );
            assert!(!again.safe_to_kill);
        }
        let all = rig.begin(c_for_all()).await.unwrap();
        assert!(!all.safe_to_kill, "a still holds a request");
        drop(held);
        rig.settle().await;
        assert!(rig.begin(c_for_all()).await.unwrap().safe_to_kill);
        named.replace = these(&["a", "z"]);
        let other = rig.begin(named).await.unwrap();
        assert!(!other.safe_to_kill, "nothing is known of z");
    });
}

/// The record was not found, and what still drained was answered as done.
#[test]
fn the_same_set_in_another_order_is_told_what_still_drains() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let held = rig.hold("a");
        let mut call = waiting_a_second(c_for_all());
        call.add.push(incoming("d", 9));
        assert_eq!(rig.moved(call.clone()).await.outcome, Outcome::NotYet);
        call.add.reverse();
        let again = rig.begin(call.clone()).await.unwrap();
        assert_eq!(again.outcome, Outcome::NotYet, "{}", again.message);
        drop(held);
        rig.settle().await;
        assert!(rig.begin(call).await.unwrap().safe_to_kill);
    });
}

#[test]
fn an_address_that_is_spelled_differently_elsewhere_is_not_called_safe_to_kill() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        rig.added(pool(1), "b", "[::1]:9", Intent::Active).await;
        let mut call = c_for_all();
        call.add[0].address = Address::parse("[0:0:0:0:0:0:0:1]:9").unwrap();
        let rollout = rig.under_way(call).await;
        let answer = rig.control.abort(actor(), web(), None).await;
        assert_eq!(answer.outcome, Outcome::Restored, "{}", answer.message);
        assert!(!answer.safe_to_kill);
        assert!(!answer.rollout.unwrap().added[0].safe_to_kill);
        drop(rollout);
    });
}

/// The process of an instance may be two generations: the earlier one held a request, and the later
/// one was called safe to kill.
#[test]
fn a_process_is_safe_to_kill_only_when_all_its_generations_hold_nothing() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let held = rig.hold("a");
        assert_eq!(rig.drained("a").await.outcome, Outcome::NotYet);
        rig.added(web(), "a", "127.0.0.1:1", Intent::Active).await;
        let answer = rig.moved(waiting_a_second(c_for_all())).await;
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::NotYet,
                "web: c in service; not drained yet: a (1 request in flight)"
            )
        );
        assert!(!answer.safe_to_kill);
        let status = answer.rollout.unwrap();
        let safe: Vec<bool> = status.replaced.iter().map(|one| one.safe_to_kill).collect();
        assert_eq!(safe, [true, false], "b, a");
        drop(held);
        rig.settle().await;
        let again = rig.begin(c_for_all()).await.unwrap();
        assert!(again.safe_to_kill, "{}", again.message);
    });
}

/// Two would have been live with one id and address: no state file takes that.
#[test]
fn a_set_whose_id_or_address_lives_again_does_not_come_back() {
    on_a_standing_clock(async {
        for (id, port, message) in [
            (
                "a",
                1,
                "a is live at 127.0.0.1:1; drain it first, or use another id",
            ),
            ("x", 1, "127.0.0.1:1 is live as x"),
        ] {
            let rig = Rig::new().await;
            let held = [rig.hold("a"), rig.hold("b")];
            let moved = rig.moved(waiting_a_second(c_for_all())).await;
            assert_eq!(moved.outcome, Outcome::NotYet);
            let at = format!("127.0.0.1:{port}");
            rig.added(web(), id, &at, Intent::Standby).await;
            let before = rig.store.0.lock().unwrap().clone();
            let rollback = RollbackCall::default();
            let answer = rig.control.rollback(actor(), web(), rollback).await;
            assert_eq!(
                (answer.outcome, answer.message.as_str()),
                (Outcome::Refused, message)
            );
            assert_eq!(*rig.store.0.lock().unwrap(), before);
            drop(held);
        }
    });
}

/// It would have stayed for ever, with nobody to send it requests.
#[test]
fn a_pool_that_leaves_is_not_rolled_back() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let held = [rig.hold("a"), rig.hold("b")];
        let moved = rig.moved(waiting_a_second(c_for_all())).await;
        assert_eq!(moved.outcome, Outcome::NotYet);
        rig.control
            .model
            .lock()
            .await
            .pools
            .get_mut(&web())
            .unwrap()
            .leaving = true;
        let rollback = RollbackCall::default();
        let answer = rig.control.rollback(actor(), web(), rollback).await;
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::Refused,
                "pool \"web\" is leaving: the configuration no longer names it"
            )
        );
        drop(held);
    });
}

/// The second try took back the rollout before, too.
#[test]
fn a_retried_rollback_that_took_back_what_was_under_way_takes_back_nothing_more() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut first = c_for_all();
        first.keep_standby = true;
        assert_eq!(rig.moved(first).await.outcome, Outcome::Done);
        let mut second = c_for_all();
        second.add = vec![incoming("d", 9)];
        second.replace = these(&["c"]);
        drop(rig.under_way(second).await);
        let call = RollbackCall {
            key: Some("back-7".to_owned()),
            ..RollbackCall::default()
        };
        let took = rig.control.rollback(actor(), web(), call.clone()).await;
        assert_eq!(took.outcome, Outcome::Clean, "{}", took.message);
        let again = rig.control.rollback(actor(), web(), call.clone()).await;
        assert_eq!(
            (again.outcome, again.message),
            (Outcome::Clean, took.message)
        );
        assert_eq!(rig.with(Intent::Active), ["c"]);
        let rig = rig.restarted().await;
        for backend in rig.backends() {
            rig.observe(&backend, Health::Healthy);
        }
        let again = rig.control.rollback(actor(), web(), call).await;
        assert_eq!(again.outcome, Outcome::Clean, "{}", again.message);
        assert_eq!(rig.with(Intent::Active), ["c"]);
    });
}

/// Its address was used anew before the end was written down, and then there was nobody to write of.
#[test]
fn the_end_of_one_that_was_forgotten_first_is_in_the_record() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let held = rig.hold("a");
        let moved = rig.moved(waiting_a_second(c_for_all())).await;
        assert_eq!(moved.outcome, Outcome::NotYet);
        let drain = rig.control.drain_of(rig.backend("a").generation()).unwrap();
        let model = rig.control.model.lock().await;
        let control = Arc::clone(&rig.control);
        let add = AddCall {
            id: id(0),
            address: address(1),
            weight: Weight::default(),
            intent: Intent::Standby,
            wait: Some(Duration::ZERO),
        };
        // First in the line for the change lock.
        let added = tokio::spawn(async move { control.add(actor(), web(), add).await });
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        drop(held);
        drain.ended().await;
        drop(model);
        assert_eq!(added.await.unwrap().outcome, Outcome::Begun);
        rig.settle().await;
        assert_eq!(rig.last().await.taken_out, TakenOut::Clean);
        assert_eq!(rig.rollout_ends(), [(1, "moved"), (1, "clean")]);
        assert_eq!(
            rig.store.0.lock().unwrap().pools[&web()].history[0].taken_out,
            TakenOut::Clean
        );
    });
}

#[test]
fn an_end_that_could_not_be_stored_is_stored_when_the_disk_has_room() {
    on_a_standing_clock(async {
        for way_out in ["moved", "aborted"] {
            let rig = Rig::new().await;
            let mut call = waiting_a_second(c_for_all());
            call.canary = (way_out == "aborted").then(|| Share::percent(10));
            let rollout = rig.under_way(call).await;
            let held = match way_out {
                "moved" => {
                    let held = rig.hold("a");
                    rig.open().await;
                    assert_eq!(rollout.await.unwrap().outcome, Outcome::NotYet);
                    held
                }
                _ => {
                    rig.open().await;
                    let held = rig.hold("c");
                    let wait = Some(Duration::from_secs(1));
                    let abort = rig.control.abort(actor(), web(), wait).await;
                    assert_eq!(abort.outcome, Outcome::NotYet);
                    held
                }
            };
            rig.is_full(true);
            drop(held);
            rig.settle().await;
            assert_eq!(rig.last().await.taken_out, TakenOut::Draining);
            rig.is_full(false);
            tokio::time::sleep(Duration::from_secs(2)).await;
            rig.settle().await;
            assert_eq!(rig.last().await.taken_out, TakenOut::Clean);
            assert_eq!(rig.rollout_ends(), [(1, way_out), (1, "clean")]);
            let gone = rig.backends().iter().all(|one| one.id().as_str() != "c");
            assert_eq!(gone, way_out == "aborted");
        }
    });
}

/// They were forgotten at the start, and the record of their rollout went on to say that they drain.
#[test]
fn a_restart_ends_the_record_of_new_ones_that_were_taken_back_and_still_drained() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.canary = Some(Share::percent(10));
        drop(rig.under_way(call).await);
        rig.open().await;
        let held = rig.hold("c");
        let wait = Some(Duration::from_secs(1));
        let abort = rig.control.abort(actor(), web(), wait).await;
        assert_eq!(abort.outcome, Outcome::NotYet);
        let rig = rig.restarted().await;
        drop(held);
        let past = rig.last().await;
        assert_eq!(past.taken_out, TakenOut::Clean);
        assert_eq!(rig.rollout_ends(), [(1, "clean")]);
        let stored = rig.store.0.lock().unwrap().pools[&web()].history[0].taken_out;
        assert_eq!(stored, TakenOut::Clean);
    });
}

#[test]
fn what_a_start_decides_of_a_rollout_is_told() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        drop(rig.under_way(c_for_all()).await);
        let rig = rig.restarted().await;
        assert_eq!(rig.last().await.decided, Decided::Failed);
        assert_eq!(rig.rollout_ends(), [(1, "failed"), (1, "clean")]);
    });
}

/// It was taken for that of the rollout, which was given up, and was gone with it.
#[test]
fn what_the_file_gained_while_the_proxy_was_down_is_there_whatever_becomes_of_the_rollout() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        drop(rig.under_way(c_for_all()).await);
        let mut file = topology();
        file.pools[0].backends.push(BackendSpec {
            id: id(2),
            address: address(3),
            weight: Weight::default(),
        });
        let rig = rig.restarted_with(&file).await;
        assert_eq!(rig.phase(), None);
        assert_eq!(rig.with(Intent::Active), ["a", "b", "c"]);
    });
}

/// The state file takes no more in one rollout: it was answered that the disk is to be looked at.
#[test]
fn a_rollout_takes_out_no_more_than_it_may_bring_in() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        for port in 101..=199 {
            let at = format!("127.0.0.1:{port}");
            rig.added(web(), &format!("n{port}"), &at, Intent::Active)
                .await;
        }
        let refused = rig.begin(c_for_all()).await.unwrap();
        assert_eq!(
            (refused.outcome, refused.message.as_str()),
            (
                Outcome::Refused,
                "web: 101 backends would go, more than the 100 of one rollout"
            )
        );
        assert_eq!(refused.hint.as_deref(), Some("replace fewer at a time"));
    });
}

/// It joined the rollout and was answered when that was over.
#[test]
fn a_dry_run_waits_for_no_rollout_that_has_its_key() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.key = Some("deploy-7".to_owned());
        let first = rig.under_way(call.clone()).await;
        call.dry_run = true;
        let now = Instant::now();
        let dry = rig.begin(call).await.unwrap();
        assert_eq!(dry.outcome, Outcome::Refused, "{}", dry.message);
        assert_eq!(Instant::now(), now);
        drop(first);
    });
}

#[test]
fn those_that_went_back_to_standby_are_not_called_drained() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        rig.added(web(), "c", "127.0.0.1:3", Intent::Standby).await;
        let mut call = c_for_all();
        call.add.push(incoming("d", 9));
        drop(rig.under_way(call).await);
        let answer = rig.control.abort(actor(), web(), None).await;
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::Done,
                "web: rollout 1 was taken back; a, b in service; d drained: clean; c on standby"
            )
        );
        assert!(!answer.safe_to_kill);
        assert_eq!(rig.with(Intent::Standby), ["c"]);
    });
}
