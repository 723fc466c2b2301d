//! The numbered ring of everything that changed.
//!
//! Anyone may emit; nothing of ours is known here. [`Events::emit`] gives an event its number,
//! keeps the last [`EVENTS_MAX`] of them, writes the one log line of the change and wakes those who
//! follow. Numbers begin at 1 with each process and have no gaps, so a follower that finds the
//! oldest kept number above the one it asked for knows that it missed some; [`Events::began`] tells
//! the numbers of one process from those of the next.
//!
//! A follower pulls: it takes the receiver of [`Events::follow`], marks it as seen, reads
//! [`Events::since`] what it has not read, and waits for a change of the receiver. In this order no
//! event is missed, and one who does not read costs nothing. The lock is held to put one event in or
//! to take a few references out, never while somebody is told.
//!
//! The metrics of drains are made from events ([`Events::observe`]), so that a change is told once
//! and counted, logged and streamed from that one telling.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// Events kept for replay. At a hundred changes a deploy this is some forty deploys; about 1 MiB.
pub const EVENTS_MAX: usize = 4096;

/// What happened. Names are plain text here: this module knows none of our types.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A backend came into a pool.
    Added {
        /// As the operator wrote it.
        address: String,
        /// Its first intent.
        intent: &'static str,
    },
    /// A backend was forgotten.
    Removed,
    /// The operator's intent changed.
    IntentChanged {
        /// Before.
        from: &'static str,
        /// After.
        to: &'static str,
    },
    /// The probes' verdict changed.
    HealthChanged {
        /// Before.
        from: &'static str,
        /// After.
        to: &'static str,
        /// What the deciding probe saw.
        cause: String,
    },
    /// A weight changed.
    WeightChanged {
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// A drain began.
    DrainBegun {
        /// In flight at that moment.
        requests: u32,
        /// In flight at that moment.
        tunnels: u32,
    },
    /// A drain goes on, with less or more in flight than was told last.
    DrainProgress {
        /// In flight now.
        requests: u32,
        /// In flight now.
        tunnels: u32,
        /// Since its begin.
        took: Duration,
    },
    /// A drain ended.
    DrainEnded {
        /// A word of the table of outcomes.
        outcome: &'static str,
        /// From its begin.
        took: Duration,
        /// Requests that were cut.
        cut_requests: u32,
        /// Tunnels that were cut.
        cut_tunnels: u32,
    },
    /// The operator cut what was in flight.
    Closed {
        /// Requests that were cut.
        requests: u32,
        /// Tunnels that were cut.
        tunnels: u32,
    },
    /// A rollout began.
    RolloutBegun {
        /// Its number in the pool.
        rollout: u64,
        /// `rollout` or `rollback`.
        kind: &'static str,
        /// The ids of those that come.
        added: Vec<String>,
        /// The ids of those that go.
        replaced: Vec<String>,
    },
    /// A rollout went on to its next phase, or its canary got another share.
    RolloutPhase {
        /// Its number in the pool.
        rollout: u64,
        /// `canary` or `bake`.
        phase: &'static str,
        /// Of a canary, such as "10%".
        share: Option<String>,
    },
    /// A rollout was decided: who serves now will go on to serve.
    RolloutDecided {
        /// Its number in the pool.
        rollout: u64,
        /// `moved`, `failed`, `reverted` or `aborted`.
        decided: &'static str,
        /// In words.
        cause: String,
        /// From its begin.
        took: Duration,
    },
    /// Those that a rollout took out have all ended.
    RolloutEnded {
        /// Its number in the pool.
        rollout: u64,
        /// `clean`, `forced`, `restored`, `standby` or `none`.
        taken_out: &'static str,
    },
    /// A pool holds its requests from now on.
    Paused {
        /// After so long it resumes by itself.
        ttl: Duration,
    },
    /// A pool lets its requests go.
    Resumed {
        /// `asked`, `ttl` (its time was over), `in_flight` (requests did not end in time) or `leaving`
        /// (the file no longer names it).
        cause: &'static str,
        /// Requests that were held then.
        held: usize,
    },
    /// The configuration was read again and applied.
    Reloaded {
        /// In words, such as "2 backends added, 1 drained".
        summary: String,
    },
    /// The configuration was read again and refused; nothing changed.
    ReloadRejected {
        /// How many problems it had.
        problems: usize,
    },
}

impl Happening {
    /// The event's name in logs and streams.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Added { .. } => "added",
            Self::Removed => "removed",
            Self::IntentChanged { .. } => "intent_changed",
            Self::HealthChanged { .. } => "health_changed",
            Self::WeightChanged { .. } => "weight_changed",
            Self::DrainBegun { .. } => "drain_begun",
            Self::DrainProgress { .. } => "drain_progress",
            Self::DrainEnded { .. } => "drain_ended",
            Self::Closed { .. } => "closed",
            Self::RolloutBegun { .. } => "rollout_begun",
            Self::RolloutPhase { .. } => "rollout_phase",
            Self::RolloutDecided { .. } => "rollout_decided",
            Self::RolloutEnded { .. } => "rollout_ended",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadRejected { .. } => "reload_rejected",
        }
    }

    /// What is particular to it, as `key=value` pairs for people.
    fn detail(&self) -> String {
        match self {
            Self::Added { address, intent } => format!("address={address} intent={intent}"),
            Self::Removed => String::new(),
            Self::IntentChanged { from, to } => format!("from={from} to={to}"),
            Self::HealthChanged { from, to, cause } => {
                format!("from={from} to={to} cause={cause:?}")
            }
            Self::WeightChanged { from, to } => format!("from={from} to={to}"),
            Self::DrainBegun { requests, tunnels } => {
                format!("requests={requests} tunnels={tunnels}")
            }
            Self::DrainProgress {
                requests,
                tunnels,
                took,
            } => format!("requests={requests} tunnels={tunnels} took={took:?}"),
            Self::DrainEnded {
                outcome,
                took,
                cut_requests,
                cut_tunnels,
            } => format!(
                "outcome={outcome} took={took:?} cut_requests={cut_requests} cut_tunnels={cut_tunnels}"
            ),
            Self::Closed { requests, tunnels } => format!("requests={requests} tunnels={tunnels}"),
            Self::RolloutBegun {
                rollout,
                kind,
                added,
                replaced,
            } => {
                let (added, replaced) = (added.join(","), replaced.join(","));
                format!("rollout={rollout} kind={kind} added={added} replaced={replaced}")
            }
            Self::RolloutPhase {
                rollout,
                phase,
                share,
            } => match share {
                Some(share) => format!("rollout={rollout} phase={phase} share={share}"),
                None => format!("rollout={rollout} phase={phase}"),
            },
            Self::RolloutDecided {
                rollout,
                decided,
                cause,
                took,
            } => format!("rollout={rollout} decided={decided} took={took:?} cause={cause:?}"),
            Self::RolloutEnded { rollout, taken_out } => {
                format!("rollout={rollout} taken_out={taken_out}")
            }
            Self::Paused { ttl } => format!("ttl={ttl:?}"),
            Self::Resumed { cause, held } => format!("cause={cause} held={held}"),
            Self::Reloaded { summary } => format!("summary={summary:?}"),
            Self::ReloadRejected { problems } => format!("problems={problems}"),
        }
    }
}

/// Whom an event is about and who caused it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// The pool.
    pub pool: Option<String>,
    /// The backend's id.
    pub backend: Option<String>,
    /// The backend's generation.
    pub generation: Option<u64>,
    /// A peer uid or token name; `None` when the proxy acted by itself.
    pub actor: Option<String>,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Counts from 1 without gaps.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// Whom it is about.
    pub about: About,
    /// What happened.
    pub happening: Happening,
}

type Observer = Box<dyn Fn(&Event) + Send + Sync>;

/// The ring.
pub struct Events {
    began: SystemTime,
    ring: Mutex<Ring>,
    /// The number of the newest event; set under the ring's lock, so that it never goes back.
    newest: watch::Sender<u64>,
    observer: OnceLock<Observer>,
}

struct Ring {
    kept: VecDeque<Arc<Event>>,
    next: u64,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    /// An empty ring.
    pub fn new() -> Self {
        Self {
            began: SystemTime::now(),
            ring: Mutex::new(Ring {
                kept: VecDeque::new(),
                next: 1,
            }),
            newest: watch::Sender::new(0),
            observer: OnceLock::new(),
        }
    }

    /// When the numbering began. Together with it a number is never given twice.
    pub fn began(&self) -> SystemTime {
        self.began
    }

    /// Has every later event shown to `observer`, inside [`Events::emit`]. Only the first call counts.
    pub fn observe(&self, observer: impl Fn(&Event) + Send + Sync + 'static) {
        let _ = self.observer.set(Box::new(observer));
    }

    /// Numbers, keeps, logs and tells an event.
    pub fn emit(&self, about: About, happening: Happening) {
        let event = {
            let mut ring = self.ring.lock().expect("event ring lock");
            let event = Arc::new(Event {
                number: ring.next,
                at: SystemTime::now(),
                about,
                happening,
            });
            ring.next += 1;
            if ring.kept.len() == EVENTS_MAX {
                ring.kept.pop_front();
            }
            ring.kept.push_back(Arc::clone(&event));
            self.newest.send_replace(event.number);
            event
        };
        log(&event);
        if let Some(observer) = self.observer.get() {
            observer(&event);
        }
    }

    /// The kept events with a number above `after`, oldest first, at most `limit`.
    pub fn since(&self, after: u64, limit: usize) -> Vec<Arc<Event>> {
        let ring = self.ring.lock().expect("event ring lock");
        let oldest = ring.next - ring.kept.len() as u64;
        let skip = after.saturating_add(1).saturating_sub(oldest);
        let from = usize::try_from(skip).map_or(ring.kept.len(), |skip| skip.min(ring.kept.len()));
        let to = from.saturating_add(limit).min(ring.kept.len());
        ring.kept.range(from..to).cloned().collect()
    }

    /// Follows the number of the newest event.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

fn log(event: &Event) {
    let about = &event.about;
    let backend = match (&about.pool, &about.backend, about.generation) {
        (Some(pool), Some(id), Some(generation)) => format!("{pool}/{id}@{generation}"),
        (Some(pool), _, _) => pool.clone(),
        _ => "-".to_owned(),
    };
    tracing::info!(
        target: "tidegate::event",
        event = event.happening.name(),
        number = event.number,
        backend,
        actor = about.actor.as_deref().unwrap_or("-"),
        detail = event.happening.detail(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replay_gives_what_came_after_a_number_and_no_more_than_is_kept() {
        let events = Events::new();
        for _ in 0..EVENTS_MAX + 10 {
            events.emit(About::default(), Happening::Removed);
        }
        let newest = (EVENTS_MAX + 10) as u64;
        assert_eq!(*events.follow().borrow(), newest);
        let numbers = |after| -> Vec<u64> {
            let list = events.since(after, 3);
            list.iter().map(|event| event.number).collect()
        };
        assert_eq!(numbers(newest - 2), [newest - 1, newest]);
        assert_eq!(numbers(newest), Vec::<u64>::new());
        assert_eq!(numbers(newest + 5), Vec::<u64>::new());
        // A debug build panicked here, a release build gave everything.
        assert_eq!(numbers(u64::MAX), Vec::<u64>::new());
        assert_eq!(numbers(0), [11, 12, 13]);
        assert_eq!(events.since(0, usize::MAX).len(), EVENTS_MAX);
    }

    #[test]
    fn numbers_have_no_gaps_whoever_emits_and_no_follower_misses_a_wake_up() {
        const EMITTERS: u64 = 4;
        const EACH: u64 = 5000;
        let events = Events::new();
        let follow = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let mut newest = events.follow();
            let mut last = 0;
            runtime.unwrap().block_on(async {
                while last < EMITTERS * EACH {
                    newest.borrow_and_update();
                    let list = events.since(last, 64);
                    if list.is_empty() {
                        // Without an end if a wake-up were lost: the last event is told only once.
                        newest.changed().await.unwrap();
                        continue;
                    }
                    let oldest = list[0].number;
                    assert!(oldest > last, "{oldest} after {last}");
                    for (event, number) in list.iter().zip(oldest..) {
                        assert_eq!(event.number, number);
                    }
                    last = list.last().unwrap().number;
                }
            });
            last
        };
        std::thread::scope(|scope| {
            let followers = [scope.spawn(follow), scope.spawn(follow)];
            for _ in 0..EMITTERS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        events.emit(About::default(), Happening::Removed);
                    }
                });
            }
            for follower in followers {
                assert_eq!(follower.join().unwrap(), EMITTERS * EACH);
            }
        });
    }
}
