//! The section `rollout` of a pool: its defaults for moving to new backends.
//!
//! The new ones cannot be healthy for longer than the time they have to get healthy, so
//! `min_healthy_time` never outlasts `healthy_deadline`.

use super::keys;
use super::reader::Zero;
use super::section::Section;
use super::units::format_duration;
use crate::spec::{RolloutSpec, Share, Sticky};

/// Answers before a judgement. What needs more is not a matter of minutes, which a bake is.
const REQUESTS_MAX: u64 = 1_000_000;

const SHARE_EXPECTED: &str = "a share from 0% to 100%, such as 10% or 0.5%";

const STICKY_EXPECTED: &str = "header:NAME or cookie:NAME, such as cookie:session";

/// The rollouts of the pool whose section is given.
pub(super) fn read(pool: &Section<'_>) -> RolloutSpec {
    let mut rollout = RolloutSpec::default();
    let Some(section) = pool.section("rollout", keys::ROLLOUT) else {
        return rollout;
    };
    read_clocks(&section, &mut rollout);
    section.duration("bake", Zero::Allowed, &mut rollout.bake);
    if let Some(value) = section.find("auto_revert").and_then(|spot| spot.boolean()) {
        rollout.auto_revert = value;
    }
    section.count("min_requests", REQUESTS_MAX, &mut rollout.min_requests);
    if let Some(spot) = section.find("error_margin") {
        let margin = spot.parsed(SHARE_EXPECTED, Share::parse);
        rollout.error_margin = margin.unwrap_or(rollout.error_margin);
    }
    if let Some(spot) = section.find("sticky") {
        rollout.sticky = spot.parsed(STICKY_EXPECTED, Sticky::parse);
    }
    rollout
}

/// Where only the deadline is said, a longer default of the time gives way.
fn read_clocks(section: &Section<'_>, rollout: &mut RolloutSpec) {
    let deadline = &mut rollout.healthy_deadline;
    section.duration("healthy_deadline", Zero::Refused, deadline);
    let Some(spot) = section.find("min_healthy_time") else {
        rollout.min_healthy_time = rollout.min_healthy_time.min(rollout.healthy_deadline);
        return;
    };
    let Some(time) = spot.duration(Zero::Allowed) else {
        return;
    };
    rollout.min_healthy_time = time;
    if time > rollout.healthy_deadline {
        spot.problem(format!(
            "{} is longer than {}.healthy_deadline: {} (make it at most the deadline)",
            format_duration(time),
            section.spot.path,
            format_duration(rollout.healthy_deadline),
        ));
    }
}
