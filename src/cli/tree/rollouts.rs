//! What can be typed of rollouts.

use clap::Args;

use super::{DrainClocks, WaitOrNot, checked, weight};
use crate::admin::params;
use crate::spec::{Address, BackendId, Invalid, PoolName, Share, Sticky, Weight};

/// Where the help lists the clocks and thresholds.
const WATCHED: &str = "Clocks and thresholds of the rollout";

pub(super) const ROLLOUT_EXAMPLES: &str = "\
Examples:
  tidegate rollout web --add v2=127.0.0.1:8082 --replace v1 && kill $PID
  tidegate rollout web --add v2=127.0.0.1:8082 --replace all --keep-standby
  tidegate rollout web --add v2=unix:/run/app/v2.sock --replace v1 --canary 10% --sticky cookie:sid
  tidegate rollout web --add a2=10.0.0.7:80 --add b2=10.0.0.8:80 --replace all --dry-run

The new ones come in without traffic. Once they have been healthy for --min-healthy-time the traffic
moves in one step, or with --canary that share of it until `promote` or `rollback`. They are watched
for --bake and taken back if they do badly; then the old ones drain, for which --wait waits.

Exit 0 or 7: the new ones serve, what is \"safe to kill\" may be killed. 6: the new ones serve, the
old ones still drain. 5: refused or failed, the old ones serve.";

pub(super) const CANARY_EXAMPLES: &str = "\
Examples:
  tidegate canary web 25%
  tidegate canary web 0%                 keep it open without traffic";

pub(super) const PROMOTE_EXAMPLES: &str = "\
Examples:
  tidegate promote web && kill $PID
  tidegate promote web --wait 5m";

pub(super) const ROLLBACK_EXAMPLES: &str = "\
Examples:
  tidegate rollback web
  tidegate rollback web --keep-standby --wait 5m";

pub(super) const ABORT_EXAMPLES: &str = "Example:\n  tidegate abort web";

pub(super) const HISTORY_EXAMPLES: &str = "\
Examples:
  tidegate history web
  tidegate history web --limit 1 --json | jq -r '.records[0].phase'";

#[derive(Args, Debug)]
pub(in crate::cli) struct Rollout {
    /// The pool that moves
    #[arg(value_name = "POOL", value_parser = PoolName::parse)]
    pub(in crate::cli) pool: PoolName,
    /// One that comes; may be said more than once
    #[arg(long, required = true, value_name = "ID=ADDRESS", value_parser = Addition::parse)]
    pub(in crate::cli) add: Vec<Addition>,
    /// Those that go; all: every active one that does not come
    #[arg(long, value_name = "ID[,ID…]|all", value_parser = Replacing::parse)]
    pub(in crate::cli) replace: Replacing,
    /// Give the new ones this share first, until `promote` or `rollback`
    #[arg(long, value_name = "N%", value_parser = checked(Share::parse))]
    pub(in crate::cli) canary: Option<String>,
    /// What keeps a client on one side of the canary
    #[arg(long, value_name = "header:X|cookie:X", value_parser = checked(Sticky::parse))]
    pub(in crate::cli) sticky: Option<String>,
    /// Keep the old ones warm instead of draining them, for an instant `rollback`
    #[arg(long)]
    pub(in crate::cli) keep_standby: bool,
    /// So many must be eligible after the move, or it is not done; 1 unless said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(in crate::cli) min_eligible: Option<u32>,
    /// The share of each new one, 1 to 256
    #[arg(long, value_name = "N", value_parser = weight)]
    pub(in crate::cli) weight: Option<Weight>,
    /// A name for this deploy: the same call again joins it instead of beginning another
    #[arg(long, value_name = "KEY", value_parser = params::key)]
    pub(in crate::cli) key: Option<String>,
    /// How long to wait for another rollout of the pool to be over; not at all unless said
    #[arg(long, value_name = "DURATION", value_parser = checked(params::wait))]
    pub(in crate::cli) lock_wait: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Also when an old one is live in another pool too
    #[arg(long)]
    pub(in crate::cli) force: bool,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitOrNot,
    /// How long the new ones must have been healthy without a break before they get traffic
    #[arg(help_heading = WATCHED, long, value_name = "DURATION", value_parser = checked(params::clock))]
    pub(in crate::cli) min_healthy_time: Option<String>,
    /// How long that may take in all
    #[arg(help_heading = WATCHED, long, value_name = "DURATION", value_parser = checked(params::clock))]
    pub(in crate::cli) healthy_deadline: Option<String>,
    /// How long the new ones are watched once they serve
    #[arg(help_heading = WATCHED, long, value_name = "DURATION", value_parser = checked(params::clock))]
    pub(in crate::cli) bake: Option<String>,
    /// Leave the new ones serving however they do
    #[arg(help_heading = WATCHED, long)]
    pub(in crate::cli) no_auto_revert: bool,
    /// Answers of the new ones below which their errors are not judged
    #[arg(help_heading = WATCHED, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(in crate::cli) min_requests: Option<u32>,
    /// How far their share of errors may be over that of the old ones
    #[arg(help_heading = WATCHED, long, value_name = "N%", value_parser = checked(Share::parse))]
    pub(in crate::cli) error_margin: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) clocks: DrainClocks,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Canary {
    /// The pool
    #[arg(value_name = "POOL", value_parser = PoolName::parse)]
    pub(in crate::cli) pool: PoolName,
    /// The share of new requests that the new ones get, such as 25% or 0.5%
    #[arg(value_name = "N%", value_parser = checked(Share::parse))]
    pub(in crate::cli) share: String,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct InPool {
    /// The pool
    #[arg(value_name = "POOL", value_parser = PoolName::parse)]
    pub(in crate::cli) pool: PoolName,
    #[command(flatten)]
    pub(in crate::cli) wait: WaitOrNot,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Rollback {
    #[command(flatten)]
    pub(in crate::cli) asked: InPool,
    /// Keep those that are taken out warm instead of draining them
    #[arg(long)]
    pub(in crate::cli) keep_standby: bool,
    /// A name for this rollback: the same call again joins it instead of beginning another
    #[arg(long, value_name = "KEY", value_parser = params::key)]
    pub(in crate::cli) key: Option<String>,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct History {
    /// The pool
    #[arg(value_name = "POOL", value_parser = PoolName::parse)]
    pub(in crate::cli) pool: PoolName,
    /// Only the newest so many; all that are kept, up to 100, unless said
    #[arg(long, value_name = "N", value_parser = params::records)]
    pub(in crate::cli) limit: Option<usize>,
}

/// A backend that comes.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Addition {
    pub(in crate::cli) id: BackendId,
    pub(in crate::cli) address: Address,
}

impl Addition {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let parts = text.split_once('=');
        let (id, address) =
            parts.ok_or_else(|| Invalid("ID=ADDRESS, such as v2=127.0.0.1:8082".to_owned()))?;
        Ok(Self {
            id: BackendId::parse(id)?,
            address: Address::parse(address)?,
        })
    }
}

/// Those that go.
#[derive(Clone, Debug)]
pub(in crate::cli) enum Replacing {
    All,
    These(Vec<BackendId>),
}

impl Replacing {
    fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "all" => Ok(Self::All),
            _ => {
                let ids = text.split(',').map(BackendId::parse);
                ids.collect::<Result<_, _>>().map(Self::These)
            }
        }
    }
}
