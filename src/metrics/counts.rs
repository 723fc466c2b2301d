//! The handles: what is counted, where it happens.
//!
//! Plain atomics, written with relaxed ordering by whoever counts and read by the scrape: each is a
//! number of its own, nothing is concluded from two of them together. They are not sharded by
//! thread: two threads that do nothing but count on one generation need some 70 ns an answer, with
//! eight shards each some 60, beside tens of microseconds that a request costs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::backend::{Counts, Tally};

/// The status classes, as labels.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How a drain can end, as labels: words of the table of outcomes.
pub(super) const DRAIN_OUTCOMES: [&str; 3] = ["clean", "forced", "restored"];

/// How a rollout can be decided, as labels.
pub(super) const ROLLOUT_OUTCOMES: [&str; 4] = ["moved", "failed", "reverted", "aborted"];

const MS: u64 = 1000;
const SECOND: u64 = 1000 * MS;

/// Upper bounds in microseconds: 1 ms to 60 s, for answers.
const ANSWER_BOUNDS: &[u64] = &[
    MS,
    5 * MS / 2,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    SECOND,
    5 * SECOND / 2,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
];

/// Upper bounds in microseconds: 100 ms to an hour, for drains; their clocks are 30 s to 5 m.
const DRAIN_BOUNDS: &[u64] = &[
    100 * MS,
    500 * MS,
    SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
    300 * SECOND,
    600 * SECOND,
    1800 * SECOND,
    3600 * SECOND,
];

/// Counts of one generation.
///
/// Its [`Tally`] is made of them: answers are all of `classes`, and the tries that `connect_failures`
/// and `lost` count; errors are those tries, the answers of 500 and above, and `broken`. Answers that
/// are no matter of the backend are taken off again (`excused`). All three are counted where an
/// exchange failed, never where one went well.
pub struct BackendMetrics {
    pub(super) classes: Classes,
    pub(super) errors: Errors,
    pub(super) durations: Histogram,
    pub(super) connect_failures: AtomicU64,
    pub(super) retries: AtomicU64,
    lost: AtomicU64,
    broken: AtomicU64,
    excused: AtomicU64,
}

impl BackendMetrics {
    pub(super) fn new(error_words: usize) -> Self {
        Self {
            classes: Classes::default(),
            errors: Errors::new(error_words),
            durations: Histogram::new(ANSWER_BOUNDS),
            connect_failures: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            excused: AtomicU64::new(0),
        }
    }

    /// Counts an exchange with this backend that is over: its status, also when the proxy had to
    /// answer in the backend's stead ([`BackendMetrics::error`] says so besides), and how long it took.
    pub fn observe(&self, status: u16, duration: Duration) {
        self.classes.add(status);
        self.durations.observe(duration);
    }

    /// Counts an answer without a duration: a tunnel's, which would drown the others' times.
    pub fn responded(&self, status: u16) {
        self.classes.add(status);
    }

    /// Counts an error that the proxy made of what this backend did, by the index of its word.
    pub fn error(&self, word: usize) {
        self.errors.add(word);
    }

    /// Counts a connection that could not be established.
    pub fn connect_failure(&self) {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that this backend took, and dropped without an answer, and that is tried
    /// again.
    pub fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Says of an answer below 500, counted besides, that the backend broke it off.
    pub fn broke_off(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// Says of an answer of 500 or above, counted besides, that it is not held against the backend:
    /// it is no matter of it, or was counted when its last try failed.
    pub fn excuse(&self) {
        self.excused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was taken from this backend and tried on another.
    pub fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counts for BackendMetrics {
    /// Read while others count, so it may be off by those under way, and is bounded to what can be.
    fn tally(&self) -> Tally {
        let excused = load(&self.excused);
        let failed_tries = load(&self.connect_failures) + load(&self.lost);
        let broken = load(&self.broken);
        let (mut answers, mut errors) = (failed_tries, failed_tries + broken);
        for (class, count) in self.classes.read() {
            answers += count;
            errors += if class == "5xx" { count } else { 0 };
        }
        let answers = answers.saturating_sub(excused);
        Tally {
            answers,
            errors: errors.saturating_sub(excused).min(answers),
        }
    }
}

/// Answers that the proxy made itself, without a backend.
pub struct OwnAnswers {
    pub(super) classes: Classes,
    pub(super) errors: Errors,
}

impl OwnAnswers {
    pub(super) fn new(error_words: usize) -> Self {
        Self {
            classes: Classes::default(),
            errors: Errors::new(error_words),
        }
    }

    /// Counts an answer, and the error it says, by the index of its word.
    pub fn answered(&self, status: u16, word: usize) {
        self.classes.add(status);
        self.errors.add(word);
    }
}

/// Counts of one pool.
pub struct PoolMetrics {
    pub(super) own: OwnAnswers,
    pub(super) drains: [AtomicU64; DRAIN_OUTCOMES.len()],
    pub(super) drain_durations: Histogram,
    pub(super) cut_requests: AtomicU64,
    pub(super) cut_tunnels: AtomicU64,
    pub(super) rollouts: [AtomicU64; ROLLOUT_OUTCOMES.len()],
}

impl PoolMetrics {
    pub(super) fn new(error_words: usize) -> Self {
        Self {
            own: OwnAnswers::new(error_words),
            drains: Default::default(),
            drain_durations: Histogram::new(DRAIN_BOUNDS),
            cut_requests: AtomicU64::new(0),
            cut_tunnels: AtomicU64::new(0),
            rollouts: Default::default(),
        }
    }

    /// Counts an answer that no backend made: none was eligible, or it was held too long.
    pub fn answered(&self, status: u16, word: usize) {
        self.own.answered(status, word);
    }

    /// A drain that was taken back is counted, but says nothing of how long drains take.
    pub(super) fn drain_ended(&self, outcome: &str, took: Duration, requests: u32, tunnels: u32) {
        if let Some(place) = DRAIN_OUTCOMES.iter().position(|word| *word == outcome) {
            self.drains[place].fetch_add(1, Ordering::Relaxed);
        }
        if outcome != "restored" {
            self.drain_durations.observe(took);
        }
        self.cut_requests
            .fetch_add(requests.into(), Ordering::Relaxed);
        self.cut_tunnels
            .fetch_add(tunnels.into(), Ordering::Relaxed);
    }

    pub(super) fn rollout_decided(&self, decided: &str) {
        if let Some(place) = ROLLOUT_OUTCOMES.iter().position(|word| *word == decided) {
            self.rollouts[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A count for each of [`CLASSES`].
#[derive(Default)]
pub(super) struct Classes([AtomicU64; CLASSES.len()]);

impl Classes {
    fn add(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.0[class].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(self.0.iter().map(load))
    }
}

/// A count for each error word.
pub(super) struct Errors(Box<[AtomicU64]>);

impl Errors {
    fn new(words: usize) -> Self {
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// An index beyond the words is the proxy's mistake; there is no label to count it under.
    fn add(&self, word: usize) {
        debug_assert!(word < self.0.len(), "no error word has the index {word}");
        if let Some(count) = self.0.get(word) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(load)
    }
}

/// Durations by bucket; the last one is beyond all bounds.
pub(super) struct Histogram {
    bounds: &'static [u64],
    buckets: Box<[AtomicU64]>,
    /// In microseconds: nanoseconds would overflow after days of thousands of long exchanges.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let place = self.bounds.partition_point(|bound| *bound < micros);
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// Bounds in seconds with cumulative counts, the count of all, and the sum in seconds. The
    /// count is that of the buckets as they were read, so the three never contradict one another.
    pub(super) fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut count = 0;
        let mut cumulative = self.buckets.iter().map(|bucket| {
            count += load(bucket);
            count
        });
        let bounds = self.bounds.iter().map(|bound| seconds(*bound));
        let buckets = bounds.zip(&mut cumulative).collect();
        cumulative.for_each(drop);
        (buckets, count, seconds(load(&self.sum)))
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

pub(super) fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
