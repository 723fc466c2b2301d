//! From host and path to the pool.

use divan::{Bencher, black_box};
use tidegate::pool::route::Routes;
use tidegate::spec::{HostPattern, RouteSpec};

use crate::support::web;

const ROUTES: [usize; 4] = [1, 10, 100, 1000];

/// The last of so many hosts.
#[divan::bench(args = ROUTES)]
fn by_host(bencher: Bencher<'_, '_>, count: usize) {
    let host = |number| HostPattern::Exact(format!("app-{number}.example.com"));
    let routes = Routes::new(&routes(count, |number| (host(number), "/".to_owned())));
    let asked = format!("app-{}.example.com", count - 1);
    bencher.bench(|| black_box(routes.find(black_box(&asked), black_box("/some/path"))).is_some());
}

/// One of so many paths of any host: the shortest, which the others do not match.
#[divan::bench(args = ROUTES)]
fn by_path(bencher: Bencher<'_, '_>, count: usize) {
    let path = |number| {
        if number == 0 {
            "/".to_owned()
        } else {
            format!("/part-{number}")
        }
    };
    let routes = Routes::new(&routes(count, |number| (HostPattern::Any, path(number))));
    bencher.bench(|| {
        black_box(routes.find(black_box("app.example.com"), black_box("/some/path"))).is_some()
    });
}

fn routes(count: usize, of: impl Fn(usize) -> (HostPattern, String)) -> Vec<RouteSpec> {
    let route = |number| {
        let (host, path) = of(number);
        RouteSpec {
            host,
            path,
            pool: web(),
        }
    };
    (0..count).map(route).collect()
}
