//! What is shown while an answer is waited for: on a terminal one line that changes each second and
//! goes at the end; elsewhere a plain line every ten seconds. Words, so it goes to stderr.

use std::pin::pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Console;
use super::calls::{Call, path};
use super::render::{held, time};
use crate::admin::client::{Ask, Client, Unreachable};
use crate::report::{Answer, BackendStatus};

/// Between two looks when a person watches.
pub(super) const ON_TERMINAL: Duration = Duration::from_secs(1);

/// Between two lines in a log.
pub(super) const IN_LOG: Duration = Duration::from_secs(10);

/// How long a look may take; the next one comes anyway.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How waiting ended without an answer.
pub(super) enum Stopped {
    /// Nobody answered.
    Unreachable(Unreachable),
    /// The person had enough of it.
    Interrupted,
}

/// Asks, and shows what is left while the answer is not there.
pub(super) async fn ask(
    client: &Client,
    call: &Call,
    console: &mut Console<'_>,
) -> Result<Value, Stopped> {
    let Some(place) = &call.watched else {
        return client.ask(&call.ask).await.map_err(Stopped::Unreachable);
    };
    let every = console.progress_every;
    let begun = Instant::now();
    let mut ticks = interval_at(begun + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let look = Ask::get(path(place));
    let mut answer = pin!(client.ask(&call.ask));
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let answer = loop {
        let looked = async {
            ticks.tick().await;
            timeout(LOOK_TIMEOUT, client.ask(&look)).await
        };
        tokio::select! {
            biased;
            answer = &mut answer => break answer.map_err(Stopped::Unreachable),
            _ = &mut interrupted => break Err(Stopped::Interrupted),
            looked = looked => {
                let backend = match looked {
                    Ok(Ok(document)) => backend_of(document),
                    _ => None,
                };
                let waited = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let state = backend.as_ref().map_or_else(|| "waiting".to_owned(), state);
                console.progress(&format!("{place}: {state}, {}", time(waited)));
            }
        }
    };
    console.end_progress();
    answer
}

fn backend_of(document: Value) -> Option<BackendStatus> {
    serde_json::from_value::<Answer>(document).ok()?.backend
}

fn state(backend: &BackendStatus) -> String {
    match backend.intent.as_str() {
        "draining" if backend.drained => "drained".to_owned(),
        "draining" => format!("draining, {} left", held(backend)),
        intent => match &backend.last_probe {
            Some(probe) if !probe.good => {
                format!(
                    "{intent}, {} (last probe: {})",
                    backend.health, probe.detail
                )
            }
            _ => format!("{intent}, {}", backend.health),
        },
    }
}
