//! How soon a waiting drain is answered: beside a plain GET, in the same run.

use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};

use crate::support::{App, Message, Proxy, Setup, Wire, get, shipped};

const A: &str = "/v1/pools/web/backends/a";

/// What the answer of a drain may take longer than that of a GET, in milliseconds: in the median, and
/// at p99. The promise is about the program that is shipped (`./tests/run.sh latency`). Without
/// optimisation, and beside other tests, a polling interval that people use would still show.
fn longer_max() -> (f64, f64) {
    match shipped() {
        Some(_) => (1.0, 10.0),
        None => (5.0, 50.0),
    }
}

/// A neighbour on the machine can spoil a run. What waits for a clock shows in every one.
const RUNS_MAX: usize = 3;

fn rounds() -> usize {
    match std::env::var_os("TIDEGATE_FULL") {
        Some(_) => 1000,
        None => 200,
    }
}

/// A call of the admin API whose connection stays open.
fn call(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: tidegate\r\nContent-Length: 0\r\n\r\n")
}

/// One backend, and connections that are open before anything is measured.
struct Bench {
    a: App,
    _proxy: Proxy,
    client: Wire<TcpStream>,
    /// Waits for the drain, and is asked the plain question: the same kind of connection for both.
    waiting: Wire<UnixStream>,
    looking: Wire<UnixStream>,
}

impl Bench {
    async fn new() -> Self {
        let a = App::start("a").await;
        let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
        proxy.until_healthy(&["a"]).await;
        let socket = proxy.path("admin.sock");
        Self {
            client: proxy.client().await,
            waiting: Wire::new(UnixStream::connect(&socket).await.unwrap()),
            looking: Wire::new(UnixStream::connect(&socket).await.unwrap()),
            a,
            _proxy: proxy,
        }
    }

    /// From the backend's release of its last exchange to the answer of the drain that waited for it.
    async fn drained(&mut self) -> Duration {
        self.client.send(get("/door")).await;
        let entered = self.a.entered().await;
        let drain = format!("{A}/drain?force");
        self.waiting.send(call("POST", &drain)).await;
        while self.look().await.json()["backend"]["intent"] != "draining" {}
        let begun = Instant::now();
        entered.release("done").await;
        let answer = self.waiting.response().await.unwrap();
        let took = begun.elapsed();
        assert_eq!(answer.json()["outcome"], "clean", "{}", answer.text());
        assert_eq!(self.client.response().await.unwrap().text(), "done");
        took
    }

    async fn look(&mut self) -> Message {
        self.looking.ask(call("GET", A)).await
    }

    /// A plain question on the connection that waited.
    async fn asked(&mut self) -> Duration {
        let begun = Instant::now();
        self.waiting.send(call("GET", A)).await;
        let answer = self.waiting.response().await.unwrap();
        let took = begun.elapsed();
        assert_eq!(answer.status(), 200);
        took
    }

    /// A new generation, healthy.
    async fn renew(&mut self) {
        let ready = self.waiting.ask(call("POST", &format!("{A}/ready"))).await;
        assert_eq!(ready.json()["outcome"], "done", "{}", ready.text());
    }

    async fn run(&mut self) -> Figures {
        let (mut drains, mut gets, mut longer) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds() {
            let (drain, get) = (millis(self.drained().await), millis(self.asked().await));
            drains.push(drain);
            gets.push(get);
            longer.push(drain - get);
            self.renew().await;
        }
        Figures {
            drain: median_and_p99(drains),
            get: median_and_p99(gets),
            longer: median_and_p99(longer),
        }
    }
}

/// Median and p99, in milliseconds.
#[derive(Debug)]
struct Figures {
    drain: (f64, f64),
    get: (f64, f64),
    /// Of each drain than the GET right after it.
    longer: (f64, f64),
}

impl Figures {
    fn hold(&self) -> bool {
        let (median, p99) = longer_max();
        self.longer.0 <= median && self.drain.1 - self.get.1 <= p99
    }

    fn print(&self) {
        eprintln!(
            "{} rounds, in ms: median and p99 from the release to the answer {:.2?}, of a plain GET {:.2?}, \
             of the difference of both {:.2?}",
            rounds(),
            self.drain,
            self.get,
            self.longer
        );
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median_and_p99(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() * 99 / 100])
}

/// The end is pushed. `--nocapture` shows the figures.
#[tokio::test]
async fn from_the_release_to_the_answer_takes_hardly_longer_than_a_plain_get() {
    let mut bench = Bench::new().await;
    for _ in 0..RUNS_MAX {
        let figures = bench.run().await;
        figures.print();
        if figures.hold() {
            return;
        }
    }
    panic!("over {:?} ms in each of {RUNS_MAX} runs", longer_max());
}
