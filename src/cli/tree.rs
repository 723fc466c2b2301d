//! What can be typed: the verbs, their options and examples. Values are checked here, before anything
//! is sent; they are sent as they were typed.

mod rollouts;

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::admin::client::Endpoint;
use crate::admin::params;
use crate::pool::model::BackendRef;
use crate::spec::{Address, BackendId, Invalid, PoolName, Weight};

pub(super) use rollouts::{Canary, History, InPool, Replacing, Rollback, Rollout};

/// Where the admin API is unless told.
const ADMIN_DEFAULT: &str = "unix:/run/tidegate/admin.sock";

const EXAMPLES: &str = "\
Examples:
  tidegate add web/v2 127.0.0.1:8082     add an instance, wait until it is healthy
  tidegate drain web/v1 && kill $PID     take the old one out; exit 0 means safe to kill
  tidegate rollout web --add v2=127.0.0.1:8082 --replace all
                                         or all of it in one, and back if v2 does badly
  tidegate status --watch                see what each holds

Exit codes:
  0  done; for a drain: safe to kill       5  refused, failed, or unknown
  1  unexpected                            6  not yet: the wait is over, it goes on
  2  usage                                 7  forced: something was cut; safe to kill
  3  configuration rejected                8  restored: somebody brought it back
  4  proxy unreachable                     9  not authorised";

/// A reverse proxy for zero-downtime deploys: it says when an old instance is safe to kill.
#[derive(Parser, Debug)]
#[command(name = "tidegate", version, max_term_width = 100, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Tree {
    #[command(subcommand)]
    pub(super) verb: Verb,
    #[command(flatten)]
    pub(super) everywhere: Everywhere,
}

/// Options of every verb.
#[derive(Args, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Everywhere {
    /// Where the admin API is: unix:/path, /path or http://host:port
    #[arg(long, global = true, env = "TIDEGATE_ADMIN", hide_env_values = true)]
    #[arg(default_value = ADMIN_DEFAULT, value_parser = Endpoint::parse)]
    pub(super) admin: Endpoint,
    /// File with the token for http://
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = "TIDEGATE_TOKEN_FILE", hide_env_values = true)]
    pub(super) token_file: Option<PathBuf>,
    /// One JSON document on stdout, words on stderr
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    /// Run the proxy in the foreground
    #[command(after_help = "Example:\n  tidegate run -c /etc/tidegate/tidegate.yaml")]
    Run(ConfigFile),
    /// Say every problem of a configuration file
    #[command(after_help = "Example:\n  tidegate check -c tidegate.yaml || exit 1")]
    Check(ConfigFile),
    /// Show pools and backends: intent, health, what each holds
    #[command(after_help = "\
Examples:
  tidegate status
  tidegate status web --watch
  tidegate status web/a --json | jq .backend.requests")]
    Status {
        /// A pool, or one of its backends
        #[arg(value_name = "POOL[/ID]", value_parser = Place::parse)]
        place: Option<Place>,
        /// Show again each second until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Add a backend and wait until it is healthy, else it is removed again
    #[command(after_help = "\
Examples:
  tidegate add web/v2 127.0.0.1:8082
  tidegate add web/v2 unix:/run/app/v2.sock --standby --wait 2m")]
    Add {
        /// Pool, and an id that is new in it
        #[arg(value_name = "POOL/ID", value_parser = NewAt::parse)]
        at: NewAt,
        /// host:port, [v6]:port or unix:/path
        #[arg(value_name = "ADDRESS", value_parser = Address::parse)]
        address: Address,
        /// Keep it warm and probed, without traffic
        #[arg(long)]
        standby: bool,
        /// Its share, 1 to 256
        #[arg(long, value_name = "N", value_parser = weight)]
        weight: Option<Weight>,
        #[command(flatten)]
        wait: WaitOrNot,
    },
    /// Take a backend out of rotation and wait until it is safe to kill
    #[command(after_help = "\
Examples:
  tidegate drain web/v1 && systemctl stop app@v1
  tidegate drain web/v1 --wait 5m --timeout 4m --on-timeout close
  tidegate drain web/v1 --close-after never --no-wait")]
    Drain {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        wait: WaitOrNot,
        #[command(flatten)]
        clocks: DrainClocks,
        /// Also the last eligible one, or one that is live in another pool too
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        least: Least,
    },
    /// Make a backend active: promote a standby, take a draining one back
    #[command(after_help = "Example:\n  tidegate ready web/v1")]
    Ready {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        wait: WaitOrNot,
    },
    /// Take a backend out of rotation but keep it warm and probed
    #[command(after_help = "Example:\n  tidegate standby web/v1")]
    Standby {
        #[command(flatten)]
        at: At,
        /// Also the last eligible one
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        least: Least,
    },
    /// Cut what a draining or standby backend still holds
    #[command(after_help = "Example:\n  tidegate close web/v1")]
    Close {
        #[command(flatten)]
        at: At,
        /// How long to wait until what was cut is gone
        #[arg(long, value_name = "DURATION", value_parser = checked(params::wait))]
        wait: Option<String>,
    },
    /// Forget a drained or never used backend
    #[command(after_help = "\
Examples:
  tidegate remove web/v1
  tidegate remove web/v1@7 --force")]
    Remove {
        #[command(flatten)]
        at: At,
        /// Cut what it holds first
        #[arg(long)]
        force: bool,
    },
    /// Set the share of a backend
    #[command(after_help = "Example:\n  tidegate weight web/v2 10")]
    Weight {
        #[command(flatten)]
        at: At,
        /// 1 to 256
        #[arg(value_name = "N", value_parser = weight)]
        weight: Weight,
    },
    /// Wait until a backend is healthy or drained
    #[command(after_help = "Example:\n  tidegate wait web/v2 --for healthy --wait 2m")]
    Wait {
        #[command(flatten)]
        at: At,
        /// What to wait for
        #[arg(long = "for", value_enum, value_name = "WHAT")]
        what: For,
        /// How long at most; 60s unless said
        #[arg(long, value_name = "DURATION", value_parser = checked(params::wait))]
        wait: Option<String>,
    },
    /// Move a pool to new backends as one step, or leave it as it was
    #[command(after_help = rollouts::ROLLOUT_EXAMPLES)]
    Rollout(Box<Rollout>),
    /// Change the share of an open canary
    #[command(after_help = rollouts::CANARY_EXAMPLES)]
    Canary(Canary),
    /// Give an open canary all of the traffic, then drain the old ones
    #[command(after_help = rollouts::PROMOTE_EXAMPLES)]
    Promote(InPool),
    /// Take back what is under way, or bring back the set before the last rollout
    #[command(after_help = rollouts::ROLLBACK_EXAMPLES)]
    Rollback(Rollback),
    /// End a rollout under way the safe way: the old ones serve
    #[command(after_help = rollouts::ABORT_EXAMPLES)]
    Abort(InPool),
    /// Show the rollouts of a pool, the newest first
    #[command(after_help = rollouts::HISTORY_EXAMPLES)]
    History(History),
    /// Hold the requests of a pool, and wait until none is in flight
    #[command(after_help = "\
Examples:
  tidegate pause web && tidegate drain web/a --force --close-after 0s --spread 0s
  tidegate pause web --ttl 2m --wait 30s

It resumes by itself after the --ttl, and at once if a request is still in flight after the --wait (exit 6).
WebSockets and other tunnels go on and do not count.")]
    Pause {
        /// The pool
        #[arg(value_name = "POOL", value_parser = PoolName::parse)]
        pool: PoolName,
        /// After how long it resumes by itself, at most 24h; 60s unless said
        #[arg(long, value_name = "DURATION", value_parser = checked(params::ttl))]
        ttl: Option<String>,
        #[command(flatten)]
        wait: WaitOrNot,
    },
    /// Let the held requests of a paused pool go on, in the order they came
    #[command(after_help = "Example:\n  tidegate resume web")]
    Resume {
        /// The pool
        #[arg(value_name = "POOL", value_parser = PoolName::parse)]
        pool: PoolName,
    },
    /// Follow every change: intent, health, drains from begin to end
    #[command(after_help = "\
Examples:
  tidegate events
  tidegate events web/v1 --since 0
  tidegate events --json | jq 'select(.event == \"drain_ended\")'

One line an event: time (UTC), number, name, backend, particulars, who asked for it. With --json one
JSON document a line. It ends when the proxy stops (exit 4) or when nobody reads it any more (exit 0).")]
    Events {
        /// Only those of a pool, or of one of its backends
        #[arg(value_name = "POOL[/ID]", value_parser = Place::parse)]
        place: Option<Place>,
        /// Tell first what came after this number (0: everything kept); from now on unless said
        #[arg(long, value_name = "N[@BEGAN]", value_parser = checked(params::since))]
        since: Option<String>,
    },
    /// Read the configuration file again, all or nothing
    #[command(after_help = "Example:\n  tidegate reload")]
    Reload,
    /// Write the script by which a shell completes what is typed
    #[command(after_help = "\
Examples:
  tidegate completions bash > /etc/bash_completion.d/tidegate
  tidegate completions zsh > ~/.zfunc/_tidegate
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish")]
    Completions {
        /// For which shell
        #[arg(value_enum, value_name = "SHELL")]
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(super) struct ConfigFile {
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) file: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct WaitOrNot {
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", value_parser = checked(params::wait))]
    wait: Option<String>,
    /// Begin only
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

impl WaitOrNot {
    /// The value to send, if one was said.
    pub(super) fn as_sent(&self) -> Option<String> {
        match self.no_wait {
            true => Some("0s".to_owned()),
            false => self.wait.clone(),
        }
    }
}

/// How a drain differs from its pool's defaults.
#[derive(Args, Debug)]
#[command(next_help_heading = "Clocks of the drain")]
pub(super) struct DrainClocks {
    /// How long the drain may take before --on-timeout decides
    #[arg(long, value_name = "DURATION", value_parser = checked(params::clock))]
    pub(super) timeout: Option<String>,
    /// What then happens to what is left
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(super) on_timeout: Option<OnTimeout>,
    /// An exchange without a byte for so long is treated the same
    #[arg(long, value_name = "DURATION", value_parser = checked(params::clock))]
    pub(super) idle_timeout: Option<String>,
    /// When the closing of tunnels begins, or never
    #[arg(long, value_name = "DURATION", value_parser = checked(params::clock_or_never))]
    pub(super) close_after: Option<String>,
    /// The window over which tunnels are closed one after another
    #[arg(long, value_name = "DURATION", value_parser = checked(params::clock))]
    pub(super) spread: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct Least {
    /// Refuse if fewer eligible backends would be left; 1 unless said
    #[arg(long, value_name = "N", value_parser = params::min_eligible)]
    min_eligible: Option<u32>,
}

impl Least {
    /// The value to send, if one was said.
    pub(super) fn as_sent(&self) -> Option<String> {
        self.min_eligible.map(|number| number.to_string())
    }
}

#[derive(Args, Debug)]
pub(super) struct At {
    /// Pool and backend: the live one of an id, or ID@GENERATION
    #[arg(value_name = "POOL/ID", value_parser = backend)]
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OnTimeout {
    /// The drain goes on
    Keep,
    /// What is left is cut
    Close,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum For {
    /// Its probes are good
    Healthy,
    /// It is safe to kill
    Drained,
}

/// A pool, or a backend in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) pool: PoolName,
    pub(super) backend: Option<BackendRef>,
}

impl Place {
    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.split_once('/') {
            None => Ok(Self {
                pool: PoolName::parse(text)?,
                backend: None,
            }),
            Some((pool, backend)) => Ok(Self {
                pool: PoolName::parse(pool)?,
                backend: Some(BackendRef::parse(backend)?),
            }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pool)?;
        match &self.backend {
            None => Ok(()),
            Some(BackendRef { id, generation }) => {
                write!(f, "/{id}")?;
                generation.map_or(Ok(()), |generation| write!(f, "@{generation}"))
            }
        }
    }
}

fn backend(text: &str) -> Result<Place, Invalid> {
    let place = Place::parse(text)?;
    match place.backend {
        Some(_) => Ok(place),
        None => Err(Invalid("POOL/ID, such as web/a".to_owned())),
    }
}

/// A backend that is to be added; it has no generation yet.
#[derive(Clone, Debug)]
pub(super) struct NewAt {
    pub(super) pool: PoolName,
    pub(super) id: BackendId,
}

impl NewAt {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let parts = text.split_once('/');
        let (pool, id) = parts.ok_or_else(|| Invalid("POOL/ID, such as web/a".to_owned()))?;
        Ok(Self {
            pool: PoolName::parse(pool)?,
            id: BackendId::parse(id)?,
        })
    }
}

fn weight(text: &str) -> Result<Weight, Invalid> {
    Weight::new(text.parse().unwrap_or(0))
}

/// A text that `read` takes; it is sent as it is.
fn checked<T>(
    read: fn(&str) -> Result<T, Invalid>,
) -> impl Fn(&str) -> Result<String, Invalid> + Clone + Send + Sync + 'static
where
    T: 'static,
{
    move |text| read(text).map(|_| text.to_owned())
}
