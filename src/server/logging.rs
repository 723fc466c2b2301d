//! Logs: operator's lines on stderr, the access log as JSON lines on stdout.
//!
//! pingora logs through `log` and calls client errors errors; its lines are let through only where
//! they speak of the proxy itself.

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::{Format, LogConfig};

const ACCESS: &str = "tidegate::access";

/// Installs the subscriber for the whole process. `TIDEGATE_LOG` overrides the level, in the
/// syntax of `tracing_subscriber::EnvFilter`.
pub(super) fn init(config: &LogConfig) -> Result<(), String> {
    let level = config.level.as_str();
    let default = format!(
        "{level},pingora_core=error,pingora_core::connectors=off,pingora_proxy=off,{ACCESS}=off"
    );
    let filter = match std::env::var("TIDEGATE_LOG") {
        Ok(text) => EnvFilter::try_new(format!("{text},{ACCESS}=off"))
            .map_err(|error| format!("TIDEGATE_LOG: {error}"))?,
        Err(_) => EnvFilter::try_new(default).map_err(|error| error.to_string())?,
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Text => lines.with_ansi(false).boxed(),
    };
    let access = config.access.then(|| {
        fmt::layer()
            .json()
            .flatten_event(true)
            .with_level(false)
            .with_target(false)
            .with_writer(std::io::stdout)
            .with_filter(Targets::new().with_target(ACCESS, LevelFilter::INFO))
    });
    let subscriber = tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(access);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    tracing_log::LogTracer::builder()
        .with_max_level(tracing_log::log::LevelFilter::Warn)
        .init()
        .map_err(|error| error.to_string())
}
