//! Problems of pools, their backends and their health.

use std::time::Duration;

use super::super::{BACKENDS_MAX, POOLS_MAX};
use super::{LISTENERS, ROUTES, assert_problems, config, problems, with_backends, with_pool};

#[test]
fn backend_problems() {
    assert_problems(
        &with_backends(
            "{id: a, address: a:1}, {id: a, address: A:1}, {id: 1, address: b:1}, {address: c:1}, \
             {id: d}, {id: -e, address: e:1}, {id: f, address: \"[::1]:1\"}, \
             {id: g, address: \"[0::1]:1\"}",
        ),
        &[
            "pools.web.backends[1].id: \"a\" is also the id of pools.web.backends[0] (expected an \
             id each)",
            "pools.web.backends[1].address: A:1 is the address of both \"a\" and \"a\" (expected \
             an address each)",
            "pools.web.backends[2].id: 1 is a number (expected a name, write it in quotes: \"1\")",
            "pools.web.backends[3].id: is missing (expected a name that is unique in the pool)",
            "pools.web.backends[4].address: is missing (expected host:port, such as 10.0.0.7:8080)",
            "pools.web.backends[5].id: \"-e\" is not valid (expected a name of 1 to 64 letters, \
             digits, '-', '_' or '.' that begins with a letter or digit)",
            "pools.web.backends[7].address: [0::1]:1 is the address of both \"f\" and \"g\" \
             (expected an address each)",
        ],
    );
    let long = format!("unix:/{}", "x".repeat(107));
    let cut = format!("unix:/{}…", "x".repeat(54));
    let unix = "(expected an absolute path of at most 107 bytes, such as unix:/run/app/a.sock)";
    for (found, text) in [
        (
            "a:0",
            "\"a:0\" is not valid (expected a port from 1 to 65535: a backend listens on a \
                 port that is known)"
                .to_owned(),
        ),
        (
            "a:",
            "\"a:\" is not valid (expected a port from 1 to 65535 after the last colon)".into(),
        ),
        (
            "a:99999",
            "\"a:99999\" is not valid (expected a port from 1 to 65535 after the last \
                     colon)"
                .into(),
        ),
        (
            "::1:80",
            "\"::1:80\" has no port (expected host:port, such as 10.0.0.7:8080)".into(),
        ),
        (
            "fe80:::80",
            "\"fe80:::80\" is not valid (expected brackets around an IPv6 address, such \
                       as [::1]:8080)"
                .into(),
        ),
        (
            "[::g]:80",
            "\"[::g]:80\" is not valid (expected an IPv6 address between the brackets, \
                      such as [::1]:8080)"
                .into(),
        ),
        ("unix:run/a", format!("\"unix:run/a\" is not valid {unix}")),
        (long.as_str(), format!("\"{cut}\" is not valid {unix}")),
    ] {
        let text = format!("pools.web.backends[0].address: {text}");
        assert_problems(
            &with_backends(&format!("{{id: a, address: \"{found}\"}}")),
            &[&text],
        );
    }
    assert_problems(
        &with_backends("{id: a, address: 8080}"),
        &[
            "pools.web.backends[0].address: 8080 is a number (expected host:port, such as \
           10.0.0.7:8080)",
        ],
    );
    let weight = "(expected a weight from 1 to 256; for no traffic use standby)";
    for (found, text) in [
        ("0", "0 is out of range"),
        ("257", "257 is out of range"),
        ("-1", "-1 is out of range"),
        ("1.5", "1.5 is not a whole number"),
        ("heavy", "\"heavy\" is a text"),
    ] {
        let text = format!("pools.web.backends[0].weight: {text} {weight}");
        let file = with_backends(&format!("{{id: a, address: a:1, weight: {found}}}"));
        assert_problems(&file, &[&text]);
    }
    let many: String = (0..=BACKENDS_MAX)
        .map(|n| format!("{{id: b{n}, address: b{n}:1}}, "))
        .collect();
    assert_problems(
        &with_backends(&many),
        &["pools.web.backends: has 1001 backends (expected at most 1000)"],
    );
    assert_problems(
        &with_pool("health: {tcp: true}, backends: a:1"),
        &["pools.web.backends: \"a:1\" is a text (expected a list of backends)"],
    );
}

#[test]
fn health_problems() {
    let health = |text: &str, expected: &[&str]| {
        let expected: Vec<String> = expected
            .iter()
            .map(|text| format!("pools.web.health{text}"))
            .collect();
        assert_eq!(
            problems(&with_pool(&format!("health: {{{text}}}"))),
            expected
        );
    };
    assert_problems(
        &with_pool("backends: []"),
        &["pools.web.health: is missing (expected how to probe, such as {http: /up})"],
    );
    health(
        "",
        &[": has neither http nor tcp (expected one, such as http: /up)"],
    );
    health(
        "http: /, tcp: true",
        &[": has both http and tcp (expected one of them)"],
    );
    health(
        "tcp: false",
        &[".tcp: false is not valid (expected true, or http in its place)"],
    );
    health(
        "tcp: 80",
        &[".tcp: 80 is a number (expected true or false)"],
    );
    health(
        "tcp: true, host: a, statuses: [200]",
        &[
            ".host: is of no use to a tcp probe (expected it with http only)",
            ".statuses: is of no use to a tcp probe (expected it with http only)",
        ],
    );
    health(
        "http: up, host: \"a b\", statuses: []",
        &[
            ".http: \"up\" is not valid (expected a path of at most 1024 bytes that begins with /, \
             without spaces or #, such as /up)",
            ".host: \"a b\" is not valid (expected a host, such as app.example.com)",
            ".statuses: is an empty list (expected at least one status)",
        ],
    );
    let status = "(expected a status from 200 to 599, or a range such as \"200-299\"";
    health(
        "http: /, statuses: [200, 199, 600, \"200\", 299-200, 200-600, x]",
        &[
            &format!(".statuses[1]: 199 is out of range {status})"),
            &format!(".statuses[2]: 600 is out of range {status})"),
            &format!(".statuses[3]: \"200\" is a text {status}, without quotes)"),
            &format!(".statuses[4]: \"299-200\" is not valid {status})"),
            &format!(".statuses[5]: \"200-600\" is not valid {status})"),
            &format!(".statuses[6]: \"x\" is a text {status})"),
        ],
    );
    health(
        "http: /, statuses: 200",
        &[".statuses: 200 is a number (expected a list of statuses, such as [200, \"204-299\"])"],
    );
    health(
        "tcp: true, rise: 0, fall: 1001, interval: 0s",
        &[
            ".rise: 0 is out of range (expected a number from 1 to 1000)",
            ".fall: 1001 is out of range (expected a number from 1 to 1000)",
            ".interval: \"0s\" is too short (expected more than zero)",
        ],
    );
    health(
        "tcp: true, timeout: 2500ms",
        &[
            ".timeout: 2500ms is longer than pools.web.health.interval: 2s (make it at most the \
           interval)",
        ],
    );
    let short = config(&with_pool("health: {tcp: true, interval: 500ms}"));
    let timeout = short.topology.pools[0].settings.health.timeout;
    assert_eq!(timeout, Duration::from_millis(500), "the default gives way");
}

#[test]
fn pool_problems() {
    assert_problems(
        &with_pool(
            "health: {tcp: true}, balance: random, hold: {max_requests: 0, timeout: -1s}, \
             drain: {wait: 60, timeout: 0s, on_timeout: kep, idle_timeout: 0s, \
             tunnels: {close_after: nevr, spread: never}}, timeouts: {connect: 0s, tunel_idle: 1h}",
        ),
        &[
            "pools.web.balance: \"random\" is not valid (expected one of: least_requests, \
             round_robin)",
            "pools.web.hold.max_requests: 0 is out of range (expected a number from 1 to 100000)",
            "pools.web.hold.timeout: \"-1s\" is not valid (expected a whole number and ms, s, m or \
             h, such as 30s)",
            "pools.web.drain.wait: 60 has no unit (expected a whole number and ms, s, m or h, such \
             as 30s)",
            "pools.web.drain.timeout: \"0s\" is too short (expected more than zero)",
            "pools.web.drain.on_timeout: \"kep\" is not valid (did you mean \"keep\"?)",
            "pools.web.drain.idle_timeout: \"0s\" is too short (expected more than zero)",
            "pools.web.drain.tunnels.close_after: \"nevr\" is not valid (expected never, or a \
             whole number and ms, s, m or h, such as 30s)",
            "pools.web.drain.tunnels.spread: \"never\" is not valid (expected a whole number and \
             ms, s, m or h, such as 30s)",
            "pools.web.timeouts.connect: \"0s\" is too short (expected more than zero)",
            "pools.web.timeouts.tunel_idle: is not a known key (did you mean \"tunnel_idle\"?)",
        ],
    );
    let name = "(expected a name of 1 to 64 letters, digits, '-', '_' or '.' that begins with a \
                letter or digit)";
    assert_problems(
        &format!(
            "{LISTENERS}pools: {{web: {{health: {{tcp: true}}}}, a/b: {{}}, 1: {{}}, web: {{}}, \
             v1.2: 7}}\n{ROUTES}"
        ),
        &[
            &format!("pools.\"a/b\": \"a/b\" is not valid {name}"),
            "pools.\"a/b\".health: is missing (expected how to probe, such as {http: /up})",
            "pools: a key 1 is a number (expected a text, in quotes if need be)",
            "pools.web: is given twice (expected once, remove one)",
            "pools.\"v1.2\": 7 is a number (expected a section with any of: balance, backends, \
             health, drain, hold, timeouts, rollout)",
        ],
    );
    assert_problems(
        &format!("{LISTENERS}pools: [web]\nroutes: [{{pool: web}}]"),
        &[
            "pools: is a list (expected pools by name)",
            "routes[0].pool: \"web\" is not a pool (expected the name of a pool)",
        ],
    );
    let many: String = (0..=POOLS_MAX)
        .map(|n| format!("  p{n}: {{health: {{tcp: true}}}}\n"))
        .collect();
    assert_problems(
        &format!("{LISTENERS}pools:\n{many}routes: [{{pool: p1000}}]"),
        &["pools: has 1001 pools (expected at most 1000)"],
    );
}

#[test]
fn rollout_problems() {
    let rollout = |keys: &str| with_pool(&format!("health: {{tcp: true}}, rollout: {{{keys}}}"));
    let share = "(expected a share from 0% to 100%, such as 10% or 0.5%)";
    let sticky = "(expected header:NAME or cookie:NAME, such as cookie:session)";
    for (keys, problem) in [
        (
            "min_healthy_time: 61s",
            "min_healthy_time: 61s is longer than pools.web.rollout.healthy_deadline: 1m (make it \
             at most the deadline)",
        ),
        (
            "min_healthy_time: 2s, healthy_deadline: 1s",
            "min_healthy_time: 2s is longer than pools.web.rollout.healthy_deadline: 1s (make it \
             at most the deadline)",
        ),
        (
            "min_healthy_time: 2, healthy_deadline: 1s",
            "min_healthy_time: 2 has no unit (expected a whole number and ms, s, m or h, such as \
             30s)",
        ),
        (
            "healthy_deadline: 0s",
            "healthy_deadline: \"0s\" is too short (expected more than zero)",
        ),
        (
            "bake: never",
            "bake: \"never\" is not valid (expected a whole number and ms, s, m or h, such as 30s)",
        ),
        (
            "auto_revert: \"yes\"",
            "auto_revert: \"yes\" is a text (expected true or false)",
        ),
        (
            "min_requests: 0",
            "min_requests: 0 is out of range (expected a number from 1 to 1000000)",
        ),
        (
            "min_requests: 1000001",
            "min_requests: 1000001 is out of range (expected a number from 1 to 1000000)",
        ),
        (
            "error_margin: 1",
            &format!("error_margin: 1 is a number {share}"),
        ),
        (
            "error_margin: 101%",
            &format!("error_margin: \"101%\" is not valid {share}"),
        ),
        (
            "sticky: session",
            &format!("sticky: \"session\" is not valid {sticky}"),
        ),
        (
            "sticky: true",
            &format!("sticky: true is a boolean {sticky}"),
        ),
        (
            "canary: 10%",
            "canary: is not a known key (expected one of: min_healthy_time, healthy_deadline, bake, \
             auto_revert, min_requests, error_margin, sticky)",
        ),
    ] {
        assert_problems(&rollout(keys), &[&format!("pools.web.rollout.{problem}")]);
    }
    let short = config(&rollout("healthy_deadline: 500ms"));
    let time = short.topology.pools[0].settings.rollout.min_healthy_time;
    assert_eq!(time, Duration::from_millis(500), "the default gives way");
}

#[test]
fn an_address_in_two_pools_is_a_warning() {
    let pool = |id: &str, address: &str| {
        format!("{{health: {{tcp: true}}, backends: [{{id: {id}, address: \"{address}\"}}]}}")
    };
    let (web, api) = (pool("a", "localhost:1"), pool("b", "LOCALHOST:1"));
    let file = format!("{LISTENERS}pools: {{web: {web}, api: {api}}}\n{ROUTES}");
    assert_eq!(
        config(&file).warnings,
        [
            "LOCALHOST:1 is the address of both web/a and api/b: a drain of one is refused while the \
          other is live"
        ]
    );
}
