//! Any model reads back as it was written, and garbage is refused.

use proptest::prelude::*;

use super::*;
use crate::pool::model::PoolModel;
use crate::pool::model::tests::any_model;
use crate::pool::rollout::{HISTORY_MAX, Phase, ROLLOUT_BACKENDS_MAX, Rollout};
use crate::pool::split::tests::rollout;
use crate::pool::testing::member;
use crate::rollout::steps::{self, WayBack};
use crate::spec::{DrainSpec, Intent, PoolName, Share, Sticky};

fn web() -> PoolName {
    PoolName::parse("web").unwrap()
}

/// One under way, of 1 for 11 (`split::tests::rollout`).
fn with_rollout(phase: Phase) -> Model {
    let members = vec![member(1, Intent::Active), member(11, Intent::Standby)];
    let sticky = Some(Sticky::Cookie("sid".to_owned()));
    let pool = PoolModel {
        rollout: Some(rollout(&members, phase, sticky)),
        rollouts: 1,
        members,
        ..PoolModel::default()
    };
    Model {
        next_generation: 12,
        pools: [(web(), pool)].into(),
        applied: Default::default(),
    }
}

fn read_back(model: &Model) -> Result<Model, String> {
    format::decode(&format::encode(model, 5)?)
}

#[test]
fn a_rollout_reads_back_in_every_phase_and_as_a_record() {
    for phase in [Phase::Gate, Phase::Canary(Share::percent(10)), Phase::Bake] {
        let mut model = with_rollout(phase);
        assert_eq!(read_back(&model).as_ref(), Ok(&model));
        if phase == Phase::Gate {
            let way = WayBack {
                decided: crate::pool::rollout::Decided::Aborted,
                drain: DrainSpec::default(),
            };
            steps::take_back(&mut model, &web(), way, "by test".to_owned(), 7);
            steps::note_key(&mut model, &web(), Some("back-7".to_owned()));
        } else {
            steps::finish(&mut model, &web(), "it did well".to_owned(), 7);
        }
        assert_eq!(model.pools[&web()].history.len(), 1);
        assert_eq!(read_back(&model).as_ref(), Ok(&model));
    }
}

#[test]
fn what_is_past_the_bounds_of_a_rollout_is_not_believed() {
    let refused = |change: &dyn Fn(&mut PoolModel)| {
        let mut model = with_rollout(Phase::Bake);
        change(model.pools.get_mut(&web()).unwrap());
        format::encode(&model, 5).unwrap_err()
    };
    let under_way = |change: &dyn Fn(&mut Rollout)| {
        refused(&|pool: &mut PoolModel| change(pool.rollout.as_mut().unwrap()))
    };
    assert_eq!(
        refused(&|pool| pool.rollouts = u64::MAX),
        "web: rollout 18446744073709551615: its number is too high"
    );
    assert_eq!(
        under_way(&|rollout| rollout.number = 2),
        "web: rollout 2: its number was not given yet"
    );
    let backends = "web: rollout 1: it has none or too many backends";
    assert_eq!(under_way(&|rollout| rollout.new.clear()), backends);
    let too_many = |rollout: &mut Rollout| {
        rollout.old = vec![rollout.old[0].clone(); ROLLOUT_BACKENDS_MAX + 1];
    };
    assert_eq!(under_way(&too_many), backends);
    assert_eq!(
        under_way(&|rollout| rollout.spec.bake = std::time::Duration::MAX),
        "web: rollout 1: one of its clocks is too long"
    );
    let mut model = with_rollout(Phase::Bake);
    for number in 1..=HISTORY_MAX as u64 + 1 {
        let pool = model.pools.get_mut(&web()).unwrap();
        pool.rollouts = number;
        pool.rollout = with_rollout(Phase::Bake).pools[&web()].rollout.clone();
        steps::finish(&mut model, &web(), "it did well".to_owned(), number);
    }
    let read = read_back(&model).unwrap();
    assert_eq!(read.pools[&web()].history.len(), HISTORY_MAX);
}

proptest! {
    #[test]
    fn any_model_reads_back_as_it_was_written(model in any_model()) {
        prop_assert_eq!(format::decode(&format::encode(&model, 5).unwrap()), Ok(model));
    }

    #[test]
    fn any_prefix_of_a_state_file_is_broken(model in any_model(), cut in any::<prop::sample::Index>()) {
        let whole = format::encode(&model, 5).unwrap();
        prop_assert!(format::decode(&whole[..cut.index(whole.len())]).is_err());
    }

    #[test]
    fn garbage_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
    ) {
        prop_assert!(format::decode(&garbage).is_err());
        // Somewhere in a whole file: whatever is still believed can be written again.
        let mut file = bytes(&model(1));
        let at = at.index(file.len());
        let end = file.len().min(at + garbage.len());
        file[at..end].copy_from_slice(&garbage[..end - at]);
        if let Ok(model) = format::decode(&file) {
            prop_assert!(format::encode(&model, 1).is_ok());
        }
    }
}
