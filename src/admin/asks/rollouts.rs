//! What a rollout can be asked with: the one body with objects in it, and what its relatives take.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, ToSchema};

use super::super::extract::{Ask, told};
use super::super::params::{Fields, clock, clock_or_never, key, records, wait};
use super::on_timeout;
use crate::control::{DrainCall, Incoming, Replace, RollbackCall, RolloutCall, RolloutClocks};
use crate::pool::rollout::ROLLOUT_BACKENDS_MAX;
use crate::spec::{Address, BackendId, Invalid, OnTimeout, Share, Sticky, Weight};

/// Answers below which errors are not judged, at most; beyond it nobody waits for so many.
const MIN_REQUESTS_MAX: u32 = 1_000_000;

/// Backends that must be eligible after the move, at most: as many as a pool may have.
const MIN_ELIGIBLE_MAX: u32 = 1000;

/// A backend that a rollout brings in.
#[derive(ToSchema)]
pub(in crate::admin) struct IncomingBody {
    /// Unique among the live ones of the pool.
    #[schema(value_type = String, example = "v2")]
    id: BackendId,
    /// `host:port`, `[v6]:port` or `unix:/path`.
    #[schema(value_type = String, example = "127.0.0.1:8082")]
    address: Address,
    /// Its share, 1 to 256; 1 unless said.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 256)]
    weight: Option<Weight>,
}

impl Ask for IncomingBody {
    fn read(fields: &Fields) -> Result<Self, String> {
        let id = fields.text("id", BackendId::parse)?;
        let address = fields.text("address", Address::parse)?;
        Ok(Self {
            id: fields.required("id", id)?,
            address: fields.required("address", address)?,
            weight: fields.number("weight", Weight::new)?,
        })
    }
}

/// Which backends come and go, and how.
#[derive(ToSchema)]
pub(in crate::admin) struct RolloutBody {
    /// Those that come: 1 to 100, ids and addresses all different.
    add: Vec<IncomingBody>,
    /// Those that go: `"all"`, every active one that does not come, or a list of ids.
    #[schema(schema_with = all_or_ids)]
    replace: Replace,
    /// Through a canary with this share of the new requests first, until `promote` or `rollback`.
    #[schema(value_type = Option<String>, example = "10%")]
    canary: Option<Share>,
    /// The old ones stay on standby instead of being drained, so that `rollback` is instant.
    #[schema(value_type = Option<bool>, default = false)]
    keep_standby: bool,
    /// So many backends are eligible after the move, or it is not done; 1 unless said.
    #[schema(minimum = 1, maximum = 1000)]
    min_eligible: Option<u32>,
    /// Also when one of the old lives in another pool too.
    #[schema(value_type = Option<bool>, default = false)]
    force: bool,
    /// Say what would be done, and do nothing.
    #[schema(value_type = Option<bool>, default = false)]
    dry_run: bool,
    /// What a retried call is known by: it joins the first one. 1 to 128 printable ASCII characters
    /// without spaces. `Idempotency-Key` says the same where this is not said.
    #[schema(example = "deploy-4711")]
    pub(in crate::admin) key: Option<String>,
    /// How long to wait for another rollout of the pool to be over; not at all unless said.
    #[schema(value_type = Option<String>, example = "5m")]
    lock_wait: Option<Duration>,
    /// How long the caller waits for the drain of the old ones once the new ones serve; with 0 it is
    /// answered as soon as it has begun.
    #[schema(value_type = Option<String>, example = "60s")]
    wait: Option<Duration>,
    /// How long every new one must have been healthy without a break before it gets traffic.
    #[schema(value_type = Option<String>, example = "5s")]
    min_healthy_time: Option<Duration>,
    /// How long that may take in all.
    #[schema(value_type = Option<String>, example = "60s")]
    healthy_deadline: Option<Duration>,
    /// How long the new ones are watched once they serve; with 0 not at all.
    #[schema(value_type = Option<String>, example = "10s")]
    bake: Option<Duration>,
    /// Whether the old ones come back by themselves when the new ones do badly.
    auto_revert: Option<bool>,
    /// Answers of the new ones below which their share of errors is not judged.
    #[schema(minimum = 1, maximum = 1_000_000)]
    min_requests: Option<u32>,
    /// How far the share of errors of the new may be over that of the old.
    #[schema(value_type = Option<String>, example = "1%")]
    error_margin: Option<Share>,
    /// What keeps a client on one side of a canary: `header:NAME` or `cookie:NAME`.
    #[schema(value_type = Option<String>, example = "cookie:session")]
    sticky: Option<Sticky>,
    /// How long the drain may take before `on_timeout` decides.
    #[schema(value_type = Option<String>, example = "5m")]
    timeout: Option<Duration>,
    /// `keep`: goes on; `close`: what is left is cut.
    #[schema(value_type = Option<String>, example = "keep")]
    on_timeout: Option<OnTimeout>,
    /// An exchange on which no byte moved for so long is subject to `on_timeout`.
    #[schema(value_type = Option<String>, example = "90s")]
    idle_timeout: Option<Duration>,
    /// When the closing of tunnels begins, or `never`.
    #[schema(value_type = Option<String>, example = "30s")]
    close_after: Option<Option<Duration>>,
    /// The window over which tunnels are closed one after another.
    #[schema(value_type = Option<String>, example = "20s")]
    spread: Option<Duration>,
}

impl Ask for RolloutBody {
    fn read(fields: &Fields) -> Result<Self, String> {
        let added = fields.objects("add")?;
        let added = fields.required("add", added)?;
        let added = added.into_iter().map(told::<IncomingBody>);
        let add: Vec<IncomingBody> = added.collect::<Result<_, _>>()?;
        counted("add", add.len())?;
        distinct("add", ".id", "an id", add.iter().map(|one| &one.id))?;
        let addresses = add.iter().map(|one| &one.address);
        distinct("add", ".address", "an address", addresses)?;
        Ok(Self {
            add,
            replace: replace(fields)?,
            canary: fields.text("canary", Share::parse)?,
            keep_standby: fields.flag("keep_standby")?,
            min_eligible: fields.number("min_eligible", up_to(MIN_ELIGIBLE_MAX))?,
            force: fields.flag("force")?,
            dry_run: fields.flag("dry_run")?,
            key: fields.text("key", key)?,
            lock_wait: fields.text("lock_wait", wait)?,
            wait: fields.text("wait", wait)?,
            min_healthy_time: fields.text("min_healthy_time", clock)?,
            healthy_deadline: fields.text("healthy_deadline", clock)?,
            bake: fields.text("bake", clock)?,
            auto_revert: fields.flag_if_said("auto_revert")?,
            min_requests: fields.number("min_requests", up_to(MIN_REQUESTS_MAX))?,
            error_margin: fields.text("error_margin", Share::parse)?,
            sticky: fields.text("sticky", Sticky::parse)?,
            timeout: fields.text("timeout", clock)?,
            on_timeout: fields.text("on_timeout", on_timeout)?,
            idle_timeout: fields.text("idle_timeout", clock)?,
            close_after: fields.text("close_after", clock_or_never)?,
            spread: fields.text("spread", clock)?,
        })
    }
}

impl From<RolloutBody> for RolloutCall {
    fn from(body: RolloutBody) -> Self {
        let incoming = |one: IncomingBody| Incoming {
            id: one.id,
            address: one.address,
            weight: one.weight.unwrap_or_default(),
        };
        Self {
            add: body.add.into_iter().map(incoming).collect(),
            replace: body.replace,
            canary: body.canary,
            keep_standby: body.keep_standby,
            min_eligible: body.min_eligible,
            force: body.force,
            dry_run: body.dry_run,
            key: body.key,
            lock_wait: body.lock_wait.unwrap_or_default(),
            clocks: RolloutClocks {
                min_healthy_time: body.min_healthy_time,
                healthy_deadline: body.healthy_deadline,
                bake: body.bake,
                auto_revert: body.auto_revert,
                min_requests: body.min_requests,
                error_margin: body.error_margin,
                sticky: body.sticky,
            },
            drain: DrainCall {
                wait: body.wait,
                timeout: body.timeout,
                on_timeout: body.on_timeout,
                idle_timeout: body.idle_timeout,
                close_after: body.close_after,
                spread: body.spread,
                force: body.force,
                min_eligible: None,
            },
        }
    }
}

/// What is expected of `replace`.
const ALL_OR_IDS: &str = "\"all\" or a list of ids";

fn replace(fields: &Fields) -> Result<Replace, String> {
    if fields.is("replace", "all") {
        return Ok(Replace::All);
    }
    let ids = fields.texts("replace", ALL_OR_IDS, BackendId::parse)?;
    let ids = ids.ok_or_else(|| format!("body.replace: is missing (expected {ALL_OR_IDS})"))?;
    counted("replace", ids.len())?;
    distinct("replace", "", "an id", ids.iter())?;
    Ok(Replace::These(ids))
}

fn all_or_ids() -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    OneOfBuilder::new()
        .item(text().enum_values(Some(["all"])))
        .item(ArrayBuilder::new().items(text()))
        .into()
}

fn counted(key: &str, count: usize) -> Result<(), String> {
    match (1..=ROLLOUT_BACKENDS_MAX).contains(&count) {
        true => Ok(()),
        false => Err(format!(
            "body.{key}: found {count} backends (expected 1 to {ROLLOUT_BACKENDS_MAX})"
        )),
    }
}

fn distinct<T: Eq + Hash + Display>(
    list: &str,
    key: &str,
    what: &str,
    values: impl Iterator<Item = T>,
) -> Result<(), String> {
    let mut seen = HashMap::new();
    for (at, value) in values.enumerate() {
        let text = value.to_string();
        if let Some(before) = seen.insert(value, at) {
            return Err(format!(
                "body.{list}[{at}]{key}: found {text:?} (expected {what} that {list}[{before}] does not have)"
            ));
        }
    }
    Ok(())
}

/// Reads a number from 1 to `most`.
fn up_to(most: u32) -> impl Fn(u64) -> Result<u32, Invalid> {
    move |number| {
        let fits = u32::try_from(number)
            .ok()
            .filter(|n| (1..=most).contains(n));
        fits.ok_or_else(|| Invalid(format!("a whole number from 1 to {most}")))
    }
}

/// The share of an open canary.
#[derive(ToSchema)]
pub(in crate::admin) struct CanaryBody {
    /// From `0%` to `100%`, in steps of a hundredth of a percent.
    #[schema(value_type = String, example = "25%")]
    pub(in crate::admin) share: Share,
}

impl Ask for CanaryBody {
    fn read(fields: &Fields) -> Result<Self, String> {
        let share = fields.text("share", Share::parse)?;
        Ok(Self {
            share: fields.required("share", share)?,
        })
    }
}

/// How a rollback is done.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct RollbackQuery {
    /// How long the caller waits; with 0 not at all.
    #[param(value_type = Option<String>, example = "60s")]
    wait: Option<Duration>,
    /// Those that are taken out stay on standby instead of being drained.
    #[param(required = false)]
    keep_standby: bool,
    /// What a retried call is known by: it joins the first one. `Idempotency-Key` says the same where
    /// this is not said.
    #[param(example = "rollback-4711")]
    pub(in crate::admin) key: Option<String>,
}

impl Ask for RollbackQuery {
    fn read(fields: &Fields) -> Result<Self, String> {
        Ok(Self {
            wait: fields.text("wait", wait)?,
            keep_standby: fields.flag("keep_standby")?,
            key: fields.text("key", key)?,
        })
    }
}

impl From<RollbackQuery> for RollbackCall {
    fn from(query: RollbackQuery) -> Self {
        Self {
            keep_standby: query.keep_standby,
            key: query.key,
            drain: DrainCall {
                wait: query.wait,
                ..DrainCall::default()
            },
        }
    }
}

/// How much of a history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct HistoryQuery {
    /// The newest so many, 1 to 100; all unless said.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub(in crate::admin) limit: Option<usize>,
}

impl Ask for HistoryQuery {
    fn read(fields: &Fields) -> Result<Self, String> {
        Ok(Self {
            limit: fields.text("limit", records)?,
        })
    }
}
