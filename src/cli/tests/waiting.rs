//! What is shown while the answer is not there.

use std::sync::Condvar;

use super::*;

/// Between two looks of the tests that want to see some.
const SOON: Duration = Duration::from_millis(20);

/// Answers the drain once somebody has looked at the backend twice: the first look was shown then.
fn drained_after_two_looks() -> Scripted {
    let looks = Arc::new((Mutex::new(0), Condvar::new()));
    let mut look = Answer::new(Outcome::Done, "web/a");
    look.backend = Some(backend("a"));
    let look = serde_json::to_value(look).unwrap();
    let drained = serde_json::to_value(Answer::new(Outcome::Clean, "drained")).unwrap();
    Scripted::new(move |question| {
        let (seen, changed) = &*looks;
        if question.starts_with("GET ") {
            *seen.lock().unwrap() += 1;
            changed.notify_all();
            return look.clone();
        }
        let too_few = |seen: &mut i32| *seen < 2;
        drop(changed.wait_while(seen.lock().unwrap(), too_few).unwrap());
        drained.clone()
    })
}

#[test]
fn on_a_terminal_a_line_says_what_is_left_and_goes_at_the_end() {
    let admin = drained_after_two_looks();
    let typed = ["--admin", &admin.admin, "drain", "web/a"];
    let said = tidegate_looking(&typed, true, SOON);
    assert_eq!((said.exit, said.out.as_str()), (0, "drained\n"));
    let line = "\r\u{1b}[K\u{1b}[?7lweb/a: draining, 2 requests, 1 tunnel left, ";
    assert!(said.err.starts_with(line), "{:?}", said.err);
    assert!(
        said.err.ends_with("s\u{1b}[?7h\r\u{1b}[K"),
        "{:?}",
        said.err
    );
    assert!(!said.err.contains('\n'), "{:?}", said.err);
}

#[test]
fn off_a_terminal_plain_lines_say_what_is_left() {
    let admin = drained_after_two_looks();
    let typed = ["--admin", &admin.admin, "drain", "web/a"];
    let said = tidegate_looking(&typed, false, SOON);
    assert_eq!((said.exit, said.out.as_str()), (0, "drained\n"));
    for line in said.err.lines() {
        assert!(
            line.starts_with("web/a: draining, 2 requests, 1 tunnel left, "),
            "{line}"
        );
    }
    assert!(said.err.ends_with("s\n"), "{:?}", said.err);
}

#[test]
fn off_a_terminal_an_answer_that_comes_soon_is_all() {
    let admin = Scripted::saying(&Answer::new(Outcome::Clean, "drained"));
    let said = admin.ask(&["drain", "web/a"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("drained\n", ""));
    assert_eq!(admin.heard(), ["POST /v1/pools/web/backends/a/drain"]);
}

#[test]
fn errors_are_coloured_on_a_terminal_only() {
    let answer = Answer::new(Outcome::Refused, "no").hint("yes");
    let admin = Scripted::saying(&answer);
    let said = tidegate_on(&["--admin", &admin.admin, "standby", "web/a"], true);
    assert_eq!(said.err, "\u{1b}[1;31merror:\u{1b}[0m no\nhint: yes\n");
    let said = admin.ask(&["standby", "web/a"]);
    assert_eq!(said.err, "error: no\nhint: yes\n");
}

#[test]
fn watch_shows_again_until_it_cannot() {
    let asked = Mutex::new(0);
    let admin = Scripted::new(move |_| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        match *asked {
            1 => json!({"outcome": "done", "pool": {
                "name": "web", "balance": "round_robin", "eligible": 0, "held": 3,
                "leaving": false, "backends": [],
            }}),
            _ => {
                json!({"outcome": "unknown", "message": "there is no pool \"web\"", "serving": [], "safe_to_kill": false})
            }
        }
    });
    let said = tidegate_on(&["--admin", &admin.admin, "status", "web", "--watch"], true);
    assert_eq!(said.exit, 5);
    assert_eq!(
        said.out,
        "\u{1b}[Hpool web: 0 of 0 eligible, 3 held, round_robin\u{1b}[K\n\u{1b}[J"
    );
}
