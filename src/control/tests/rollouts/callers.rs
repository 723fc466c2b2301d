//! Who asks for a rollout beside another, again, or for what cannot be.

use super::*;

#[test]
fn a_second_rollout_is_told_who_is_before_it_or_waits() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let first = rig.under_way(c_for_all()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut second = c_for_all();
        second.add = vec![incoming("d", 9)];
        let refused = rig.begin(second.clone()).await.unwrap();
        assert_eq!(refused.outcome, Outcome::Refused);
        let message = "rollout 1 of web is under way: gate, by test, begun";
        assert!(refused.message.starts_with(message), "{}", refused.message);
        second.lock_wait = Duration::from_secs(3600);
        let waits = rig.begin(second);
        rig.open().await;
        assert_eq!(first.await.unwrap().outcome, Outcome::Clean);
        rig.settle().await;
        rig.observe(&rig.backend("d"), Health::Healthy);
        assert_eq!(waits.await.unwrap().outcome, Outcome::Clean);
        assert_eq!(rig.with(Intent::Active), ["d"]);
    });
}

#[test]
fn a_retried_call_joins_the_first_by_its_key() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.key = Some("deploy-7".to_owned());
        let first = rig.under_way(call.clone()).await;
        let second = rig.begin(call.clone());
        rig.open().await;
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert_eq!(first.message, second.message);
        assert_eq!(second.outcome, Outcome::Clean);
        let third = rig.begin(call.clone()).await.unwrap();
        assert_eq!(third.outcome, Outcome::Clean);
        assert_eq!(third.rollout.unwrap().number, 1);
        call.add = vec![incoming("d", 9)];
        let other = rig.begin(call).await.unwrap();
        assert_eq!(
            other.message,
            "the key \"deploy-7\" is that of rollout 1 of web, which brought in c"
        );
    });
}

#[test]
fn the_same_set_again_is_already_serving() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let held = rig.hold("a");
        let mut call = c_for_all();
        call.replace = Replace::These(vec![id(0), id(1)]);
        call.drain.wait = Some(Duration::from_secs(1));
        let rollout = rig.under_way(call.clone()).await;
        rig.open().await;
        assert_eq!(rollout.await.unwrap().outcome, Outcome::NotYet);
        // Without a key: what it took out still drains, and that is what is to be known.
        let again = rig.begin(call.clone()).await.unwrap();
        assert_eq!(again.outcome, Outcome::NotYet);
        drop(held);
        rig.settle().await;
        let again = rig.begin(call.clone()).await.unwrap();
        assert_eq!(again.outcome, Outcome::Done);
        assert_eq!(again.message, "web: already serving: c");
        assert!(again.safe_to_kill);
        assert_eq!(rig.control.history(&web()).await.unwrap().len(), 1);
    });
}

#[test]
fn a_process_that_serves_another_pool_too_is_not_called_safe_to_kill() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.add = vec![incoming("c", 4)]; // where api/a lives
        let rollout = rig.under_way(call).await;
        let answer = rig.control.abort(actor(), web(), None).await;
        assert_eq!(answer.outcome, Outcome::Restored);
        assert_eq!(
            answer.hint.as_deref(),
            Some("do not kill what is in use elsewhere")
        );
        assert_eq!(
            answer.message,
            "web: rollout 1 was taken back; a, b in service; c drained: clean; not safe to kill: the address is live elsewhere"
        );
        assert!(!answer.safe_to_kill);
        assert!(!answer.rollout.unwrap().added[0].safe_to_kill);
        assert_eq!(rollout.await.unwrap().outcome, Outcome::Failed);
        let mut call = c_for_all();
        call.replace = Replace::These(vec![id(0)]);
        let api = PoolName::parse("api").unwrap();
        let add = AddCall {
            id: id(1),
            address: address(1),
            weight: Weight::default(),
            intent: Intent::Active,
            wait: Some(Duration::ZERO),
        };
        assert_eq!(
            rig.control.add(actor(), api, add).await.outcome,
            Outcome::Begun
        );
        let refused = rig.begin(call).await.unwrap();
        assert_eq!(
            refused.message,
            "web: a would not be safe to kill: 127.0.0.1:1 is live in api/b too"
        );
    });
}

#[test]
fn refusals_say_what_is_in_the_way_and_change_nothing() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let these = |ids: &[&str]| {
            let parsed = ids.iter().map(|id| BackendId::parse(id).unwrap());
            Replace::These(parsed.collect())
        };
        let call = |add: Vec<Incoming>, replace: Replace| RolloutCall {
            add,
            replace,
            ..c_for_all()
        };
        let table = [
            (
                call(vec![incoming("c", 3)], these(&["x"])),
                "pool \"web\" has no backend \"x\"",
                Outcome::Unknown,
            ),
            (
                call(vec![incoming("a", 3)], these(&["b"])),
                "a is live at 127.0.0.1:1; drain it first, or use another id",
                Outcome::Refused,
            ),
            (
                call(vec![incoming("c", 1)], these(&["b"])),
                "127.0.0.1:1 is live as a",
                Outcome::Refused,
            ),
            (
                call(vec![incoming("c", 3)], these(&["c"])),
                "web: c is both to come and to go",
                Outcome::Refused,
            ),
            (
                call(vec![incoming("a", 1), incoming("c", 3)], these(&["b"])),
                "web: a is active already; leave it out of those that come",
                Outcome::Refused,
            ),
            (
                RolloutCall {
                    min_eligible: Some(3),
                    ..call(vec![incoming("c", 3)], these(&["a"]))
                },
                "web: 2 would be eligible afterwards, fewer than the minimum of 3",
                Outcome::Refused,
            ),
            (
                RolloutCall {
                    dry_run: true,
                    ..call(vec![incoming("c", 3)], these(&["a"]))
                },
                "web: would bring in c (127.0.0.1:3) for a, which would drain; nothing was changed",
                Outcome::Done,
            ),
        ];
        let before = rig.store.0.lock().unwrap().clone();
        for (call, message, outcome) in table {
            let answer = rig.begin(call).await.unwrap();
            assert_eq!(
                (answer.message.as_str(), answer.outcome),
                (message, outcome)
            );
        }
        assert_eq!(*rig.store.0.lock().unwrap(), before);
    });
}
