//! One drain of one generation: its clocks, its cuts and its end.
//!
//! States: *running* until the word is sealed (*drained*, clean or forced) or the gate was opened
//! again (*restored*). A [`Drain`] owns one task that waits for the word to become idle and, beside
//! it, for the next clock; nobody's patience is involved: callers wait on [`Drain::ended`] as long
//! as they like and may go away.
//!
//! What always holds:
//! - The end is pushed: the release that leaves the word idle wakes the task, which seals at once.
//! - It ends as drained only with the word sealed, so a restore cannot come between the end and
//!   its being told ([`crate::backend::Word`] decides which of the two wins).
//! - Before the seal no probe is under way and none will begin, and no idle connection is left.
//! - A later call may only tighten the clocks.
//!
//! Who calls it: [`crate::control`] begins, tightens, closes and restores. It knows neither the
//! model nor the snapshot nor events; what is to happen on the way and after the end is given to it.
//! What was cut is counted by the backend ([`Cuts`]), where the cut took effect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::backend::{Asked, Backend, CutReason, Cuts, Exchange, Reading};
use crate::spec::{DrainSpec, OnTimeout};

/// Exchanges shown of those that block a drain.
pub const BLOCKING_LISTED_MAX: usize = 20;

/// Two looks at idle exchanges or tunnels of one drain are at least so far apart.
const LOOK_GAP_MIN: Duration = Duration::from_millis(10);

/// From one look for stragglers to the next, once everything was cut.
const LOOK_GAP: Duration = Duration::from_millis(250);

/// Progress is told after so long, then after twice as long, and so on up to the other: a drain of an
/// hour fills a thirtieth of the ring of events.
const PROGRESS_GAP_MIN: Duration = Duration::from_secs(1);
const PROGRESS_GAP_MAX: Duration = Duration::from_secs(30);

/// How a drain ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Sealed; everything finished by itself.
    Clean,
    /// Sealed; something was cut.
    Forced,
    /// The gate was opened again.
    Restored,
}

/// A drain under way or over.
pub struct Drain {
    backend: Arc<Backend>,
    begun: Instant,
    begun_at: SystemTime,
    /// Written by later calls, read by the task after `changed`.
    clocks: Mutex<DrainSpec>,
    changed: Notify,
    /// An operator asked for everything to be cut; stays, so that a claim that was granted but not
    /// yet on the list is met by the next look.
    closing: AtomicBool,
    /// `None` while running; with how long it took.
    end: watch::Sender<Option<(End, Duration)>>,
}

impl Drain {
    /// A drain that is to begin; its clocks run from now, and what is cut counts from now. It can be
    /// known to others before the draining intent is published, so that whoever learns of the intent
    /// finds the drain; they may have it cut ([`Drain::close`]) before it starts.
    pub fn prepare(backend: Arc<Backend>, clocks: DrainSpec) -> Arc<Self> {
        backend.set_cuts(Cuts::default());
        Arc::new(Self::new(backend, clocks))
    }

    fn new(backend: Arc<Backend>, clocks: DrainSpec) -> Self {
        Self {
            backend,
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            clocks: Mutex::new(clocks),
            changed: Notify::new(),
            closing: AtomicBool::new(false),
            end: watch::Sender::new(None),
        }
    }

    /// A drain that ended in an earlier process of the proxy. The gate of the backend is set to draining
    /// by now, and nothing was ever claimed of it here, so that it is sealed at once.
    pub fn over(
        backend: Arc<Backend>,
        begun_at: SystemTime,
        took: Duration,
        cuts: Cuts,
    ) -> Arc<Self> {
        let end = if cuts.is_empty() {
            End::Clean
        } else {
            End::Forced
        };
        backend.probing().hold().keep();
        backend.word().seal();
        backend.set_cuts(cuts);
        Arc::new(Self {
            begun_at,
            end: watch::Sender::new(Some((end, took))),
            ..Self::new(backend, DrainSpec::default())
        })
    }

    /// Begins: the gate of the backend is set to draining by now. In the drain's own task `progress`
    /// runs now and then while less is left than before, `after` once, when the word is sealed; not
    /// when the backend is restored.
    pub fn start<P, F>(self: &Arc<Self>, progress: P, after: F)
    where
        P: Fn(&Self) + Send + 'static,
        F: FnOnce(Arc<Self>) + Send + 'static,
    {
        let task = Arc::clone(self);
        tokio::spawn(async move {
            if task.run(progress).await {
                after(task);
            }
        });
    }

    /// The generation.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// When it began.
    pub fn begun_at(&self) -> SystemTime {
        self.begun_at
    }

    /// How long it took, or has taken so far.
    pub fn took(&self) -> Duration {
        match *self.end.borrow() {
            Some((_, took)) => took,
            None => self.begun.elapsed(),
        }
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.end.borrow().map(|(end, _)| end)
    }

    /// What it cut so far.
    pub fn cuts(&self) -> Cuts {
        self.backend.cuts()
    }

    /// Resolves when it has ended.
    pub async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await;
        let ended = ended.expect("the sender lives in self");
        ended.expect("waited for it").0
    }

    /// The clocks that hold now.
    pub fn clocks(&self) -> DrainSpec {
        *self.clocks.lock().expect("clocks lock")
    }

    /// Takes the tighter of each clock.
    pub fn tighten(&self, with: DrainSpec) {
        {
            let mut clocks = self.clocks.lock().expect("clocks lock");
            *clocks = tighter(*clocks, with);
        }
        self.changed.notify_one();
    }

    /// Cuts everything in flight. Says how much was asked to end.
    pub fn close(&self) -> Asked {
        self.closing.store(true, Ordering::Release);
        let asked = self.backend.ask_cuts(CutReason::Closed, |_| true);
        self.changed.notify_one();
        asked
    }

    /// Tells that the gate was opened again; the caller did so.
    pub fn restored(&self) {
        self.finish(End::Restored);
        self.changed.notify_one();
    }

    /// Says whether it ended sealed, rather than restored.
    async fn run(&self, progress: impl Fn(&Self)) -> bool {
        let mut tunnels = TunnelClosing::default();
        let mut told = Told::new(self);
        loop {
            // A restored drain must not seal in the stead of the one that came after it.
            if self.end().is_some() {
                return false;
            }
            let clocks = self.clocks();
            let mut next = self.fire_due(&clocks, &mut tunnels);
            next.at(told.tell_due(self, &progress));
            tokio::select! {
                biased;
                () = self.backend.word().when_idle() => {
                    if self.end().is_none() && seal(&self.backend).await {
                        let forced = !self.cuts().is_empty();
                        return self.finish(if forced { End::Forced } else { End::Clean });
                    }
                }
                () = self.changed.notified() => {}
                () = sleep_until_some(next.0) => {}
            }
        }
    }

    /// Does what is due now, and says when the next is due.
    fn fire_due(&self, clocks: &DrainSpec, tunnels: &mut TunnelClosing) -> Earliest {
        let now = Instant::now();
        let mut next = Earliest::default();
        if self.closing.load(Ordering::Acquire) {
            self.backend.ask_cuts(CutReason::Closed, |_| true);
            next.at(now + LOOK_GAP);
        }
        if clocks.on_timeout == OnTimeout::Close {
            let deadline = self.begun + clocks.timeout;
            if now >= deadline {
                self.backend.ask_cuts(CutReason::DrainTimeout, |_| true);
                // One that is granted as a straggler of its upgrade is met by the next look.
                next.at(now + LOOK_GAP);
            } else {
                next.at(deadline);
                next.at(self.cut_idle(clocks, now));
            }
        }
        if let Some(close_after) = clocks.tunnels.close_after {
            let opens = self.begun + close_after;
            if now >= opens {
                let closes = opens + clocks.tunnels.spread;
                next.at(tunnels.advance(self, now, closes));
            } else {
                next.at(opens);
            }
        }
        next
    }

    /// Cuts what is idle for too long; says when the next would be. A quiet tunnel is no dead one: it has
    /// a window of its own, and where that never comes it is asked to close.
    fn cut_idle(&self, clocks: &DrainSpec, now: Instant) -> Instant {
        let idle_timeout = clocks.idle_timeout;
        let is_due = |exchange: &Exchange| exchange.idle_for() >= idle_timeout;
        self.backend.ask_cuts(CutReason::DrainIdle, |exchange| {
            !exchange.is_tunnel() && is_due(exchange)
        });
        let takes_tunnels = clocks.tunnels.close_after.is_none();
        if takes_tunnels {
            self.backend.ask_cuts(CutReason::TunnelClose, |exchange| {
                exchange.is_tunnel() && is_due(exchange)
            });
        }
        let idlest = self
            .backend
            .exchanges()
            .iter()
            .filter(|exchange| takes_tunnels || !exchange.is_tunnel())
            .filter(|exchange| exchange.cut_reason().is_none())
            .map(|exchange| exchange.idle_for())
            .max()
            .unwrap_or_default();
        now + idle_timeout.saturating_sub(idlest).max(LOOK_GAP_MIN)
    }

    /// Says whether this was its end, and not another before.
    fn finish(&self, end: End) -> bool {
        let took = self.begun.elapsed();
        self.end.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some((end, took));
            }
            first
        })
    }
}

/// Makes *drained* final, if the backend is draining and idle when nothing else holds a connection to
/// it: who is told may kill it at once. Says whether it is final now.
///
/// It is looked whether it is idle before the idle connections are closed: an exchange that saw the gate
/// open may keep its own behind the close otherwise, and be over before the seal. None does so that
/// begins later, since none begins.
pub async fn seal(backend: &Backend) -> bool {
    let hold = backend.probing().hold();
    hold.free().await;
    let now = backend.reading();
    if !(now.is_draining() && now.is_idle()) {
        return false;
    }
    backend.close_idle_connections();
    let is_sealed = backend.word().seal();
    if is_sealed {
        hold.keep();
    }
    is_sealed
}

/// What was told of a drain's progress: less and less often, and only what has changed.
struct Told {
    left: Reading,
    gap: Duration,
    next: Instant,
}

impl Told {
    fn new(drain: &Drain) -> Self {
        Self {
            left: drain.backend.reading(),
            gap: PROGRESS_GAP_MIN,
            next: Instant::now() + PROGRESS_GAP_MIN,
        }
    }

    /// Tells if it is time; says when it will be.
    fn tell_due(&mut self, drain: &Drain, progress: impl Fn(&Drain)) -> Instant {
        let now = Instant::now();
        if now >= self.next {
            let left = drain.backend.reading();
            if left != self.left {
                progress(drain);
            }
            self.left = left;
            self.gap = (self.gap * 2).min(PROGRESS_GAP_MAX);
            self.next = now + self.gap;
        }
        self.next
    }
}

/// Closing tunnels one after another over the window.
#[derive(Default)]
struct TunnelClosing {
    next: Option<Instant>,
}

impl TunnelClosing {
    /// Closes the oldest tunnels if it is time, all of them at the end of the window; says when to
    /// look again.
    fn advance(&mut self, drain: &Drain, now: Instant, closes: Instant) -> Instant {
        if let Some(next) = self.next.filter(|&next| now < next && now < closes) {
            return next.min(closes);
        }
        let (backend, reason) = (&drain.backend, CutReason::TunnelClose);
        let exchanges = backend.exchanges();
        let is_open =
            |exchange: &&Arc<Exchange>| exchange.is_tunnel() && exchange.cut_reason().is_none();
        let open: Vec<_> = exchanges.iter().filter(is_open).collect();
        let left = closes.saturating_duration_since(now);
        let (due, gap) = share(open.len(), left);
        for exchange in open.iter().take(due) {
            exchange.ask_cut(backend.generation(), reason);
        }
        let next = now + gap;
        self.next = Some(next);
        next
    }
}

/// Of so many tunnels for which so much time is left: how many close now, and how long until the next.
fn share(open: usize, left: Duration) -> (usize, Duration) {
    if left.is_zero() || open <= 1 {
        // With nothing left to close only a request that is still to be upgraded can need a look.
        return (open, LOOK_GAP);
    }
    let count = u32::try_from(open).unwrap_or(u32::MAX);
    let even = left / count;
    if even >= LOOK_GAP_MIN {
        return (1, even);
    }
    // Too many for one at a time: as many as fall into one gap.
    let gaps = (left.as_nanos() / LOOK_GAP_MIN.as_nanos()).max(1);
    let due = (open as u128).div_ceil(gaps);
    (usize::try_from(due).unwrap_or(open), LOOK_GAP_MIN)
}

#[derive(Default)]
struct Earliest(Option<Instant>);

impl Earliest {
    fn at(&mut self, instant: Instant) {
        self.0 = Some(self.0.map_or(instant, |earlier| earlier.min(instant)));
    }
}

async fn sleep_until_some(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// The tighter of each clock.
pub fn tighter(a: DrainSpec, b: DrainSpec) -> DrainSpec {
    let close_after = match (a.tunnels.close_after, b.tunnels.close_after) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    DrainSpec {
        wait: b.wait,
        timeout: a.timeout.min(b.timeout),
        on_timeout: match (a.on_timeout, b.on_timeout) {
            (OnTimeout::Keep, OnTimeout::Keep) => OnTimeout::Keep,
            _ => OnTimeout::Close,
        },
        idle_timeout: a.idle_timeout.min(b.idle_timeout),
        tunnels: crate::spec::TunnelSpec {
            close_after,
            spread: a.tunnels.spread.min(b.tunnels.spread),
        },
    }
}

#[cfg(test)]
mod tests;
