//! What is counted for an answer, and the text of a scrape.

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::BytesCount;
use tidegate::metrics::{Build, Metrics};
use tidegate::pool::Pools;
use tidegate::proxy::ErrorWord;
use tidegate::spec::Balance;

use crate::support::{THREADS, pools};

/// An answer of one backend; all threads count on it.
#[divan::bench(threads = THREADS)]
fn answer(bencher: Bencher<'_, '_>) {
    let pools = pools(Balance::LeastRequests, 1);
    let metrics = metrics(&pools);
    metrics.prepare();
    let snapshot = pools.load_full();
    let (_, entry) = snapshot.entries().next().expect("a backend");
    bencher.bench(|| {
        let counts = metrics.of(&entry.backend);
        counts.observe(200, Duration::from_millis(3));
    });
}

/// One scrape, of backends that have answered.
#[divan::bench(args = [2, 50, 500], sample_count = 20)]
fn scrape(bencher: Bencher<'_, '_>, backends: u16) {
    let pools = pools(Balance::LeastRequests, backends);
    let metrics = metrics(&pools);
    for (_, entry) in pools.load().entries() {
        let counts = metrics.of(&entry.backend);
        counts.observe(200, Duration::from_millis(3));
    }
    let bytes = metrics.render().len();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| metrics.render());
}

fn metrics(pools: &Arc<Pools>) -> Arc<Metrics> {
    let build = Build {
        version: "bench",
        revision: None,
    };
    Metrics::new(Arc::clone(pools), build, &ErrorWord::WORDS)
}
