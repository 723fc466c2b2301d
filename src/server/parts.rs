//! What control is given from outside: the file read again, and names resolved.

use std::path::PathBuf;
use std::time::Duration;

use crate::admin::Tokens;
use crate::config::{self, Config};
use crate::control::{Rejected, Resolve, Resolving, Source};
use crate::spec::{Address, Target, Topology};

/// The longest that a name may take to resolve.
const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// Reads the configuration file again.
pub(super) struct ConfigSource {
    path: PathBuf,
    /// What the process was started with: what cannot change while it runs is compared with it.
    started: Config,
    /// Read again with the file, so that a token can be replaced without a restart.
    tokens: Option<Tokens>,
}

impl ConfigSource {
    pub(super) fn new(path: PathBuf, started: Config, tokens: Option<Tokens>) -> Self {
        Self {
            path,
            started,
            tokens,
        }
    }
}

impl Source for ConfigSource {
    fn read(&self) -> Result<(Topology, Vec<String>), Rejected> {
        let config = config::load(&self.path).map_err(|problems| Rejected {
            problems: problems.total,
            text: problems.to_string(),
        })?;
        if let Some(tokens) = &self.tokens {
            tokens.check().map_err(|text| Rejected {
                problems: 1,
                text: format!("admin.tokens: {text}"),
            })?;
        }
        let started = &self.started;
        let fixed = [
            ("workers", config.workers == started.workers),
            ("admin", config.admin == started.admin),
            ("metrics", config.metrics == started.metrics),
            ("state", config.state == started.state),
            ("log", config.log == started.log),
            (
                "shutdown",
                config.shutdown_timeout == started.shutdown_timeout,
            ),
            ("client", config.client == started.client),
            ("listeners", config.listeners == started.listeners),
        ];
        let mut warnings = config.warnings;
        warnings.extend(
            fixed
                .iter()
                .filter(|(_, same)| !same)
                .map(|(key, _)| format!("{key} has changed; that takes effect at the next start")),
        );
        Ok((config.topology, warnings))
    }

    fn applied(&self) {
        let reloaded = self.tokens.as_ref().map(Tokens::reload);
        if let Some(Err(text)) = reloaded {
            tracing::error!("admin.tokens: the old tokens stay: {text}");
        }
    }
}

/// Resolves names by the system's resolver.
pub(super) struct Resolver;

impl Resolve for Resolver {
    fn resolve<'a>(&'a self, address: &'a Address) -> Resolving<'a> {
        Box::pin(async move {
            let (host, port) = match address {
                Address::Unix(path) => return Ok(Target::Unix(path.clone())),
                Address::Tcp { host, port } => (host, *port),
            };
            let lookup = tokio::net::lookup_host((&**host, port));
            match tokio::time::timeout(RESOLVE_MAX, lookup).await {
                // The lowest, and not the first: resolvers change the order from answer to answer,
                // and a backend must not move with it.
                Ok(Ok(found)) => found
                    .min()
                    .map(Target::Tcp)
                    .ok_or_else(|| "the name has no address".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {RESOLVE_MAX:?}")),
            }
        })
    }
}
