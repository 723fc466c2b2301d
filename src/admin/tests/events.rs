//! Following the events over a real socket: what is told, from where, to how many, until when.

use std::collections::HashMap;
use std::ops::Range;

use hyper::body::Incoming;
use tokio::sync::{oneshot, watch};

use super::*;
use crate::admin::follow;
use crate::admin::gate::{FOLLOWERS_MAX, Gate, Kind};
use crate::admin::serve::{Stopping, gated, serve};
use crate::events::{About, EVENTS_MAX, Happening};

/// One server-sent event: its fields by name.
type Block = HashMap<String, String>;

/// The other end of a stream.
struct Follower {
    body: Incoming,
    read: String,
    connection: tokio::task::JoinHandle<hyper::Result<()>>,
    _sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Follower {
    async fn at(path: &PathBuf, target: &str, last_seen: Option<&str>) -> Self {
        let mut request = request("GET", target, "");
        if let Some(last) = last_seen {
            let last = last.parse().unwrap();
            request.headers_mut().insert("last-event-id", last);
        }
        let io = TokioIo::new(UnixStream::connect(path).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        Self {
            body: response.into_body(),
            read: String::new(),
            connection,
            _sender: sender,
        }
    }

    /// The next event or comment; `None` at the orderly end.
    async fn block(&mut self) -> Option<Block> {
        let next = async {
            loop {
                if let Some((block, rest)) = self.read.split_once("\n\n") {
                    let fields = block.lines().map(|line| line.split_once(": ").unwrap());
                    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
                    let block = fields.map(own).collect();
                    self.read = rest.to_owned();
                    return Some(block);
                }
                let frame = self.body.frame().await?.unwrap();
                let data = frame.into_data().unwrap();
                self.read += std::str::from_utf8(&data).unwrap();
            }
        };
        let next = tokio::time::timeout(Duration::from_secs(20), next);
        next.await.expect("an event in time")
    }

    /// The next event's document; its number and name are those of the block.
    async fn document(&mut self) -> Value {
        let block = self.block().await.expect("an event, not the end");
        let document: Value = serde_json::from_str(&block["data"]).unwrap();
        assert_eq!(block["id"], document["number"].to_string());
        assert_eq!(block["event"], document["event"].as_str().unwrap());
        document
    }

    async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(self.document().await["number"].as_u64().unwrap());
        }
        numbers
    }
}

impl Rig {
    /// Follows from there; gives the number that the stream says it goes on from, too.
    async fn follow(&self, query: &str, last_seen: Option<&str>) -> (Follower, u64) {
        let target = format!("/v1/events{query}");
        let mut follower = Follower::at(&self.path, &target, last_seen).await;
        let begin = follower.block().await.unwrap();
        assert_eq!(begin.len(), 1, "an id alone: {begin:?}");
        (follower, begin["id"].parse().unwrap())
    }

    fn emit(&self, backend: &str, weights: Range<u32>) {
        for weight in weights {
            let about = About {
                pool: Some("web".to_owned()),
                backend: Some(backend.to_owned()),
                generation: Some(1),
                actor: None,
            };
            let happening = Happening::WeightChanged {
                from: weight,
                to: weight + 1,
            };
            self.control.events().emit(about, happening);
        }
    }

    fn newest(&self) -> u64 {
        *self.control.events().follow().borrow()
    }
}

#[tokio::test]
async fn a_follower_is_told_from_now_on_or_from_where_it_says() {
    let rig = Rig::new().await;
    rig.emit("a", 0..3);
    let newest = rig.newest();
    let (mut now, at) = rig.follow("", None).await;
    assert_eq!(at, newest);
    let (mut all, at) = rig.follow("?since=0", None).await;
    assert_eq!(at, 0);
    let mut numbers = all.numbers(usize::try_from(newest).unwrap()).await;
    assert_eq!(numbers, (1..=newest).collect::<Vec<_>>());
    rig.emit("a", 0..2);
    let two = [newest + 1, newest + 2];
    numbers = now.numbers(2).await;
    assert_eq!(numbers, two);
    numbers = all.numbers(2).await;
    assert_eq!(numbers, two);
    let back = Some((newest + 1).to_string());
    let (mut again, at) = rig.follow("", back.as_deref()).await;
    assert_eq!(at, newest + 1);
    assert_eq!(again.numbers(1).await, [newest + 2]);
    let (mut query_wins, _) = rig
        .follow(&format!("?since={newest}"), back.as_deref())
        .await;
    assert_eq!(query_wins.numbers(2).await, two);
}

#[tokio::test]
async fn what_is_no_longer_kept_is_told_as_a_gap() {
    let rig = Rig::new().await;
    let kept = u64::try_from(EVENTS_MAX).unwrap();
    rig.emit("a", 0..u32::try_from(kept).unwrap());
    let oldest = rig.newest() - kept + 1;
    assert!(oldest > 2, "some are gone");
    let (mut follower, _) = rig.follow("?since=1", None).await;
    let gap = follower.document().await;
    assert_eq!(gap["event"], "gap");
    assert_eq!(gap["cause"], "no_longer_kept");
    assert_eq!(
        (&gap["from"], &gap["to"]),
        (&2.into(), &(oldest - 1).into())
    );
    assert_eq!(follower.numbers(2).await, [oldest, oldest + 1]);
    // On the edge there is none.
    let edge = format!("?since={}", oldest - 1);
    let (mut follower, _) = rig.follow(&edge, None).await;
    assert_eq!(follower.numbers(1).await, [oldest]);
}

#[tokio::test]
async fn a_number_of_an_earlier_process_is_told_and_everything_follows() {
    let rig = Rig::new().await;
    rig.emit("a", 0..3);
    let (mut all, _) = rig.follow("?since=0", None).await;
    let first = all.document().await;
    let began = first["began_ms"].as_u64().unwrap();
    let newest = rig.newest();
    // Above the newest; or below, but said to be of another numbering.
    for since in [
        format!("{}", newest + 1),
        format!("1@{}", began - 1),
        format!("{}", u64::MAX),
    ] {
        let (mut follower, at) = rig.follow(&format!("?since={since}"), None).await;
        assert_eq!(at, 0, "{since}");
        let gap = follower.document().await;
        assert_eq!(gap["event"], "gap", "{since}");
        assert_eq!(gap["cause"], "numbered_anew");
        let number: u64 = since.split('@').next().unwrap().parse().unwrap();
        assert_eq!(gap["from"], number.saturating_add(1));
        assert_eq!((&gap["to"], &gap["number"]), (&Value::Null, &0.into()));
        assert_eq!(follower.document().await, first);
    }
    let same = format!("?since={}@{began}", newest - 1);
    let (mut follower, _) = rig.follow(&same, None).await;
    assert_eq!(follower.numbers(1).await, [newest]);
}

#[tokio::test]
async fn a_filter_tells_only_what_it_names() {
    let rig = Rig::new().await;
    let newest = rig.newest();
    let since = format!("?since={newest}");
    let (mut pool, _) = rig.follow(&format!("{since}&pool=web"), None).await;
    let (mut backend, _) = rig
        .follow(&format!("{since}&pool=web&backend=b"), None)
        .await;
    let (mut exact, _) = rig
        .follow(&format!("{since}&pool=web&backend=b@9"), None)
        .await;
    rig.control
        .events()
        .emit(About::default(), Happening::ReloadRejected { problems: 1 });
    // More than a batch of nothing for it.
    rig.emit("a", 0..100);
    rig.emit("b", 0..1);
    let about = About {
        pool: Some("web".to_owned()),
        backend: Some("b".to_owned()),
        generation: Some(9),
        actor: None,
    };
    rig.control.events().emit(about, Happening::Removed);
    assert_eq!(pool.numbers(1).await, [newest + 2]);
    assert_eq!(backend.numbers(2).await, [newest + 102, newest + 103]);
    assert_eq!(exact.numbers(1).await, [newest + 103]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_there_is_a_stream() {
    let rig = Rig::new().await;
    let expected = "(expected the number of an event, such as 57 or 57@1790000000000)";
    for (query, message) in [
        ("since=x", format!("query.since: found \"x\" {expected}")),
        ("since=-1", format!("query.since: found \"-1\" {expected}")),
        (
            "sinc=1",
            "query: unknown key \"sinc\" (did you mean \"since\"?)".to_owned(),
        ),
        (
            "backend=a",
            "query.backend: found without pool (expected both)".to_owned(),
        ),
        (
            "pool=web&backend=a@x",
            "query.backend: found \"a@x\" (expected a generation number after '@', such as a@7)"
                .to_owned(),
        ),
    ] {
        let refused = rig.call("GET", &format!("/v1/events?{query}")).await;
        assert_eq!(refused.outcome(), (400, "invalid"), "{query}");
        assert_eq!(refused.message(), message);
    }
    let unknown = rig.call("GET", "/v1/events?pool=wbe").await;
    assert_eq!(unknown.outcome(), (404, "unknown"));
    let mut with_field = request("GET", "/v1/events", "");
    let fields = with_field.headers_mut();
    fields.insert("last-event-id", "x\"y".parse().unwrap());
    let refused = rig.send(with_field).await;
    assert_eq!(refused.outcome(), (400, "invalid"));
    assert_eq!(
        refused.message(),
        format!("field \"Last-Event-ID\": found \"x\\\"y\" {expected}")
    );
}

#[tokio::test]
async fn followers_are_bounded_and_take_no_place_of_a_request() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("narrow.sock");
    let (listener, _guard) = bind_unix(&path, None).unwrap();
    // One request at a time: a follower that counted as one would leave no place.
    let gated = gated(routes(&rig.control), Gate::new(Kind::Unix, 1));
    tokio::spawn(serve(listener, gated, std::future::pending()));
    let ask = async || {
        let stream = UnixStream::connect(&path).await.unwrap();
        let asked = exchange(stream, request("GET", "/v1/events", ""));
        let answered = tokio::time::timeout(Duration::from_secs(20), asked).await;
        answered.expect("an answer, and no stream")
    };
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS_MAX {
        followers.push(Follower::at(&path, "/v1/events", None).await);
    }
    let crowded = ask().await;
    assert_eq!(crowded.outcome(), (503, "error"));
    assert_eq!(
        crowded.message(),
        "24 others follow the events here already"
    );
    assert_eq!(
        crowded.body["hint"],
        "end one of them (each `tidegate events` that runs is one), then ask again"
    );
    assert_eq!(crowded.field("retry-after"), "1");
    let stream = UnixStream::connect(&path).await.unwrap();
    let other = exchange(stream, request("GET", "/v1/pools", "")).await;
    assert_eq!(other.status, 200);
    // The place of one that goes is free again, without an event that would show that it went.
    followers.pop().unwrap().connection.abort();
    let mut tries = 0;
    while let Err(status) = try_follow(&path).await {
        assert_eq!(status, 503);
        tries += 1;
        assert!(tries < 1000, "its place is never free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn try_follow(path: &PathBuf) -> Result<(), u16> {
    let io = TokioIo::new(UnixStream::connect(path).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let asked = sender.send_request(request("GET", "/v1/events", ""));
    match asked.await.unwrap().status().as_u16() {
        200 => Ok(()),
        status => Err(status),
    }
}

/// The ring is pulled: nothing is kept for one that lags, and it learns what it missed.
#[tokio::test]
async fn one_that_does_not_read_holds_up_nobody_and_is_told_of_its_gap() {
    const TOLD: u32 = 5 * EVENTS_MAX as u32;
    let rig = Rig::new().await;
    let newest = rig.newest();
    let (mut idle, _) = rig.follow("", None).await;
    let (mut good, _) = rig.follow("", None).await;
    for round in 0..TOLD / 256 {
        rig.emit("a", 0..256);
        let before = newest + u64::from(round) * 256;
        let told = good.numbers(256).await;
        assert_eq!(told, (before + 1..=before + 256).collect::<Vec<_>>());
    }
    let (mut next, mut gaps) = (newest + 1, 0);
    while next <= newest + u64::from(TOLD) {
        let document = idle.document().await;
        let number = document["number"].as_u64().unwrap();
        if document["event"] == "gap" {
            assert_eq!(document["from"], next);
            assert_eq!(document["to"], number);
            gaps += 1;
        } else {
            assert_eq!(number, next);
        }
        next = number + 1;
    }
    assert_eq!(gaps, 1, "a gap once, in the middle");
}

#[tokio::test]
async fn the_end_of_the_listener_ends_the_stream_after_what_has_happened() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ending.sock");
    let (listener, _guard) = bind_unix(&path, None).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let gated = gated(routes(&rig.control), Gate::new(Kind::Unix, 9));
    let serving = tokio::spawn(serve(listener, gated, async {
        let _ = stopped.await;
    }));
    let target = format!("/v1/events?since={}", rig.newest());
    let mut follower = Follower::at(&path, &target, None).await;
    follower.block().await.unwrap();
    rig.emit("a", 0..200);
    stop.send(()).unwrap();
    follower.numbers(200).await;
    assert_eq!(follower.block().await, None);
    let ended = tokio::time::timeout(Duration::from_secs(20), serving);
    ended.await.expect("the listener waits for nobody").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_comment_keeps_a_quiet_stream_alive() {
    let rig = Rig::new().await;
    let (mut follower, _) = rig.follow("", None).await;
    for _ in 0..3 {
        let begun = tokio::time::Instant::now();
        // A comment is a line without a name.
        let frame = tokio::time::timeout(Duration::from_secs(60), follower.body.frame());
        let frame = frame.await.expect("a comment").unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), ":\n\n");
        let quiet = begun.elapsed().as_secs_f64();
        assert!((14.9..15.1).contains(&quiet), "{quiet}");
    }
    rig.emit("a", 0..1);
    assert_eq!(follower.numbers(1).await, [rig.newest()]);
}

/// Each event is emitted the moment the one before was taken, which is when the follower is about to
/// wait: were the wake-up of one lost, there would be no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_in_the_moment_before_the_wait_wakes_the_follower() {
    const ROUNDS: u64 = 20_000;
    let events = Arc::new(Events::new());
    let (_stop, stopping) = watch::channel(false);
    let (told, taken) = std::sync::mpsc::channel();
    let mut follower = follow::Follower::new(
        Arc::clone(&events),
        None,
        follow::Only::default(),
        Stopping(stopping),
    );
    let emitter = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            events.emit(About::default(), Happening::Removed);
            taken.recv().unwrap();
        }
    });
    let following = tokio::spawn(async move {
        for number in 1..=ROUNDS {
            assert_eq!(follower.next().await.unwrap().number, number);
            told.send(()).unwrap();
        }
    });
    let following = tokio::time::timeout(Duration::from_secs(30), following);
    following.await.expect("no wake-up is lost").unwrap();
    emitter.join().unwrap();
}
