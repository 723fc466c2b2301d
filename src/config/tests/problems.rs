//! How problems read, and those that any section can have: wrong kinds, unknown and repeated keys.

use super::{LISTENERS, assert_problems, parse, problems, with, with_backends, with_pool};

#[test]
fn problems_read_as_the_style_guide_says() {
    let text = "\
listeners: [{address: \"127.0.0.1:0\"}]
pools:
  web:
    backends:
      - {id: a, address: \"10.0.0.6:8080\"}
      - {id: b, address: 10.0.0.7}
    health: {http: /up, timeout: 5s, interval: 2s}
routes: [{pool: web}]
";
    assert_eq!(
        parse(text.as_bytes(), "proxy.yaml").unwrap_err().to_string(),
        "proxy.yaml has 2 problems
  pools.web.backends[1].address: \"10.0.0.7\" has no port (expected host:port, such as 10.0.0.7:8080)
  pools.web.health.timeout: 5s is longer than pools.web.health.interval: 2s (make it at most the interval)"
    );
    assert_eq!(
        parse(with("workers: 0").as_bytes(), "a\nb.yaml")
            .unwrap_err()
            .to_string(),
        "a\\nb.yaml has 1 problem
  workers: 0 is out of range (expected a number from 1 to 256, or left out for one per core)"
    );
}

#[test]
fn problems_are_in_the_order_of_the_file() {
    let text = "\
routes: [{pool: wbe}, {pool: web, path: x}]
pools: {web: {health: {http: up, rise: 0}, balance: rr}}
workers: 0
listeners: []
";
    let paths: Vec<String> = parse(text.as_bytes(), "x")
        .unwrap_err()
        .problems
        .into_iter()
        .map(|problem| problem.path)
        .collect();
    assert_eq!(
        paths,
        [
            "routes[0].pool",
            "routes[1].path",
            "pools.web.health.http",
            "pools.web.health.rise",
            "pools.web.balance",
            "workers",
            "listeners",
        ]
    );
}

#[test]
fn many_problems_are_counted_and_the_first_are_shown() {
    let listeners = "{address: x:y}, ".repeat(51);
    let text = format!("listeners: [{listeners}]\npools: {{}}\nroutes: []\n");
    let shown = parse(text.as_bytes(), "proxy.yaml")
        .unwrap_err()
        .to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 52);
    assert_eq!(lines[0], "proxy.yaml has 53 problems");
    assert!(lines[50].starts_with("  listeners[49].address: "));
    assert_eq!(lines[51], "  and 3 more");
}

#[test]
fn unknown_keys_name_the_nearest_or_all() {
    let near = |text: &str, path: &str, word: &str| {
        let expected = format!("{path}: is not a known key (did you mean \"{word}\"?)");
        assert_problems(text, &[&expected]);
    };
    near(&with("worker: 4"), "worker", "workers");
    near(&with("log: {levle: info}"), "log.levle", "level");
    near(
        &with("client: {keep-alive: 1s}"),
        "client.keep-alive",
        "keep_alive",
    );
    near(
        &with("client: {Head_Timeout: 1s}"),
        "client.Head_Timeout",
        "head_timeout",
    );
    let pool = "health: {tcp: true, raise: 2}";
    near(&with_pool(pool), "pools.web.health.raise", "rise");
    assert_problems(
        &with("zzz: 1\nlog: {\"a b\\e\": 1}"),
        &[
            "zzz: is not a known key (expected one of: workers, admin, metrics, state, log, \
             shutdown, client, listeners, pools, routes)",
            "log.\"a b\\u{1b}\": is not a known key (expected one of: format, level, access)",
        ],
    );
    let long = "k".repeat(100_000);
    let path = format!("\"{}…\"", "k".repeat(60));
    assert_problems(
        &with(&format!(
            "metrics: {{? {long} : 1, address: \"127.0.0.1:0\"}}"
        )),
        &[&format!(
            "metrics.{path}: is not a known key (expected one of: address)"
        )],
    );
    assert_problems(
        &with("log: &log {level: info}\nclient: {<<: *log}"),
        &[
            "client.\"<<\": merge keys are not known (expected the keys themselves, or an alias as \
           the whole value)",
        ],
    );
}

#[test]
fn keys_given_twice_are_found_beside_everything_else() {
    assert_problems(
        &with("log: {level: info, access: 1, level: warn}\nlog: {}"),
        &[
            "log.access: 1 is a number (expected true or false)",
            "log.level: is given twice (expected once, remove one)",
            "log: is given twice (expected once, remove one)",
        ],
    );
}

#[test]
fn keys_that_are_no_texts_are_problems() {
    assert_problems(
        &with("log: {1: a, true: b, ~: c, [x]: d, {y: z}: e, 1.5: f}"),
        &[
            "log: a key 1 is a number (expected a text, in quotes if need be)",
            "log: a key true is a boolean (expected a text, in quotes if need be)",
            "log: a key is empty (expected a text, in quotes if need be)",
            "log: a key is a list (expected a text, in quotes if need be)",
            "log: a key is a section (expected a text, in quotes if need be)",
            "log: a key 1.5 is a number (expected a text, in quotes if need be)",
        ],
    );
}

#[test]
fn empty_sections_and_values_are_problems() {
    assert_problems(
        &with("admin:\nlog:\nclient: {keep_alive: , trusted_proxies: }\nworkers:"),
        &[
            "admin: is empty (expected a section with any of: socket, group, address, tokens)",
            "log: is empty (expected a section with any of: format, level, access)",
            "client.keep_alive: is empty (expected a whole number and ms, s, m or h, such as 30s)",
            "client.trusted_proxies: is empty (expected a list of trusted proxies)",
            "workers: is empty (expected a number from 1 to 256, or left out for one per core)",
        ],
    );
    assert_problems(
        "listeners:\npools:\nroutes:\n",
        &[
            "listeners: is empty (expected a list of listeners)",
            "pools: is empty (expected pools by name)",
            "routes: is empty (expected a list of routes)",
        ],
    );
    assert_problems(
        "listeners: []\npools: {}\nroutes: []\n",
        &[
            "listeners: is an empty list (expected at least one, such as {address: \"[::]:80\"})",
            "pools: is empty (expected at least one pool)",
            "routes: is an empty list (expected at least one, such as {path: /, pool: web})",
        ],
    );
    assert_problems(
        "{}",
        &[
            "listeners: is missing (expected at least one, such as {address: \"[::]:80\"})",
            "pools: is missing (expected at least one pool)",
            "routes: is missing (expected at least one, such as {path: /, pool: web})",
        ],
    );
}

#[test]
fn wrong_kinds_say_what_was_found_and_what_is_expected() {
    let section = "expected a section with any of: socket, group, address, tokens";
    assert_problems(
        &with("admin: /run/x"),
        &[&format!("admin: \"/run/x\" is a text ({section})")],
    );
    assert_problems(
        &with("admin: [1]"),
        &[&format!("admin: is a list ({section})")],
    );
    assert_problems(
        &with("admin: !x {}"),
        &[&format!("admin: has the YAML tag !x ({section})")],
    );
    let workers = "expected a number from 1 to 256, or left out for one per core";
    for (found, text) in [
        (
            "\"4\"",
            format!("\"4\" is a text ({workers}, without quotes)"),
        ),
        ("four", format!("\"four\" is a text ({workers})")),
        ("4.0", format!("4.0 is not a whole number ({workers})")),
        (".inf", format!("inf is not a whole number ({workers})")),
        ("-1", format!("-1 is out of range ({workers})")),
        ("257", format!("257 is out of range ({workers})")),
        (
            "99999999999999999999",
            format!("99999999999999999999 is out of range ({workers})"),
        ),
        ("[4]", format!("is a list ({workers})")),
        ("{a: 4}", format!("is a section ({workers})")),
        ("true", format!("true is a boolean ({workers})")),
    ] {
        assert_problems(
            &with(&format!("workers: {found}")),
            &[&format!("workers: {text}")],
        );
    }
    assert_problems(
        &with("log: {access: yes, level: 3, format: jsn}"),
        &[
            "log.access: \"yes\" is a text (expected true or false)",
            "log.level: 3 is a number (expected one of: error, warn, info, debug, trace)",
            "log.format: \"jsn\" is not valid (did you mean \"json\"?)",
        ],
    );
    assert_problems(
        &with("log: {level: loud}"),
        &["log.level: \"loud\" is not valid (expected one of: error, warn, info, debug, trace)"],
    );
}

#[test]
fn durations_need_a_unit_and_a_sensible_length() {
    let unit = "(expected a whole number and ms, s, m or h, such as 30s)";
    for (found, text) in [
        ("30", format!("30 has no unit {unit}")),
        ("0", format!("0 has no unit {unit}")),
        ("-5s", format!("\"-5s\" is not valid {unit}")),
        ("1.5s", format!("\"1.5s\" is not valid {unit}")),
        ("1.5", format!("1.5 is a number {unit}")),
        ("30sec", format!("\"30sec\" is not valid {unit}")),
        ("[30s]", format!("is a list {unit}")),
        ("0s", "\"0s\" is too short (expected more than zero)".into()),
        (
            "0ms",
            "\"0ms\" is too short (expected more than zero)".into(),
        ),
        (
            "169h",
            "\"169h\" is not valid (expected at most 168h, a week)".into(),
        ),
    ] {
        let text = format!("shutdown.timeout: {text}");
        assert_problems(&with(&format!("shutdown: {{timeout: {found}}}")), &[&text]);
    }
}

#[test]
fn found_texts_are_cut_and_escaped() {
    let long = format!("log: {{level: \"{}\"}}", "é\\t".repeat(100));
    let cut = format!("\"{}…\"", "é\\t".repeat(30));
    let levels = "(expected one of: error, warn, info, debug, trace)";
    assert_problems(
        &with(&long),
        &[&format!("log.level: {cut} is not valid {levels}")],
    );
    let pools = "pools: {\"\\e[31m\": {health: {tcp: true}}}";
    let text = problems(&format!("{LISTENERS}{pools}\nroutes: [{{pool: far-away}}]"));
    let list = "routes[0].pool: \"far-away\" is not a pool (expected one of: \\u{1b}[31m)";
    assert_eq!(text[1], list, "names in lists are escaped too");
    let unix = "{id: a, address: \"unix:/\\e\"}, {id: b, address: \"unix:/\\e\"}";
    let taken = "unix:/\\u{1b} is the address of both \"a\" and \"b\" (expected an address each)";
    let text = format!("pools.web.backends[1].address: {taken}");
    assert_problems(&with_backends(unix), &[&text]);
    let bidi = problems(&with("log: {level: \"a\u{202e}b\"}"));
    assert_eq!(
        bidi,
        [format!(
            "log.level: \"a\\u{{202e}}b\" is not valid {levels}"
        )]
    );
}
