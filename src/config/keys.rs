//! Every key that a configuration may have: the shape of the file at a glance.
//!
//! The order is that of `config/tidegate.yaml` and of the lists in problems. What each key means is
//! in `config/README.md`; tests hold both files against [`SECTIONS`].

type Keys = &'static [&'static str];

pub(super) const ROOT: Keys = &[
    "workers",
    "admin",
    "metrics",
    "state",
    "log",
    "shutdown",
    "client",
    "listeners",
    "pools",
    "routes",
];
pub(super) const ADMIN: Keys = &["socket", "group", "address", "tokens"];
pub(super) const TOKEN: Keys = &["name", "file"];
pub(super) const METRICS: Keys = &["address"];
pub(super) const STATE: Keys = &["file"];
pub(super) const LOG: Keys = &["format", "level", "access"];
pub(super) const SHUTDOWN: Keys = &["timeout"];
pub(super) const CLIENT: Keys = &[
    "head_timeout",
    "body_idle",
    "keep_alive",
    "connections_max",
    "head_size",
    "head_fields",
    "target_size",
    "trusted_proxies",
];
pub(super) const LISTENER: Keys = &["address"];
pub(super) const POOL: Keys = &[
    "balance", "backends", "health", "drain", "hold", "timeouts", "rollout",
];
pub(super) const BACKEND: Keys = &["id", "address", "weight"];
pub(super) const HEALTH: Keys = &[
    "http", "tcp", "host", "statuses", "interval", "timeout", "rise", "fall",
];
pub(super) const DRAIN: Keys = &["wait", "timeout", "on_timeout", "idle_timeout", "tunnels"];
pub(super) const TUNNELS: Keys = &["close_after", "spread"];
pub(super) const HOLD: Keys = &["timeout", "max_requests"];
pub(super) const TIMEOUTS: Keys = &[
    "connect",
    "response_head",
    "body_idle",
    "tunnel_idle",
    "upstream_idle",
];
pub(super) const ROLLOUT: Keys = &[
    "min_healthy_time",
    "healthy_deadline",
    "bake",
    "auto_revert",
    "min_requests",
    "error_margin",
    "sticky",
];
pub(super) const ROUTE: Keys = &["host", "path", "pool"];

/// Each section by its path; `*` is any name, `[]` any item.
#[cfg(test)]
pub(super) const SECTIONS: &[(&str, Keys)] = &[
    ("", ROOT),
    ("admin", ADMIN),
    ("admin.tokens[]", TOKEN),
    ("metrics", METRICS),
    ("state", STATE),
    ("log", LOG),
    ("shutdown", SHUTDOWN),
    ("client", CLIENT),
    ("listeners[]", LISTENER),
    ("pools.*", POOL),
    ("pools.*.backends[]", BACKEND),
    ("pools.*.health", HEALTH),
    ("pools.*.drain", DRAIN),
    ("pools.*.drain.tunnels", TUNNELS),
    ("pools.*.hold", HOLD),
    ("pools.*.timeouts", TIMEOUTS),
    ("pools.*.rollout", ROLLOUT),
    ("routes[]", ROUTE),
];
