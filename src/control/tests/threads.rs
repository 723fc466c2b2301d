//! Many requests beside a deploy that never stops, or pauses one after another, on real threads and with
//! real time.

use std::collections::HashSet;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::pool::split::Draw;
use crate::spec::Intent;

/// How long requests run beside the deploys; longer with `TIDEGATE_FULL`.
fn length() -> Duration {
    match std::env::var_os("TIDEGATE_FULL") {
        Some(_) => Duration::from_secs(20),
        None => Duration::from_millis(400),
    }
}

/// Threads that send requests.
const THREADS: usize = 3;

/// Shared by the threads: what was promised, and that it goes on.
#[derive(Default)]
struct Shared {
    /// Generations that somebody may have killed by now.
    told: RwLock<HashSet<Generation>>,
    is_over: AtomicBool,
    requests: AtomicU64,
}

impl Shared {
    fn assert_alive(&self, of: &Backend) {
        let told = self.told.read().unwrap();
        assert!(
            !told.contains(&of.generation()),
            "{of:?} was told to be drained"
        );
        assert!(!of.reading().is_sealed(), "{of:?} is sealed under a claim");
    }
}

/// Requests one after another: some retried, some upgraded. There is always a backend that stays, so
/// none is ever without one.
fn send(shared: &Shared, pools: &Pools, seed: u64) -> HashMap<Generation, Arc<Backend>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen = HashMap::new();
    while !shared.is_over.load(Ordering::Relaxed) {
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        let mut draw = Draw::default();
        let claim = pools.claim(&web(), &exchange, &[], &mut draw);
        let mut claim = claim.expect("one is always eligible");
        if random.u8(..8) == 0 {
            let left = claim.backend().generation();
            drop(claim);
            match pools.claim(&web(), &exchange, &[left], &mut draw) {
                Ok(again) => claim = again,
                Err(_) => continue,
            }
        }
        shared.assert_alive(claim.backend());
        if random.u8(..4) == 0 {
            claim.upgrade();
        }
        if random.u8(..16) == 0 {
            std::thread::sleep(Duration::from_micros(random.u64(..500)));
        }
        shared.assert_alive(claim.backend());
        let backend = claim.backend();
        seen.entry(backend.generation())
            .or_insert_with(|| Arc::clone(backend));
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

/// Operations on `b` and `c`, while `a` stays.
async fn deploy(shared: &Shared, rig: &Rig, seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut ends, control) = (0, &rig.control);
    while !shared.is_over.load(Ordering::Relaxed) {
        let index = random.usize(1..3);
        let who = reference_to(IDS[index]);
        let answer = match random.u8(..8) {
            0..3 => {
                let call = DrainCall {
                    wait: Some(Duration::from_millis(random.u64(..3))),
                    ..DrainCall::default()
                };
                control.drain(actor(), web(), who, call).await
            }
            3 => {
                let call = StandbyCall::default();
                control.standby(actor(), web(), who, call).await
            }
            4 => control.remove(actor(), web(), who, random.bool()).await,
            5 => {
                control
                    .ready(actor(), web(), who, Some(Duration::ZERO))
                    .await
            }
            _ => {
                let call = AddCall {
                    id: id(index),
                    address: address(index as u16 + 1),
                    weight: Weight::default(),
                    intent: Intent::Active,
                    wait: Some(Duration::ZERO),
                };
                control.add(actor(), web(), call).await
            }
        };
        assert_ne!(answer.outcome, Outcome::Error, "{answer:?}");
        if answer.safe_to_kill {
            ends += 1;
            shared
                .told
                .write()
                .unwrap()
                .insert(answer.generation.unwrap());
        }
        for backend in rig.backends() {
            if backend.health() == Health::Unknown {
                rig.observe(&backend, Health::Healthy);
            }
        }
    }
    ends
}

#[test]
fn no_request_beside_deploys_is_lost_counted_twice_or_on_an_instance_told_drained() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let shared = Shared::default();
    let rig = runtime.block_on(Rig::new());
    let (seen, drained) = std::thread::scope(|scope| {
        let (shared, pools) = (&shared, &rig.control.pools);
        let senders: Vec<_> = (0..THREADS as u64)
            .map(|seed| scope.spawn(move || send(shared, pools, seed)))
            .collect();
        let drained = runtime.block_on(async {
            let deploys = [1, 2].map(|seed| deploy(shared, &rig, seed));
            let end = async {
                tokio::time::sleep(length()).await;
                shared.is_over.store(true, Ordering::Relaxed);
            };
            let (ends, ()) = tokio::join!(futures_util::future::join_all(deploys), end);
            ends.into_iter().sum::<usize>()
        });
        let seen = senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap());
        (seen.collect::<HashMap<_, _>>(), drained)
    });
    let told = shared.told.read().unwrap();
    for (of, backend) in &seen {
        let reading = backend.reading();
        assert!(
            reading.is_idle() && backend.exchanges().is_empty(),
            "{of}: {reading:?}"
        );
        assert!(
            !told.contains(of) || reading.is_sealed(),
            "{of}: {reading:?}"
        );
    }
    let requests = shared.requests.load(Ordering::Relaxed);
    assert!(
        requests > 100 && drained > 2,
        "{requests} requests, {drained} drains"
    );
}

/// Ends the senders also when the test fails: they would send for ever.
struct Ends<'a>(&'a Shared);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Requests one after another, some of whose backends were chosen long before they claim; each is on its
/// way while nobody may rely on there being none.
fn send_beside_pauses(shared: &Shared, is_quiet: &AtomicBool, pools: &Pools, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let assert_wanted = || assert!(!is_quiet.load(Ordering::SeqCst), "in a paused pool");
    while !shared.is_over.load(Ordering::Relaxed) {
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        let claim = if random.bool() {
            pools
                .claim(&web(), &exchange, &[], &mut Draw::default())
                .ok()
        } else {
            let snapshot = pools.load_full();
            let entries = &snapshot.pool(&web()).unwrap().entries;
            let chosen = &entries[random.usize(..entries.len())].backend;
            if random.u8(..4) == 0 {
                std::thread::sleep(Duration::from_micros(random.u64(..500)));
            }
            chosen.claim(&exchange).ok()
        };
        let Some(mut claim) = claim else {
            continue;
        };
        assert_wanted();
        if random.u8(..16) == 0 {
            std::thread::sleep(Duration::from_micros(random.u64(..500)));
        }
        assert_wanted();
        if random.u8(..4) == 0 {
            claim.upgrade();
            std::thread::yield_now();
        }
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn once_a_pause_is_done_no_request_is_in_flight_until_the_resume() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let (shared, is_quiet) = (Shared::default(), AtomicBool::new(false));
    let rig = runtime.block_on(Rig::new());
    let pauses = std::thread::scope(|scope| {
        let (shared, is_quiet, pools) = (&shared, &is_quiet, &rig.control.pools);
        let _ends = Ends(shared);
        for seed in 0..THREADS as u64 {
            scope.spawn(move || send_beside_pauses(shared, is_quiet, pools, seed));
        }
        runtime.block_on(async {
            let (mut pauses, end) = (0, Instant::now() + length());
            while Instant::now() < end {
                let call = PauseCall::default();
                let paused = rig.control.pause(actor(), web(), call).await;
                assert_eq!(paused.outcome, Outcome::Done, "{paused:?}");
                is_quiet.store(true, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..2000))).await;
                for backend in rig.backends() {
                    let of_web = backend.identity().pool == web();
                    assert!(!of_web || backend.reading().requests() == 0, "{backend:?}");
                }
                is_quiet.store(false, Ordering::SeqCst);
                let resumed = rig.control.resume(actor(), web()).await;
                assert_eq!(resumed.outcome, Outcome::Done);
                pauses += 1;
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..2000))).await;
            }
            pauses
        })
    });
    let requests = shared.requests.load(Ordering::Relaxed);
    assert!(requests > 100 && pauses > 2, "{requests}, {pauses}");
}
