//! A claim and its release: the two steps that every request pays and *drained* stands on.

use divan::{Bencher, black_box};
use tidegate::backend::{Gate, Word};
use tidegate::pool::split::Draw;
use tidegate::spec::Balance;

use crate::support::{SIZES, THREADS, backend, exchange, pools, web};

/// Measured together: each alone takes as long as a look at the clock.
const CLAIMS: u32 = 1000;

/// The word alone: one addition, one subtraction. All threads meet on one of them.
#[divan::bench(threads = THREADS)]
fn word(bencher: Bencher<'_, '_>) {
    let word = Word::new(Gate::Open);
    bencher.bench(|| {
        black_box(word.claim()).expect("open");
        word.release_request();
    });
}

/// With the list of what is in flight, all threads on one backend.
#[divan::bench(threads = THREADS, sample_size = CLAIMS)]
fn claim_and_release(bencher: Bencher<'_, '_>) {
    let backend = backend(1);
    assert!(backend.claim(&exchange()).is_ok());
    bencher
        .with_inputs(exchange)
        .bench_refs(|exchange| drop(black_box(backend.claim(exchange))));
}

/// As a request does it: the snapshot loaded, a backend picked, claimed and released.
#[divan::bench(threads = THREADS, args = SIZES, sample_size = CLAIMS)]
fn snapshot_pick_claim_and_release(bencher: Bencher<'_, '_>, size: u16) {
    let pools = pools(Balance::LeastRequests, size);
    let web = web();
    let first = pools.claim(&web, &exchange(), &[], &mut Draw::default());
    assert!(first.is_ok());
    bencher.with_inputs(exchange).bench_refs(|exchange| {
        drop(black_box(pools.claim(
            &web,
            exchange,
            &[],
            &mut Draw::default(),
        )));
    });
}
