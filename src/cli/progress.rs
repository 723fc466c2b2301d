//! What is shown while an answer is waited for: on a terminal one line that changes each second and
//! goes at the end; elsewhere a plain line every ten seconds. Words, so it goes to stderr.

mod rollout;

use std::pin::pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::Console;
use super::calls::{Call, Watched, path};
use super::render::{held, time};
use super::tree::Place;
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
    let Some(watched) = &call.watched else {
        return client.ask(&call.ask).await.map_err(Stopped::Unreachable);
    };
    let every = console.progress_every;
    let begun = Instant::now();
    let mut ticks = interval_at(begun + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = rollout::Watch::default();
    let mut answer = pin!(client.ask(&call.ask));
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let answer = loop {
        let looked = async {
            ticks.tick().await;
            let look = async {
                match watched {
                    Watched::Backend(place) => look(client, place).await,
                    Watched::Rollout(pool) => watch.look(client, pool).await,
                }
            };
            timeout(LOOK_TIMEOUT, look).await.ok().flatten()
        };
        tokio::select! {
            biased;
            answer = &mut answer => break answer.map_err(Stopped::Unreachable),
            _ = &mut interrupted => break Err(Stopped::Interrupted),
            state = looked => {
                let waited = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let state = state.unwrap_or_else(|| "waiting".to_owned());
                console.progress(&format!("{watched}: {state}, {}", time(waited)));
            }
        }
    };
    console.end_progress();
    answer
}

/// The state of a backend; `None` if it is not known.
async fn look(client: &Client, place: &Place) -> Option<String> {
    let document = client.ask(&Ask::get(path(place))).await.ok()?;
    let backend = serde_json::from_value::<Answer>(document).ok()?.backend?;
    Some(match backend.intent.as_str() {
        "draining" if backend.drained => "drained".to_owned(),
        "draining" => format!("draining, {} left", held(&backend)),
        intent => format!("{intent}, {}", health(&backend)),
    })
}

/// Its health, with what the last probe saw if it failed.
fn health(backend: &BackendStatus) -> String {
    match &backend.last_probe {
        Some(probe) if !probe.good => {
            format!("{} (last probe: {})", backend.health, probe.detail)
        }
        _ => backend.health.clone(),
    }
}
