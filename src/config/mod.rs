//! The configuration file: one YAML file in, one valid [`Config`] or all of its [`Problems`] out.
//!
//! Steps, each of which may end with problems: the bytes of the file, bounded ([`load`]); a tree of
//! values, bounded again (`node`); a typed reading of every section that collects what is wrong and
//! goes on (`reader`, `section`, and above them `daemon`, `pools`, `health`, `rollout` and `routes`); what one section says
//! of another (a route's pool, an address used twice). The known keys are listed in `keys`.
//!
//! What always holds: a `Config` that exists is valid and complete, with every default filled in;
//! a file is judged by itself, without looking at groups, folders, free ports or names in the DNS;
//! no bytes whatever make this module panic or run for long.
//!
//! `server` loads at start and reload, `cli check` prints the same problems. Whether a change can be
//! applied to what is running is left to them and to `control`.

mod daemon;
mod health;
mod keys;
mod load;
mod node;
mod pools;
mod problems;
mod reader;
mod rollout;
mod routes;
mod section;
mod settings;
mod units;

#[cfg(test)]
mod tests;

pub use daemon::{ADMIN_TOKENS_MAX, LISTENERS_MAX, TRUSTED_PROXIES_MAX, WORKERS_MAX};
pub use health::STATUSES_MAX;
pub use load::{CONFIG_BYTES_MAX, load, parse};
pub use node::VALUES_MAX;
pub use pools::{BACKENDS_MAX, POOLS_MAX};
pub use problems::{PROBLEMS_SHOWN_MAX, Problem, Problems};
pub use routes::ROUTES_MAX;
pub use settings::{AdminConfig, Config, Format, Level, LogConfig, TcpAdmin, TokenFile};
pub use units::{DURATION_MAX, format_duration, format_size, parse_duration, parse_size};
