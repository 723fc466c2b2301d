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
//! - What is cut is counted once, by whoever was first to ask for the cut.
//! - A later call may only tighten the clocks.
//!
//! Who calls it: [`crate::control`] begins, tightens, closes and restores. It knows neither the
//! model nor the snapshot; what is to happen after the end is given to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::backend::{Backend, CutReason, Exchange, ExchangeReport};
use crate::spec::{DrainSpec, OnTimeout};

/// Exchanges kept of those that a drain cut, and shown of those that block it.
pub const LISTED_MAX: usize = 20;

/// Two looks at idle exchanges or tunnels of one drain are at least so far apart.
const LOOK_GAP_MIN: Duration = Duration::from_millis(10);

/// From one look for stragglers to the next, once everything was cut.
const LOOK_GAP: Duration = Duration::from_millis(250);

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

/// What a drain cut.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    /// Requests.
    pub requests: u32,
    /// Tunnels.
    pub tunnels: u32,
    /// The first [`LISTED_MAX`] of them.
    pub listed: Vec<ExchangeReport>,
}

impl Cuts {
    /// Whether nothing was cut.
    pub fn is_empty(&self) -> bool {
        self.requests == 0 && self.tunnels == 0
    }

    fn cut(&mut self, exchange: &Exchange, reason: CutReason) {
        if !exchange.ask_cut(reason) {
            return;
        }
        let report = exchange.report();
        match report.is_tunnel {
            true => self.tunnels += 1,
            false => self.requests += 1,
        }
        if self.listed.len() < LISTED_MAX {
            self.listed.push(report);
        }
    }
}

/// A drain under way or over.
pub struct Drain {
    backend: Arc<Backend>,
    begun: Instant,
    begun_at: SystemTime,
    /// Written by later calls, read by the task after `changed`.
    clocks: Mutex<DrainSpec>,
    changed: Notify,
    cuts: Mutex<Cuts>,
    /// An operator asked for everything to be cut; stays, so that a claim that was granted but not
    /// yet on the list is met by the next look.
    closing: AtomicBool,
    /// `None` while running; with how long it took.
    end: watch::Sender<Option<(End, Duration)>>,
}

impl Drain {
    /// A drain that is to begin; its clocks run from now. It can be known to others before the
    /// draining intent is published, so that whoever learns of the intent finds the drain.
    pub fn prepare(backend: Arc<Backend>, clocks: DrainSpec) -> Arc<Self> {
        Arc::new(Self {
            backend,
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            clocks: Mutex::new(clocks),
            changed: Notify::new(),
            cuts: Mutex::default(),
            closing: AtomicBool::new(false),
            end: watch::Sender::new(None),
        })
    }

    /// Begins: the gate of the backend is set to draining by now. `after` runs once, in the drain's
    /// own task, when the word is sealed; not when the backend is restored.
    pub fn start<F>(self: &Arc<Self>, after: F)
    where
        F: FnOnce(Arc<Self>) + Send + 'static,
    {
        let task = Arc::clone(self);
        tokio::spawn(async move {
            if task.run().await {
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
        self.cuts.lock().expect("cuts lock").clone()
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

    /// Cuts everything in flight.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.cut(CutReason::Closed, |_| true);
        self.changed.notify_one();
    }

    /// Tells that the gate was opened again; the caller did so.
    pub fn restored(&self) {
        self.finish(End::Restored);
        self.changed.notify_one();
    }

    /// Says whether it ended sealed, rather than restored.
    async fn run(&self) -> bool {
        let mut tunnels = TunnelClosing::default();
        loop {
            // A restored drain must not seal in the stead of the one that came after it.
            if self.end().is_some() {
                return false;
            }
            let clocks = self.clocks();
            let next = self.fire_due(&clocks, &mut tunnels);
            tokio::select! {
                biased;
                () = self.backend.word().when_idle() => {
                    // Before the seal: who is told *drained* may kill the process at once. An exchange
                    // keeps no connection while its backend drains, so none is added after this.
                    self.backend.close_idle_connections();
                    if self.end().is_none() && self.backend.word().seal() {
                        let forced = !self.cuts.lock().expect("cuts lock").is_empty();
                        self.finish(if forced { End::Forced } else { End::Clean });
                        return true;
                    }
                }
                () = self.changed.notified() => {}
                () = sleep_until_some(next) => {}
            }
        }
    }

    /// Does what is due now, and says when the next is due.
    fn fire_due(&self, clocks: &DrainSpec, tunnels: &mut TunnelClosing) -> Option<Instant> {
        let now = Instant::now();
        let mut next = Earliest::default();
        if self.closing.load(Ordering::Acquire) {
            self.cut(CutReason::Closed, |_| true);
            next.at(now + LOOK_GAP);
        }
        if clocks.on_timeout == OnTimeout::Close {
            let deadline = self.begun + clocks.timeout;
            if now >= deadline {
                self.cut(CutReason::DrainTimeout, |_| true);
                // One that is granted as a straggler of its upgrade is met by the next look.
                next.at(now + LOOK_GAP);
            } else {
                next.at(deadline);
                next.at(self.cut_idle(clocks.idle_timeout, now));
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
        next.0
    }

    /// Cuts what is idle for too long; says when the next would be.
    fn cut_idle(&self, idle_timeout: Duration, now: Instant) -> Instant {
        self.cut(CutReason::DrainIdle, |exchange| {
            exchange.idle_for() >= idle_timeout
        });
        let idlest = self
            .backend
            .exchanges()
            .iter()
            .filter(|exchange| exchange.cut_reason().is_none())
            .map(|exchange| exchange.idle_for())
            .max()
            .unwrap_or_default();
        now + idle_timeout.saturating_sub(idlest).max(LOOK_GAP_MIN)
    }

    fn cut(&self, reason: CutReason, which: impl Fn(&Exchange) -> bool) {
        let exchanges = self.backend.exchanges();
        let mut cuts = self.cuts.lock().expect("cuts lock");
        for exchange in exchanges.iter().filter(|exchange| which(exchange)) {
            cuts.cut(exchange, reason);
        }
    }

    fn finish(&self, end: End) {
        let took = self.begun.elapsed();
        self.end.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some((end, took));
            }
            first
        });
    }
}

/// Closing tunnels one after another over the window.
#[derive(Default)]
struct TunnelClosing {
    next: Option<Instant>,
}

impl TunnelClosing {
    /// Cuts the oldest tunnel if it is time, all of them at the end of the window; says when to
    /// look again.
    fn advance(&mut self, drain: &Drain, now: Instant, closes: Instant) -> Instant {
        if let Some(next) = self.next.filter(|&next| now < next && now < closes) {
            return next.min(closes);
        }
        let exchanges = drain.backend.exchanges();
        let open: Vec<_> = exchanges
            .iter()
            .filter(|exchange| exchange.is_tunnel() && exchange.cut_reason().is_none())
            .collect();
        let left = closes.saturating_duration_since(now);
        let due = if left.is_zero() { open.len() } else { 1 };
        let mut cuts = drain.cuts.lock().expect("cuts lock");
        for exchange in open.iter().take(due) {
            cuts.cut(exchange, CutReason::TunnelClose);
        }
        let still_open = u32::try_from(open.len().saturating_sub(due)).unwrap_or(u32::MAX);
        let gap = left / still_open.max(1);
        // With nothing left to close only a request that is still to be upgraded can need a look.
        let gap = if still_open == 0 { LOOK_GAP } else { gap };
        let next = now + gap.max(LOOK_GAP_MIN);
        self.next = Some(next);
        next
    }
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
