//! Following the events: what is asked, what is shown, how it ends.

use super::*;

const BEGUN: &str = r#"{"number":58,"at_ms":1791036187123,"event":"drain_begun","requests":1,"tunnels":0,"pool":"web","backend":"a","generation":3,"actor":null,"began_ms":1791000000000}"#;
const ENDED: &str = r#"{"number":59,"at_ms":1791036188374,"event":"drain_ended","outcome":"clean","took_ms":1250.5,"cut_requests":0,"cut_tunnels":0,"pool":"web","backend":"a","generation":3,"actor":null,"began_ms":1791000000000}"#;

/// As the proxy writes them.
fn two() -> Scripted {
    Scripted::streaming(&format!(
        "id: 57\n\nid: 58\nevent: drain_begun\ndata: {BEGUN}\n\n:\n\nid: 59\nevent: drain_ended\ndata: {ENDED}\n\n"
    ))
}

fn closed(admin: &Scripted, typed: &str) -> String {
    format!(
        "error: the stream of events from {} ended: the proxy closed it\nhint: `tidegate {typed}` goes on\n",
        admin.admin
    )
}

#[test]
fn each_event_is_a_line_and_the_end_says_how_to_go_on() {
    let admin = two();
    let said = admin.ask(&["events", "web", "--since", "57"]);
    assert_eq!(
        said,
        Said {
            exit: 4,
            out: "\
2026-10-03T14:03:07.123Z     58  drain_begun      web/a@3  1 request, 0 tunnels in flight
2026-10-03T14:03:08.374Z     59  drain_ended      web/a@3  clean after 1.3s
"
            .to_owned(),
            err: closed(&admin, "events web --since 59@1791000000000"),
        }
    );
    assert_eq!(admin.heard(), ["GET /v1/events?since=57&pool=web"]);
}

#[test]
fn as_json_each_line_is_the_document_as_it_came() {
    let admin = two();
    let said = admin.ask(&["events", "--json"]);
    assert_eq!(
        said,
        Said {
            exit: 4,
            out: format!("{BEGUN}\n{ENDED}\n"),
            err: closed(&admin, "events --since 59@1791000000000"),
        }
    );
}

#[test]
fn what_is_followed_is_asked_for() {
    for (typed, heard, again) in [
        ("events", "", "events"),
        ("events --since 0", "?since=0", "events --since 0"),
        (
            "events web/a@3 --since 57@1791000000000",
            "?since=57@1791000000000&pool=web&backend=a@3",
            "events web/a@3 --since 57@1791000000000",
        ),
    ] {
        let admin = Scripted::streaming("id: 57\n\n");
        let said = admin.ask(&typed.split(' ').collect::<Vec<_>>());
        assert_eq!((said.exit, said.out.as_str()), (4, ""));
        assert_eq!(said.err, closed(&admin, again));
        assert_eq!(admin.heard(), [format!("GET /v1/events{heard}")]);
    }
}

#[test]
fn an_answer_that_is_no_stream_is_its_outcome() {
    let answer = Answer::new(Outcome::Unknown, "there is no pool \"wbe\"");
    let admin = Scripted::saying(&answer);
    let said = admin.ask(&["events", "wbe"]);
    assert_eq!((said.exit, said.out.as_str()), (5, ""));
    assert_eq!(said.err, "error: there is no pool \"wbe\"\n");
    let said = admin.ask(&["events", "wbe", "--json"]);
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.exit, &document["outcome"]), (5, &"unknown".into()));
}

#[test]
fn nobody_there_is_exit_4() {
    let said = tidegate(&["--admin", NOWHERE, "events"]);
    assert_eq!(
        said,
        Said {
            exit: 4,
            out: String::new(),
            err: format!(
                "error: cannot reach tidegate at {NOWHERE}: no such file\nhint: is it running? --admin or TIDEGATE_ADMIN says where\n"
            ),
        }
    );
}

#[test]
fn what_is_no_event_ends_it() {
    let admin = Scripted::streaming("data: {\n\n");
    let said = admin.ask(&["events"]);
    assert_eq!(said.exit, 1);
    assert!(
        said.err
            .starts_with("error: the answer is not understood\n")
    );
    let long = Scripted::streaming(&"x".repeat(200_000));
    let said = long.ask(&["events"]);
    assert_eq!(said.exit, 4);
    assert_eq!(
        said.err,
        format!(
            "error: the stream of events from {} ended: it sent a line of more than 65536 bytes\nhint: `tidegate events` goes on\n",
            long.admin
        )
    );
}

/// Takes one line, then nobody reads it.
struct OneLine(String, io::ErrorKind);

impl Write for OneLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.contains('\n') {
            return Err(self.1.into());
        }
        self.0 += std::str::from_utf8(bytes).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn when_nobody_reads_any_more_it_ends_quietly() {
    let admin = two();
    let typed = ["--admin", &admin.admin, "events", "--json"];
    let mut gone = OneLine(String::new(), io::ErrorKind::BrokenPipe);
    assert_eq!(
        tidegate_to(&mut gone, &typed, false, Duration::MAX),
        (0, String::new())
    );
    assert_eq!(gone.0, format!("{BEGUN}\n"));
    let mut full = OneLine(String::new(), io::ErrorKind::StorageFull);
    assert_eq!(
        tidegate_to(&mut full, &typed, false, Duration::MAX),
        (1, "error: stdout: no storage space\n".to_owned())
    );
}
