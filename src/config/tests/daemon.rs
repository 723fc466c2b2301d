//! Problems of the sections about the process itself.

use super::super::{LISTENERS_MAX, TRUSTED_PROXIES_MAX};
use super::{POOLS, ROUTES, assert_problems, config, with};

#[test]
fn admin_problems() {
    let path = "(expected an absolute path of at most 107 bytes, such as /run/tidegate/admin.sock)";
    let long = format!("/{}", "x".repeat(107));
    let cut = format!("/{}…", "x".repeat(59));
    for (found, shown) in [("run/x", "run/x"), (long.as_str(), cut.as_str())] {
        let text = format!("admin.socket: \"{shown}\" is not valid {path}");
        assert_problems(&with(&format!("admin: {{socket: {found}}}")), &[&text]);
    }
    assert_problems(
        &with("admin: {group: 1000, address: \"127.0.0.1:0\"}"),
        &[
            "admin.group: 1000 is a number (expected a name, write it in quotes: \"1000\")",
            "admin.address: needs admin.tokens (expected at least one: who connects by TCP must \
             show one)",
        ],
    );
    assert_problems(
        &with("admin: {group: \"a b\", tokens: [{name: ci, file: /t}]}"),
        &[
            "admin.group: \"a b\" is not valid (expected the name of a group, such as deploy)",
            "admin.tokens: is of no use without admin.address (expected both or neither)",
        ],
    );
    assert_problems(
        &with(
            "admin: {address: \"127.0.0.1:0\", tokens: [{name: ci, file: /t}, {name: ci, file: t}, \
             {name: a/b}, {file: /t/}, x]}",
        ),
        &[
            "admin.tokens[1].name: \"ci\" is also the name of admin.tokens[0] (expected a name \
             each)",
            "admin.tokens[1].file: \"t\" is not valid (expected the absolute path of a file)",
            "admin.tokens[2].file: is missing (expected the file that holds the token)",
            "admin.tokens[2].name: \"a/b\" is not valid (expected a name of 1 to 64 letters, \
             digits, '-', '_' or '.' that begins with a letter or digit)",
            "admin.tokens[3].name: is missing (expected who uses the token, such as ci)",
            "admin.tokens[3].file: \"/t/\" is not valid (expected the absolute path of a file)",
            "admin.tokens[4]: \"x\" is a text (expected a section with any of: name, file)",
        ],
    );
    assert_problems(
        &with("admin: {address: \"127.0.0.1:0\", tokens: []}"),
        &["admin.tokens: is an empty list (expected at least one token)"],
    );
    let tokens: String = (0..9)
        .map(|n| format!("{{name: t{n}, file: /t}}, "))
        .collect();
    assert_problems(
        &with(&format!(
            "admin: {{address: \"127.0.0.1:0\", tokens: [{tokens}]}}"
        )),
        &["admin.tokens: has 9 tokens (expected at most 8)"],
    );
}

#[test]
fn problems_of_addresses_to_listen_on() {
    let expected = "(expected IP:port, such as 127.0.0.1:8080 or [::]:80)";
    for (found, text) in [
        ("127.0.0.1", format!("\"127.0.0.1\" has no port {expected}")),
        ("\"::1\"", format!("\"::1\" has no port {expected}")),
        ("\"[::1]\"", format!("\"[::1]\" has no port {expected}")),
        (
            "localhost:80",
            format!("\"localhost:80\" is not valid {expected}"),
        ),
        (
            "\"[::g]:80\"",
            format!("\"[::g]:80\" is not valid {expected}"),
        ),
        (
            "127.0.0.1:65536",
            format!("\"127.0.0.1:65536\" is not valid {expected}"),
        ),
        (
            "127.0.0.1:-1",
            format!("\"127.0.0.1:-1\" is not valid {expected}"),
        ),
        ("\":80\"", format!("\":80\" is not valid {expected}")),
        ("80", format!("80 is a number {expected}")),
    ] {
        let file = format!("listeners: [{{address: {found}}}]\n{POOLS}{ROUTES}");
        assert_problems(&file, &[&format!("listeners[0].address: {text}")]);
        let file = with(&format!("metrics: {{address: {found}}}"));
        assert_problems(&file, &[&format!("metrics.address: {text}")]);
    }
    let any = "{address: \"127.0.0.1:0\"}, {address: \"127.0.0.1:0\"}";
    let any = config(&format!("listeners: [{any}]\n{POOLS}{ROUTES}"));
    assert_eq!(any.listeners.len(), 2, "port 0 is another port each time");
    assert_problems(
        &format!(
            "metrics: {{address: 127.0.0.1:80}}\nlisteners: [{{address: 127.0.0.1:80}}, \
             {{address: \"[::]:80\"}}, {{address: \"[0::0]:80\"}}, {{}}]\n{POOLS}{ROUTES}"
        ),
        &[
            "listeners[0].address: 127.0.0.1:80 is also metrics.address (expected an address each)",
            "listeners[2].address: [::]:80 is also listeners[1].address (expected an address each)",
            "listeners[3].address: is missing (expected IP:port, such as 127.0.0.1:8080)",
        ],
    );
    let many = "{address: \"127.0.0.1:0\"}, ".repeat(LISTENERS_MAX + 1);
    assert_problems(
        &format!("listeners: [{many}]\n{POOLS}{ROUTES}"),
        &["listeners: has 65 listeners (expected at most 64)"],
    );
}

#[test]
fn client_problems() {
    assert_problems(
        &with(
            "client: {connections_max: 0, head_size: 32, head_fields: 257, target_size: 100B, \
             trusted_proxies: [10.0.0.1/8, x, 7, 10.0.0.0/33]}",
        ),
        &[
            "client.connections_max: 0 is out of range (expected a number from 1 to 1000000)",
            "client.head_size: 32 has no unit (expected a whole number and B, KiB or MiB, such as \
             32KiB)",
            "client.head_fields: 257 is out of range (expected a number from 1 to 256)",
            "client.target_size: \"100B\" is not valid (expected 256B to 512KiB)",
            "client.trusted_proxies[0]: \"10.0.0.1/8\" is not valid (expected no bits set behind \
             the prefix length 8)",
            "client.trusted_proxies[1]: \"x\" is not valid (expected an address or block, such as \
             10.0.0.0/8 or ::1)",
            "client.trusted_proxies[2]: 7 is a number (expected an address or block, such as \
             10.0.0.0/8 or ::1)",
            "client.trusted_proxies[3]: \"10.0.0.0/33\" is not valid (expected a prefix length of \
             at most 32)",
        ],
    );
    assert_problems(
        &with("client: {head_size: 4KiB, target_size: 5KiB, trusted_proxies: 10.0.0.0/8}"),
        &[
            "client.target_size: 5KiB is longer than client.head_size: 4KiB (make it at most the \
             head)",
            "client.trusted_proxies: \"10.0.0.0/8\" is a text (expected a list of trusted proxies)",
        ],
    );
    let client = |text: &str| config(&with(&format!("client: {{{text}}}"))).client;
    assert_eq!(
        client("head_size: 4KiB").target_bytes_max,
        4096,
        "the default gives way"
    );
    assert_eq!(
        client("target_size: 64KiB").head_bytes_max,
        65536,
        "the default gives way"
    );
    let many = "10.0.0.1, ".repeat(TRUSTED_PROXIES_MAX + 1);
    assert_problems(
        &with(&format!("client: {{trusted_proxies: [{many}]}}")),
        &["client.trusted_proxies: has 1025 trusted proxies (expected at most 1024)"],
    );
    assert_problems(
        &with("state: {}\nmetrics: {}"),
        &[
            "state.file: is missing (expected a path, such as /var/lib/tidegate/state.json)",
            "metrics.address: is missing (expected IP:port, such as 127.0.0.1:9900)",
        ],
    );
}
