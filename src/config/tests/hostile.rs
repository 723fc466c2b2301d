//! Bytes that are no configuration: none may panic, take long, or put their own control characters
//! on a terminal.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{CONFIG_BYTES_MAX, parse};
use super::assert_problems;

/// The problem of hostile bytes, given in bounded time. In an optimised build each takes less than
/// a second; the bound leaves room for a test build on a busy machine.
fn refused(bytes: &[u8]) -> String {
    let begin = Instant::now();
    let problems = parse(bytes, "proxy.yaml").unwrap_err().to_string();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(30), "took {took:?}: {problems}");
    problems
}

#[test]
fn an_empty_file_says_what_is_expected() {
    let expected = "is empty (expected at least listeners, pools and routes)";
    for text in ["", "\n\n", "# only a comment\n", "---\n", "~\n", "null"] {
        assert_problems(text, &[expected]);
    }
}

#[test]
fn a_root_that_is_no_section_is_a_problem() {
    let expected = "(expected a section with any of: workers, admin, metrics, state, log, \
                    shutdown, client, listeners, pools, routes)";
    assert_problems("web", &[&format!("\"web\" is a text {expected}")]);
    assert_problems("[a]", &[&format!("is a list {expected}")]);
    assert_problems("7", &[&format!("7 is a number {expected}")]);
    assert_problems("1.5", &[&format!("1.5 is a number {expected}")]);
    assert_problems("true", &[&format!("true is a boolean {expected}")]);
    assert_problems("!x {}", &[&format!("has the YAML tag !x {expected}")]);
}

#[test]
fn syntax_errors_have_line_column_and_a_hint() {
    for (text, expected) in [
        (
            "listeners:\n  - {address: \"[::]:80\"\npools: {}\n",
            "did not find expected ',' or '}' at line 3 column 1, while parsing a flow mapping at \
             line 2 column 5",
        ),
        (
            "listeners:\n  - address: [::]:80\n",
            "did not find expected node content at line 2 column 15, while parsing a flow node (an \
             address that begins with [ must be in quotes, such as \"[::]:80\")",
        ),
        (
            "routes:\n  - host: *.example.com\n",
            "did not find expected alphabetic or numeric character at line 2 column 12, while \
             scanning an alias at line 2 column 11 (a host that begins with * must be in quotes, \
             such as \"*.example.com\")",
        ),
        (
            "log:\n\tlevel: info\n",
            "found character that cannot start any token at line 2 column 1, while scanning for \
             the next token (indent with spaces, not with tabs)",
        ),
        ("a: *b\n", "unknown anchor at line 1 column 4"),
    ] {
        assert_problems(text, &[&format!("is not YAML: {expected}")]);
    }
    assert_problems(
        "a: 1\n---\na: 2\n",
        &["has more than one YAML document (expected one, without --- between)"],
    );
    assert_problems(
        "%TAG ! x\n---\na: 1\n",
        &["line 1 begins with % (expected no YAML directives, remove it)"],
    );
}

#[test]
fn binary_data_is_refused_without_repeating_it() {
    assert_eq!(
        refused(b"log: {}\nworkers: \xff\xfe\n"),
        "proxy.yaml has 1 problem\n  line 2 is not UTF-8 (expected text)"
    );
    assert_eq!(
        refused(b"workers: \x00\n"),
        "proxy.yaml has 1 problem\n  is not YAML: control characters are not allowed at position 9"
    );
    let escape = refused(b"\"\\e[31m\": 1");
    assert!(
        escape.contains("\\u{1b}[31m") && !escape.contains('\u{1b}'),
        "{escape}"
    );
}

#[test]
fn alias_bombs_are_refused_in_bounded_time() {
    let mut laughs = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (from, to) in ('a'..='y').zip('b'..='z') {
        let aliases = vec![format!("*{from}"); 9].join(", ");
        laughs.push_str(&format!("{to}: &{to} [{aliases}]\n"));
    }
    assert_eq!(
        refused(laughs.as_bytes()),
        "proxy.yaml has 1 problem\n  repeats too much by aliases (expected a file that unfolds to \
         a bounded size)"
    );
    // Within serde_yaml's own limit: few jumps, each far too long.
    let wide = format!(
        "a: &a [{}]\nb: [{}]\n",
        "1,".repeat(200_000),
        "*a,".repeat(100_000)
    );
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(500_000),
        "*a,".repeat(100_000)
    );
    for bomb in [wide, long] {
        assert_eq!(
            refused(bomb.as_bytes()),
            "proxy.yaml has 1 problem\n  unfolds to too many values (expected at most 500000, \
             repeated aliases included)"
        );
    }
    assert!(refused(b"a: &a [*a, *a]").contains("nested too deeply"));
}

#[test]
fn deep_nesting_and_long_monotony_end_in_bounded_time() {
    let deep = "proxy.yaml has 1 problem\n  is nested too deeply (expected a few levels)";
    let depth = 10_000;
    let closed = format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(refused(closed.as_bytes()), deep);
    for piece in [
        "[", "{a: ", "- ", "? ", "a: &a ", "!x ", "{", "a: {a: ", "&", "'\n", "a,\n", ": ",
    ] {
        let count = CONFIG_BYTES_MAX / piece.len();
        refused(piece.repeat(count).as_bytes());
        refused(format!("a: {}", piece.repeat(count - 3)).as_bytes());
    }
    let pools: String = (0..1000)
        .map(|n| format!("  p{n}: {{health: {{tcp: true}}}}\n"))
        .collect();
    let routes = "  - {pool: wrong-name}\n".repeat(30_000);
    let wrong = format!("pools:\n{pools}routes:\n{routes}");
    assert!(refused(wrong.as_bytes()).contains("has 60001 problems"));
    let keys: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    assert!(refused(keys.as_bytes()).contains("and 99953 more"));
}

fn tidegate_yaml() -> Vec<u8> {
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/config/tidegate.yaml")).to_vec()
}

/// A change of a file: bytes taken out, and others put in their place.
fn mutation() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    let yaml_bytes = proptest::sample::select(b" \n\t:-,{}[]\"'*&!%#?|>0159azS\0\xff".to_vec());
    (
        any::<Index>(),
        0usize..12,
        proptest::collection::vec(yaml_bytes, 0..6),
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, "x").map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n]{0,200}") {
        let _ = parse(text.as_bytes(), "x").map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_mutation_of_a_real_file_makes_it_panic(
        mutations in proptest::collection::vec(mutation(), 1..8),
    ) {
        let mut bytes = tidegate_yaml();
        for (at, len, with) in mutations {
            let from = at.index(bytes.len());
            let to = (from + len).min(bytes.len());
            bytes.splice(from..to, with);
        }
        if let Err(problems) = parse(&bytes, "x") {
            prop_assert!(!problems.problems.is_empty());
            let text = problems.to_string();
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{}", text);
        }
    }
}
