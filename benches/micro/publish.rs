//! Publishing a snapshot, and what claims cost meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use divan::{Bencher, black_box};
use tidegate::backend::Exchange;
use tidegate::pool::Pools;
use tidegate::pool::split::Draw;
use tidegate::spec::{Balance, PoolName};

use crate::support::{exchange, model, pools, web};

/// Pool sizes and readers: without any, and with one that claims and releases all the time.
const CASES: [(u16, usize); 6] = [(1, 0), (1, 1), (64, 0), (64, 1), (500, 0), (500, 1)];

/// One commit of the same model.
#[divan::bench(args = CASES, sample_count = 200)]
fn commit(bencher: Bencher<'_, '_>, (size, readers): (u16, usize)) {
    let (pools, model, web) = (pools(Balance::LeastRequests, size), model(size), web());
    beside(
        readers,
        || claim(&pools, &web, &exchange()),
        || {
            bencher.bench_local(|| pools.commit(&model, None).expect("nothing is sealed"));
        },
    );
}

/// One verdict of the prober.
#[divan::bench(args = CASES, sample_count = 200)]
fn refresh(bencher: Bencher<'_, '_>, (size, readers): (u16, usize)) {
    let (pools, web) = (pools(Balance::LeastRequests, size), web());
    beside(
        readers,
        || claim(&pools, &web, &exchange()),
        || bencher.bench_local(|| pools.refresh(&web)),
    );
}

/// A claim and its release while somebody publishes all the time; the same as in `claims` without.
#[divan::bench(args = [(8, 0), (8, 1), (500, 0), (500, 1)], sample_size = 1000)]
fn claim_beside_publishers(bencher: Bencher<'_, '_>, (size, publishers): (u16, usize)) {
    let (pools, web) = (pools(Balance::LeastRequests, size), web());
    beside(
        publishers,
        || pools.refresh(&web),
        || {
            bencher
                .with_inputs(exchange)
                .bench_local_refs(|exchange| claim(&pools, &web, exchange));
        },
    );
}

fn claim(pools: &Pools, web: &PoolName, exchange: &Arc<Exchange>) {
    let claimed = pools.claim(web, exchange, &[], &mut Draw::default());
    drop(black_box(claimed).expect("all are eligible"));
}

/// Runs `measured` while so many threads do the other thing over and over.
fn beside(threads: usize, other: impl Fn() + Sync, measured: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    other();
                }
            });
        }
        measured();
        is_over.store(true, Ordering::Relaxed);
    });
}
