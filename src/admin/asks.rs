//! What operations can be asked with: the keys of queries and bodies, their meaning, their values.
//!
//! One struct each, which is also its description in the OpenAPI document: the keys that are known
//! are read from that description, so that the two cannot differ.

pub(super) mod rollouts;

use std::time::Duration;

use utoipa::{IntoParams, ToSchema};

use super::extract::Ask;
use super::params::{Fields, Since, clock, clock_or_never, min_eligible, since, ttl, wait};
use crate::control::Wait;
use crate::pool::model::BackendRef;
use crate::spec::{Address, BackendId, Invalid, OnTimeout, PoolName, Weight};

/// The pool of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path in the document")]
pub(super) struct PoolPath {
    /// Name of the pool.
    #[param(example = "web")]
    pub(super) pool: String,
}

/// The backend of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path in the document")]
pub(super) struct BackendPath {
    /// Name of the pool.
    #[param(example = "web")]
    pub(super) pool: String,
    /// `ID`, the live one or else the newest, or `ID@GENERATION`.
    #[param(example = "a")]
    pub(super) id: String,
}

/// No options.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Nothing {}

impl Ask for Nothing {
    fn read(_: &Fields) -> Result<Self, String> {
        Ok(Self {})
    }
}

/// What a look at a backend waits for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Look {
    /// `healthy` or `drained`: wait until it is so.
    #[param(value_type = Option<String>, example = "healthy")]
    pub(super) wait_for: Option<Wait>,
    /// How long at most; 60s unless said.
    #[param(value_type = Option<String>, example = "60s")]
    pub(super) wait: Option<Duration>,
}

impl Ask for Look {
    fn read(fields: &Fields) -> Result<Self, String> {
        let look = Self {
            wait_for: fields.text("wait_for", what_to_wait_for)?,
            wait: fields.text("wait", wait)?,
        };
        match look {
            Self {
                wait_for: None,
                wait: Some(_),
            } => Err("query.wait: found without wait_for (expected both)".to_owned()),
            _ => Ok(look),
        }
    }
}

fn what_to_wait_for(text: &str) -> Result<Wait, Invalid> {
    match text {
        "healthy" => Ok(Wait::Healthy),
        "drained" => Ok(Wait::Drained),
        _ => Err(Invalid("healthy or drained".to_owned())),
    }
}

/// A backend to add.
#[derive(ToSchema)]
pub(super) struct AddBody {
    /// Unique among the live ones of the pool.
    #[schema(value_type = String, example = "v2")]
    pub(super) id: BackendId,
    /// `host:port`, `[v6]:port` or `unix:/path`.
    #[schema(value_type = String, example = "127.0.0.1:8082")]
    pub(super) address: Address,
    /// Kept warm and probed, without traffic.
    #[schema(default = false)]
    pub(super) standby: Option<bool>,
    /// Its share, 1 to 256; 1 unless said.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 256)]
    pub(super) weight: Option<Weight>,
    /// How long it may take to get healthy, else it is removed again; 60s unless said. With 0s: add,
    /// and do not wait.
    #[schema(value_type = Option<String>, example = "60s")]
    pub(super) wait: Option<Duration>,
}

impl Ask for AddBody {
    fn read(fields: &Fields) -> Result<Self, String> {
        let id = fields.text("id", BackendId::parse)?;
        let address = fields.text("address", Address::parse)?;
        Ok(Self {
            id: fields.required("id", id)?,
            address: fields.required("address", address)?,
            standby: Some(fields.flag("standby")?),
            weight: fields.number("weight", Weight::new)?,
            wait: fields.text("wait", wait)?,
        })
    }
}

/// How a drain differs from its pool's defaults.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DrainQuery {
    /// How long the caller waits; with 0 not at all. The drain goes on.
    #[param(value_type = Option<String>, example = "60s")]
    pub(super) wait: Option<Duration>,
    /// How long the drain may take before `on_timeout` decides.
    #[param(value_type = Option<String>, example = "5m")]
    pub(super) timeout: Option<Duration>,
    /// `keep`: goes on; `close`: what is left is cut.
    #[param(value_type = Option<String>, example = "keep")]
    pub(super) on_timeout: Option<OnTimeout>,
    /// An exchange on which no byte moved for so long is subject to `on_timeout`.
    #[param(value_type = Option<String>, example = "90s")]
    pub(super) idle_timeout: Option<Duration>,
    /// When the closing of tunnels begins, or `never`.
    #[param(value_type = Option<String>, example = "30s")]
    pub(super) close_after: Option<Option<Duration>>,
    /// The window over which tunnels are closed one after another.
    #[param(value_type = Option<String>, example = "20s")]
    pub(super) spread: Option<Duration>,
    /// Also the last eligible one, or one that is live in another pool too.
    #[param(required = false)]
    pub(super) force: bool,
    /// So many eligible backends are left, 1 to 1000, or it is refused; 1 unless said.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) min_eligible: Option<u32>,
}

impl Ask for DrainQuery {
    fn read(fields: &Fields) -> Result<Self, String> {
        Ok(Self {
            wait: fields.text("wait", wait)?,
            timeout: fields.text("timeout", clock)?,
            on_timeout: fields.text("on_timeout", on_timeout)?,
            idle_timeout: fields.text("idle_timeout", clock)?,
            close_after: fields.text("close_after", clock_or_never)?,
            spread: fields.text("spread", clock)?,
            force: fields.flag("force")?,
            min_eligible: fields.text("min_eligible", min_eligible)?,
        })
    }
}

fn on_timeout(text: &str) -> Result<OnTimeout, Invalid> {
    match text {
        "keep" => Ok(OnTimeout::Keep),
        "close" => Ok(OnTimeout::Close),
        _ => Err(Invalid("keep or close".to_owned())),
    }
}

/// How long the caller waits.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Patience {
    /// How long the caller waits; with 0 not at all.
    #[param(value_type = Option<String>, example = "60s")]
    pub(super) wait: Option<Duration>,
}

impl Ask for Patience {
    fn read(fields: &Fields) -> Result<Self, String> {
        Ok(Self {
            wait: fields.text("wait", wait)?,
        })
    }
}

/// Whether it is done although it is not safe.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Force {
    /// Do it although it is not safe.
    #[param(required = false)]
    pub(super) force: bool,
}

impl Ask for Force {
    fn read(fields: &Fields) -> Result<Self, String> {
        Ok(Self {
            force: fields.flag("force")?,
        })
    }
}

/// Whether a backend is put on standby although it is not safe.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StandbyQuery {
    /// Do it although it is not safe.
    #[param(required = false)]
    pub(super) force: bool,
    /// So many eligible backends are left, 1 to 1000, or it is refused; 1 unless said.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub(super) min_eligible: Option<u32>,
}

impl Ask for StandbyQuery {
    fn read(fields: &Fields) -> Result<Self, String> {
        Ok(Self {
            force: fields.flag("force")?,
            min_eligible: fields.text("min_eligible", min_eligible)?,
        })
    }
}

/// For how long a pool is paused, and how long the caller waits.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PauseQuery {
    /// After how long it resumes by itself, at most 24h; 60s unless said.
    #[param(value_type = Option<String>, example = "60s")]
    pub(super) ttl: Option<Duration>,
    /// How long it may take until no request is in flight, else the pool is resumed; 5s unless said. With
    /// 0: pause, and do not wait.
    #[param(value_type = Option<String>, example = "5s")]
    pub(super) wait: Option<Duration>,
}

impl Ask for PauseQuery {
    fn read(fields: &Fields) -> Result<Self, String> {
        Ok(Self {
            ttl: fields.text("ttl", ttl)?,
            wait: fields.text("wait", wait)?,
        })
    }
}

/// What changes of a backend.
#[derive(ToSchema)]
pub(super) struct WeightBody {
    /// Its share, 1 to 256.
    #[schema(value_type = u16, minimum = 1, maximum = 256)]
    pub(super) weight: Weight,
}

impl Ask for WeightBody {
    fn read(fields: &Fields) -> Result<Self, String> {
        let weight = fields.number("weight", Weight::new)?;
        Ok(Self {
            weight: fields.required("weight", weight)?,
        })
    }
}

/// Which events are followed, and from where.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Following {
    /// What came after this number is told first; `0`: everything that is kept. `NUMBER@BEGAN_MS`, both
    /// from the last event seen, is safe over a restart of the proxy, whose numbers begin at 1.
    /// From now on unless said here or in `Last-Event-ID`.
    #[param(value_type = Option<String>, example = "57")]
    pub(super) since: Option<Since>,
    /// Only the events of this pool.
    #[param(value_type = Option<String>, example = "web")]
    pub(super) pool: Option<PoolName>,
    /// Only the events of this backend of the pool: `ID`, whatever its generation, or `ID@GENERATION`.
    #[param(value_type = Option<String>, example = "a")]
    pub(super) backend: Option<BackendRef>,
}

impl Ask for Following {
    fn read(fields: &Fields) -> Result<Self, String> {
        let following = Self {
            since: fields.text("since", since)?,
            pool: fields.text("pool", PoolName::parse)?,
            backend: fields.text("backend", BackendRef::parse)?,
        };
        match following {
            Self {
                pool: None,
                backend: Some(_),
                ..
            } => Err("query.backend: found without pool (expected both)".to_owned()),
            _ => Ok(following),
        }
    }
}
