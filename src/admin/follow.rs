//! `GET /v1/events`: the ring of events as a stream of server-sent events.
//!
//! A follower pulls. Whenever its connection takes more, it is given the next events of a batch
//! ([`BATCH`]) that was read from the ring; when there is none it waits for a newer one or for the
//! listener's end. So one that does not read holds a batch and what the connection buffers, whatever
//! happens meanwhile, and holds up nobody.
//!
//! What always holds: numbers rise, and each number between the one asked for and the newest told was
//! told, left out by [`Only`], or covered by a `gap` that came before what follows it. A gap is told
//! when the ring no longer keeps the next number, at the begin or because the follower lagged
//! behind; and when the number asked for is of another numbering, which begins with each process.
//! A number alone can only be known as such when it is above the newest; `NUMBER@BEGAN_MS` always is.
//!
//! The stream begins with an `id` alone, the number it goes on from, so that a client that comes back
//! before its first event misses nothing; a comment every [`KEEP_ALIVE`] keeps it alive. It ends with
//! the listener ([`Stopping`]), after what is in the ring by then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::gate::FOLLOWERS_MAX;
use super::params::Since;
use super::record::{no_longer_kept, numbered_anew, record, unix_millis};
use super::reply::Reply;
use super::serve::Stopping;
use crate::events::{About, Events};
use crate::outcome::Outcome;
use crate::pool::model::BackendRef;
use crate::report::{Answer, EventRecord};
use crate::spec::PoolName;

/// The media type of the stream.
pub(super) const MEDIA: &str = "text/event-stream";

/// Events read from the ring at once: few enough that its lock is held for a moment only, and what a
/// follower holds that does not read.
const BATCH: usize = 64;

/// Between two comments when there is no event; half of what proxies and firewalls are patient for.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What one that came too late is told.
pub(super) fn crowded() -> Reply {
    let message = format!("{FOLLOWERS_MAX} others follow the events here already");
    let answer = Answer::new(Outcome::Error, message)
        .hint("end one of them (each `tidegate events` that runs is one), then ask again");
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Reply::with_status(status, "too many followers at once", answer)
}

/// The stream of a follower; its place is free again when the connection ends.
pub(super) fn answer(follower: Follower, place: OwnedSemaphorePermit) -> Response {
    let begin = sse::Event::default().id(follower.after.to_string());
    let begin = stream::once(async { Ok::<_, axum::Error>(begin) });
    let told = stream::unfold((follower, place), async |(mut follower, place)| {
        let record = follower.next().await?;
        Some((written(&record), (follower, place)))
    });
    let stream = stream::StreamExt::chain(begin, told);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(stream).keep_alive(keep_alive).into_response()
}

fn written(record: &EventRecord) -> Result<sse::Event, axum::Error> {
    sse::Event::default()
        .id(record.number.to_string())
        .event(record.what.name())
        .json_data(record)
}

/// Which events are told; gaps always are.
#[derive(Default)]
pub(super) struct Only {
    pub(super) pool: Option<PoolName>,
    pub(super) backend: Option<BackendRef>,
}

impl Only {
    fn takes(&self, about: &About) -> bool {
        let pool = self.pool.as_ref().map(PoolName::as_str);
        if pool.is_some() && pool != about.pool.as_deref() {
            return false;
        }
        self.backend.as_ref().is_none_or(|backend| {
            about.backend.as_deref() == Some(backend.id.as_str())
                && (backend.generation.is_none() || backend.generation == about.generation)
        })
    }
}

/// One who follows.
pub(super) struct Follower {
    events: Arc<Events>,
    newest: watch::Receiver<u64>,
    stopping: Stopping,
    only: Only,
    began_ms: u64,
    /// Every number up to this one was told, left out, or said to be missing.
    after: u64,
    /// What is to be told next; a batch and two gaps at most.
    ready: VecDeque<EventRecord>,
}

impl Follower {
    /// One who goes on from there; without a number from now.
    pub(super) fn new(
        events: Arc<Events>,
        since: Option<Since>,
        only: Only,
        stopping: Stopping,
    ) -> Self {
        let newest = events.follow();
        let began_ms = unix_millis(events.began());
        let (mut after, mut ready) = (*newest.borrow(), VecDeque::new());
        if let Some(Since {
            number,
            began_ms: of,
        }) = since
        {
            let is_other = number > after || of.is_some_and(|of| of != began_ms);
            after = if is_other { 0 } else { number };
            if is_other {
                ready.push_back(numbered_anew(number.saturating_add(1), began_ms));
            }
        }
        Self {
            events,
            newest,
            stopping,
            only,
            began_ms,
            after,
            ready,
        }
    }

    /// The next to be told; `None` when the listener ends.
    pub(super) async fn next(&mut self) -> Option<EventRecord> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            // Before the ring is read: what is emitted after the reading is a change then.
            self.newest.borrow_and_update();
            if self.read_on() {
                continue;
            }
            tokio::select! {
                biased;
                // No error: the sender is in `events`.
                _ = self.newest.changed() => {}
                () = self.stopping.begun() => return None,
            }
        }
    }

    /// Reads a batch; says whether there was anything.
    fn read_on(&mut self) -> bool {
        let batch = self.events.since(self.after, BATCH);
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return false;
        };
        let missing = self.after + 1..first.number;
        if !missing.is_empty() {
            let gap = no_longer_kept(missing.start, missing.end - 1, self.began_ms);
            self.ready.push_back(gap);
        }
        self.after = last.number;
        let told = batch.iter().filter(|event| self.only.takes(&event.about));
        let told = told.map(|event| record(event, self.began_ms));
        self.ready.extend(told);
        true
    }
}
