//! Picking one of the eligible backends, all of the same weight and with nothing in flight.

use divan::{Bencher, black_box};
use tidegate::pool::select::Selector;
use tidegate::spec::{Balance, Weight};

use crate::support::{SIZES, THREADS, backend};

#[divan::bench(threads = THREADS, args = SIZES)]
fn least_requests(bencher: Bencher<'_, '_>, size: u16) {
    pick(bencher, Balance::LeastRequests, size);
}

#[divan::bench(threads = THREADS, args = SIZES)]
fn round_robin(bencher: Bencher<'_, '_>, size: u16) {
    pick(bencher, Balance::RoundRobin, size);
}

fn pick(bencher: Bencher<'_, '_>, balance: Balance, size: u16) {
    let eligible = (1..=size).map(|number| (backend(number), Weight::default()));
    let selector = Selector::new(balance, eligible.collect());
    bencher.bench(|| black_box(selector.pick(&[])).is_some());
}
