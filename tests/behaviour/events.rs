//! The events: followed, replayed, never silently incomplete; through the API and the command line.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::support::{App, Proxy, Setup, Wire, get, said, within};

/// One who follows the API.
struct Follower {
    wire: Wire<UnixStream>,
    read: String,
}

impl Follower {
    /// Follows from there, with more fields in the request.
    async fn of(proxy: &Proxy, query: &str, fields: &str) -> Self {
        let stream = UnixStream::connect(proxy.path("admin.sock")).await.unwrap();
        let mut wire = Wire::new(stream);
        wire.send(format!(
            "GET /v1/events{query} HTTP/1.1\r\nHost: tidegate\r\n{fields}\r\n"
        ))
        .await;
        let head = wire.next_head().await;
        assert_eq!(head.status(), 200);
        assert_eq!(head.field("content-type"), Some("text/event-stream"));
        let read = String::new();
        let mut follower = Self { wire, read };
        // From here on nothing is missed: the stream has said where it begins.
        let begin = follower.block().await;
        assert!(begin.starts_with("id: ") && begin.lines().count() == 1);
        follower
    }

    async fn from_now(proxy: &Proxy) -> Self {
        Self::of(proxy, "", "").await
    }

    /// The next lines up to an empty one.
    async fn block(&mut self) -> String {
        loop {
            if let Some((block, rest)) = self.read.split_once("\n\n") {
                let block = block.to_owned();
                self.read = rest.to_owned();
                return block;
            }
            let chunk = self.wire.chunk().await;
            self.read += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event.
    async fn event(&mut self) -> Value {
        loop {
            let block = self.block().await;
            let mut lines = block.lines();
            let Some(id) = lines.next().unwrap().strip_prefix("id: ") else {
                continue;
            };
            let name = lines.next().unwrap().strip_prefix("event: ").unwrap();
            let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
            assert_eq!(lines.next(), None, "{block}");
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(
                (event["number"].to_string().as_str(), &event["event"]),
                (id, &name.into())
            );
            return event;
        }
    }

    /// Events up to one of this name; numbers have no gaps.
    async fn up_to(&mut self, name: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let event = self.event().await;
            if let Some(before) = events.last() {
                let next = before["number"].as_u64().unwrap() + 1;
                assert_eq!(event["number"], next);
            }
            let is_it = event["event"] == name;
            events.push(event);
            if is_it {
                return events;
            }
        }
    }
}

fn names(events: &[Value]) -> Vec<&str> {
    let names = events.iter().map(|event| event["event"].as_str().unwrap());
    names.collect()
}

async fn two() -> (App, App, Proxy) {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    (a, b, proxy)
}

#[tokio::test]
async fn a_follower_sees_the_whole_story_of_a_drain() {
    let (mut a, _b, proxy) = two().await;
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    proxy.admin("POST", "/v1/pools/web/backends/b/ready").await;
    let mut follower = Follower::from_now(&proxy).await;
    let drain = proxy.admin_later("POST", "/v1/pools/web/backends/a/drain");
    let begun = follower.up_to("drain_begun").await;
    assert_eq!(names(&begun), ["intent_changed", "drain_begun"]);
    entered.release("finished").await;
    answer.await.unwrap().unwrap();
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    let ended = follower.up_to("drain_ended").await;
    let [before, begin, end] = [&begun[0], &begun[1], ended.last().unwrap()];
    let next = begin["number"].as_u64().unwrap() + 1;
    assert_eq!(ended[0]["number"], next, "no gap");
    for event in [before, begin, end] {
        assert_eq!(
            (&event["pool"], &event["backend"]),
            (&"web".into(), &"a".into())
        );
        assert_eq!(event["generation"], drained["generation"]);
        assert_eq!(event["began_ms"], before["began_ms"]);
    }
    assert_eq!(
        (&before["from"], &before["to"]),
        (&"active".into(), &"draining".into())
    );
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(before["actor"], format!("uid:{uid}"));
    assert_eq!(
        (&begin["requests"], &begin["tunnels"]),
        (&1.into(), &0.into())
    );
    assert_eq!(end["outcome"], "clean");
    assert_eq!(
        (&end["cut_requests"], &end["cut_tunnels"]),
        (&0.into(), &0.into())
    );
    let (took, lasted) = (
        end["took_ms"].as_f64().unwrap(),
        end["at_ms"].as_f64().unwrap() - begin["at_ms"].as_f64().unwrap(),
    );
    assert!((took - lasted).abs() < 1000.0, "{took} in {lasted}");
}

#[tokio::test]
async fn a_change_of_health_is_told_with_its_cause() {
    let (a, _b, proxy) = two().await;
    let mut follower = Follower::of(&proxy, "?pool=web&backend=a", "").await;
    a.set_health(503);
    let sick = follower.event().await;
    assert_eq!(
        (&sick["event"], &sick["from"], &sick["to"], &sick["cause"]),
        (
            &"health_changed".into(),
            &"healthy".into(),
            &"unhealthy".into(),
            &"status 503 (expected 200-299)".into()
        )
    );
    assert_eq!(
        (&sick["backend"], &sick["actor"]),
        (&"a".into(), &Value::Null)
    );
    a.set_health(200);
    let well = follower.event().await;
    assert_eq!(
        (&well["from"], &well["to"]),
        (&"unhealthy".into(), &"healthy".into())
    );
}

#[tokio::test]
async fn what_was_missed_is_told_again_from_a_number() {
    let (_a, _b, proxy) = two().await;
    let weigh = async |weight: u32| {
        let body = format!("{{\"weight\": {weight}}}");
        let path = "/v1/pools/web/backends/a";
        assert_eq!(proxy.admin_with("PATCH", path, &body).await.status(), 200);
    };
    let mut first = Follower::of(&proxy, "?since=0", "").await;
    weigh(2).await;
    let all = first.up_to("weight_changed").await;
    assert_eq!(all[0]["number"], 1);
    assert_eq!(names(&all[..2]), ["added", "added"]);
    drop(first);
    weigh(3).await;
    let last = all.last().unwrap();
    let seen = last["number"].as_u64().unwrap();
    for (query, field) in [
        (format!("?since={seen}"), String::new()),
        (format!("?since={seen}@{}", last["began_ms"]), String::new()),
        (String::new(), format!("Last-Event-ID: {seen}\r\n")),
        (format!("?since={seen}"), "Last-Event-ID: 0\r\n".to_owned()),
    ] {
        let mut again = Follower::of(&proxy, &query, &field).await;
        let event = again.event().await;
        assert_eq!(event["number"], seen + 1, "{query} {field}");
        assert_eq!((&event["from"], &event["to"]), (&2.into(), &3.into()));
    }
}

/// Numbers begin at 1 with each process: one who comes back must not take the new for the old.
#[tokio::test]
async fn after_a_restart_a_follower_is_told_that_numbers_began_anew() {
    let (_a, _b, mut proxy) = two().await;
    let mut follower = Follower::of(&proxy, "?since=0", "").await;
    let seen = follower.up_to("health_changed").await;
    let first = &seen[0];
    proxy.crash_and_restart().await;
    proxy.until_healthy(&["a", "b"]).await;
    // Small enough that the new process has it too: the number alone would not show it.
    let since = format!("?since=1@{}", first["began_ms"]);
    for (since, from) in [(since, 2), ("?since=1000000".to_owned(), 1_000_001)] {
        let mut again = Follower::of(&proxy, &since, "").await;
        let gap = again.event().await;
        assert_eq!(
            (&gap["event"], &gap["cause"]),
            (&"gap".into(), &"numbered_anew".into())
        );
        assert_eq!((&gap["from"], &gap["to"]), (&from.into(), &Value::Null));
        let event = again.event().await;
        assert_eq!(event["number"], 1);
        assert_ne!(event["began_ms"], first["began_ms"]);
    }
}

#[tokio::test]
async fn the_stop_waits_for_no_follower() {
    let (mut a, _b, mut proxy) = two().await;
    let mut follower = Follower::from_now(&proxy).await;
    // This one does not read.
    let _idle = Follower::of(&proxy, "?since=0", "").await;
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    proxy.signal(Signal::TERM);
    within("the stop to begin", async {
        while !proxy.log().contains("stopping") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    // While the last exchange finishes, the operator still sees what happens.
    let drain = proxy.admin_later("POST", "/v1/pools/web/backends/a/drain?force");
    follower.up_to("drain_begun").await;
    assert!(proxy.is_running());
    entered.release("finished").await;
    answer.await.unwrap().unwrap();
    let released = Instant::now();
    assert!(proxy.ended().await.success());
    let took = released.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let ended = follower.up_to("drain_ended").await;
    assert_eq!(ended.last().unwrap()["outcome"], "clean");
    let rest = within("the end of the stream", follower.wire.rest()).await;
    assert_eq!(rest.unwrap(), b"0\r\n\r\n", "an orderly end");
    assert_eq!(drain.await.unwrap().json()["outcome"], "clean");
}

#[tokio::test]
async fn neither_sigterm_nor_sigint_waits_for_a_quiet_follower() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_a, _b, mut proxy) = two().await;
        let _follower = Follower::from_now(&proxy).await;
        let begun = Instant::now();
        proxy.signal(signal);
        proxy.ended().await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "{signal:?}: {took:?}");
    }
}

/// `tidegate events` as a process.
struct Cli {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
}

impl Cli {
    fn start(proxy: &Proxy, args: &[&str]) -> Self {
        // What a shell starts in the background ignores Ctrl-C, and so does all that it starts.
        let mut child = Command::new("env")
            .arg("--default-signal=INT")
            .arg(env!("CARGO_BIN_EXE_tidegate"))
            .args(args)
            .env("TIDEGATE_ADMIN", proxy.path("admin.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().map(BufReader::new);
        Self { child, out }
    }

    /// The next line, with its end.
    async fn line(&mut self) -> String {
        let mut out = self.out.take().unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            (out, line)
        });
        let (out, line) = within("a line", reading).await.unwrap();
        self.out = Some(out);
        line
    }

    /// Exit code (none after a signal), and stderr.
    async fn ended(mut self) -> (Option<i32>, String) {
        drop(self.out.take());
        let ending = tokio::task::spawn_blocking(move || self.child.wait_with_output().unwrap());
        let output = within("the command line to end", ending).await.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

/// What is certain of a line: the time and took are left out.
fn certain(line: &str) -> &str {
    let (time, rest) = line.split_at(24);
    assert!(time.ends_with('Z') && time.starts_with("20"), "{line}");
    rest.split(" after ").next().unwrap()
}

#[tokio::test]
async fn the_command_line_shows_each_event_as_a_line_and_says_how_to_go_on() {
    let (_a, _b, mut proxy) = two().await;
    let mut newest = Follower::of(&proxy, "?since=0", "").await;
    let body = "{\"weight\": 2}";
    proxy
        .admin_with("PATCH", "/v1/pools/web/backends/a", body)
        .await;
    let weighed = newest.up_to("weight_changed").await.pop().unwrap();
    let n = weighed["number"].as_u64().unwrap();
    let since = n.to_string();
    let mut cli = Cli::start(&proxy, &["events", "web/a", "--since", &since]);
    let mut json = Cli::start(&proxy, &["events", "--json", "--since", &since]);
    proxy.cli(&["drain", "web/a"]).await;
    let g = proxy.backend("a").await["generation"].clone();
    let uid = rustix::process::getuid().as_raw();
    for expected in [
        format!(
            "  {:>5}  intent_changed   web/a@{g}  active -> draining  by uid:{uid}\n",
            n + 1
        ),
        format!(
            "  {:>5}  drain_begun      web/a@{g}  0 requests, 0 tunnels in flight\n",
            n + 2
        ),
        format!("  {:>5}  drain_ended      web/a@{g}  clean", n + 3),
    ] {
        assert_eq!(certain(&cli.line().await), expected);
    }
    for number in n + 1..=n + 3 {
        let line = json.line().await;
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["number"], number, "{line}");
    }
    proxy.signal(Signal::TERM);
    assert!(proxy.ended().await.success());
    let began = &weighed["began_ms"];
    let socket = proxy.path("admin.sock");
    let error = format!(
        "error: the stream of events from unix:{} ended: the proxy closed it\n",
        socket.display()
    );
    let hint = format!(
        "hint: `tidegate events web/a --since {}@{began}` goes on\n",
        n + 3
    );
    assert_eq!(cli.ended().await, (Some(4), format!("{error}{hint}")));
    assert_eq!(json.ended().await.0, Some(4));
}

#[tokio::test]
async fn the_command_line_ends_with_its_reader_and_with_ctrl_c() {
    let (_a, _b, proxy) = two().await;
    let mut head = Cli::start(&proxy, &["events", "--since", "0"]);
    assert!(head.line().await.contains("      1  added "));
    // Nothing more happens that it could fail to write.
    assert_eq!(head.ended().await, (Some(0), String::new()));
    let mut interrupted = Cli::start(&proxy, &["events", "--since", "0"]);
    interrupted.line().await;
    let pid = i32::try_from(interrupted.child.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert_eq!(
        interrupted.ended().await.0,
        None,
        "by the signal: 130 in a shell"
    );
}

#[tokio::test]
async fn what_cannot_be_followed_is_said_with_its_exit_code() {
    let (_a, _b, proxy) = two().await;
    let (code, out, words) = said(&proxy.cli(&["events", "wbe"]).await);
    assert_eq!((code, out.as_str()), (5, ""));
    assert!(
        words.starts_with("error: there is no pool \"wbe\"\n"),
        "{words}"
    );
    let (code, _, words) = said(&proxy.cli(&["events", "--since", "-1"]).await);
    assert_eq!(code, 2, "{words}");
    let nowhere = ["--admin", "/nowhere/admin.sock", "events"];
    assert_eq!(said(&proxy.cli(&nowhere).await).0, 4);
}
