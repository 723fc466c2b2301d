//! What stands in a state file: the envelope, and what a model must keep to be believed.
//!
//! ```json
//! {"version": 1, "saved_at": 1760000000000, "model": {…}}
//! ```
//!
//! [`decode`] takes bytes from anywhere (a half written file, garbage, an edit by hand) and gives a
//! model or says in words what is wrong; it never panics and never gives a model that could make
//! others panic. [`encode`] refuses what [`decode`] would refuse, so a file that was written can be
//! read: an operation that would break the state fails, instead of the next start.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::Generation;
use crate::pool::model::{MEMBERS_MAX, Model, PoolModel, UnixMillis};
use crate::pool::rollout::{HISTORY_MAX, ROLLOUT_BACKENDS_MAX};
use crate::spec::{DrainSpec, PoolName, Target, parse_socket_path};

/// The largest state file that is written or read. A member takes less than 1 KiB, so this is more
/// than 60,000 of them; a larger file is none of ours.
pub const STATE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The form of the file. Another number is another program's file, or a newer one's.
pub const VERSION: u64 = 1;

/// The highest generation: JSON readers keep whole numbers exactly up to 2^53.
const GENERATION_MAX: Generation = 1 << 53;

/// The highest number of a rollout, for the same reason.
const NUMBER_MAX: u64 = 1 << 53;

/// The longest clock of a drain, far below what an instant can hold and far above any use.
const CLOCK_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

#[derive(Serialize, Deserialize)]
struct Stored<M> {
    version: u64,
    saved_at: UnixMillis,
    model: M,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

/// The bytes of a state file.
pub(super) fn encode(model: &Model, saved_at: UnixMillis) -> Result<Vec<u8>, String> {
    validate(model)?;
    let stored = Stored {
        version: VERSION,
        saved_at,
        model,
    };
    let bytes = serde_json::to_vec_pretty(&stored).map_err(|error| error.to_string())?;
    match bytes.len() {
        0..=STATE_BYTES_MAX => Ok(bytes),
        len => Err(too_large(len)),
    }
}

/// The model in the bytes of a state file, or what is wrong with them.
pub(super) fn decode(bytes: &[u8]) -> Result<Model, String> {
    if bytes.len() > STATE_BYTES_MAX {
        return Err(too_large(bytes.len()));
    }
    if bytes.is_empty() {
        return Err("it is empty".into());
    }
    let not_ours = |error: serde_json::Error| format!("it is not a state file: {error}");
    let VersionOnly { version } = serde_json::from_slice(bytes).map_err(not_ours)?;
    if version != VERSION {
        return Err(format!(
            "it has version {version}, and this program reads version {VERSION}"
        ));
    }
    let stored: Stored<Model> = serde_json::from_slice(bytes).map_err(not_ours)?;
    validate(&stored.model)?;
    Ok(stored.model)
}

fn too_large(bytes: usize) -> String {
    format!("it has at least {bytes} bytes, more than {STATE_BYTES_MAX}")
}

/// What the model's own header promises, and the bounds that others rely on.
fn validate(model: &Model) -> Result<(), String> {
    if model.next_generation > GENERATION_MAX {
        return Err(format!(
            "next_generation {} is above {GENERATION_MAX}",
            model.next_generation
        ));
    }
    let mut seen = HashSet::new();
    for (name, pool) in &model.pools {
        for member in &pool.members {
            let generation = member.generation;
            if generation >= model.next_generation {
                return Err(format!(
                    "{name}/{}: generation {generation} is not below next_generation {}",
                    member.id, model.next_generation
                ));
            }
            if !seen.insert(generation) {
                return Err(format!(
                    "{name}/{}: generation {generation} is there twice",
                    member.id
                ));
            }
        }
        validate_pool(name, pool)?;
    }
    Ok(())
}

fn validate_pool(name: &PoolName, pool: &PoolModel) -> Result<(), String> {
    if pool.members.len() > MEMBERS_MAX {
        return Err(format!(
            "pool {name} has {} backends, more than {MEMBERS_MAX}",
            pool.members.len()
        ));
    }
    let (mut ids, mut targets) = (HashSet::new(), HashSet::new());
    for member in &pool.members {
        if member.is_live() && !ids.insert(&member.id) {
            return Err(format!("{name}/{} is live twice", member.id));
        }
        if member.is_live() && !targets.insert(&member.target) {
            return Err(format!("{name}: {} is live twice", member.target));
        }
        let is_reachable = match &member.target {
            Target::Tcp(address) => address.port() != 0,
            Target::Unix(path) => path.to_str().is_some_and(|p| parse_socket_path(p).is_ok()),
        };
        if !is_reachable {
            return Err(format!(
                "{name}/{}: {:?} is no place to connect to",
                member.id,
                member.target.to_string()
            ));
        }
        if member
            .drain
            .is_some_and(|drain| longest(&drain) > CLOCK_MAX)
        {
            return Err(format!(
                "{name}/{}: a clock of its drain is too long",
                member.id
            ));
        }
    }
    validate_rollouts(name, pool)
}

/// Whether the generations they name are still there is for [`crate::control`] to settle.
fn validate_rollouts(name: &PoolName, pool: &PoolModel) -> Result<(), String> {
    let wrong = |number: u64, what: &str| Err(format!("{name}: rollout {number}: {what}"));
    if pool.rollouts > NUMBER_MAX {
        return wrong(pool.rollouts, "its number is too high");
    }
    if pool.history.len() > HISTORY_MAX {
        let kept = pool.history.len();
        return Err(format!(
            "{name} has a history of {kept}, more than {HISTORY_MAX}"
        ));
    }
    for past in &pool.history {
        if past.number > pool.rollouts {
            return wrong(past.number, "its number was not given yet");
        }
        if past.new.len().max(past.old.len()) > ROLLOUT_BACKENDS_MAX {
            return wrong(past.number, "it has too many backends");
        }
    }
    let Some(rollout) = &pool.rollout else {
        return Ok(());
    };
    let spec = &rollout.spec;
    let clocks = [spec.min_healthy_time, spec.healthy_deadline, spec.bake];
    let longest = clocks
        .into_iter()
        .fold(longest(&rollout.drain), Duration::max);
    if rollout.number > pool.rollouts {
        return wrong(rollout.number, "its number was not given yet");
    }
    if rollout.new.is_empty() || rollout.new.len().max(rollout.old.len()) > ROLLOUT_BACKENDS_MAX {
        return wrong(rollout.number, "it has none or too many backends");
    }
    match longest > CLOCK_MAX {
        true => wrong(rollout.number, "one of its clocks is too long"),
        false => Ok(()),
    }
}

fn longest(drain: &DrainSpec) -> Duration {
    drain
        .wait
        .max(drain.timeout)
        .max(drain.idle_timeout)
        .max(drain.tunnels.close_after.unwrap_or_default())
        .max(drain.tunnels.spread)
}
