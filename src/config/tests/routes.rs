//! Problems of routes.

use super::super::ROUTES_MAX;
use super::{assert_problems, with_routes};

#[test]
fn route_problems() {
    assert_problems(
        &with_routes(
            "{pool: wbe}, {pool: shop, path: /s}, {path: /x}, {pool: 1, path: /y}, {path: /z}, web",
        ),
        &[
            "routes[0].pool: \"wbe\" is not a pool (did you mean \"web\"?)",
            "routes[1].pool: \"shop\" is not a pool (expected one of: web)",
            "routes[2].pool: is missing (expected the name of a pool)",
            "routes[3].pool: 1 is a number (expected a name, write it in quotes: \"1\")",
            "routes[4].pool: is missing (expected the name of a pool)",
            "routes[5]: \"web\" is a text (expected a section with any of: host, path, pool)",
        ],
    );
}

#[test]
fn routes_given_twice_are_problems() {
    assert_problems(
        &with_routes(
            "{pool: web}, {path: /, pool: web}, {host: a.b, path: /x, pool: web}, \
             {host: A.B, path: /x/, pool: web}, {host: \"*.b\", pool: web}, \
             {host: \"*.B\", pool: web}",
        ),
        &[
            "routes[1]: any host with path / is also routed by routes[0] (expected each host and \
             path once)",
            "routes[3]: a.b with path /x is also routed by routes[2] (expected each host and path \
             once)",
            "routes[5]: *.b with path / is also routed by routes[4] (expected each host and path \
             once)",
        ],
    );
}

#[test]
fn problems_of_hosts_and_paths() {
    let host = "a host, such as app.example.com or *.example.com";
    let long = format!("{}.com", "x".repeat(64));
    let cut = format!("{}…", "x".repeat(60));
    for (found, shown, expected) in [
        ("*", "*", "a host; for any host leave it out"),
        (
            "a:80",
            "a:80",
            "a host without port or scheme, such as app.example.com",
        ),
        (
            "http://a",
            "http://a",
            "a host without port or scheme, such as app.example.com",
        ),
        (
            "a.*.b",
            "a.*.b",
            "* only as the first label, such as *.example.com",
        ),
        (
            "*a.b",
            "*a.b",
            "* only as the first label, such as *.example.com",
        ),
        ("*.", "*.", host),
        ("a..b", "a..b", host),
        ("a.b.", "a.b.", host),
        ("a b", "a b", host),
        ("", "", host),
        (&long, &cut, host),
        (
            "bücher.example",
            "bücher.example",
            "a host in ASCII, such as xn--bcher-kva.example",
        ),
        (
            "[::1]:80",
            "[::1]:80",
            "an IPv6 address between the brackets and no port, such as [::1]",
        ),
    ] {
        let text = format!("routes[0].host: \"{shown}\" is not valid (expected {expected})");
        assert_problems(
            &with_routes(&format!("{{host: \"{found}\", pool: web}}")),
            &[&text],
        );
    }
    let begins = "a path that begins with /, of at most 1024 bytes";
    let plain = "a path without spaces; other characters percent-encoded, such as %20";
    let segments = "a path without empty, '.' or '..' segments";
    for (found, expected) in [
        ("", begins),
        ("api", begins),
        ("/a?b", "a path without query or fragment"),
        ("/a#b", "a path without query or fragment"),
        ("/a b", plain),
        ("/é", plain),
        ("//", segments),
        ("/a//b", segments),
        ("/a/../b", segments),
        ("/a/.", segments),
    ] {
        let text = format!("routes[0].path: \"{found}\" is not valid (expected {expected})");
        assert_problems(
            &with_routes(&format!("{{path: \"{found}\", pool: web}}")),
            &[&text],
        );
    }
    let many: String = (0..=ROUTES_MAX)
        .map(|n| format!("{{path: /{n}, pool: web}}, "))
        .collect();
    assert_problems(
        &with_routes(&many),
        &["routes: has 10001 routes (expected at most 10000)"],
    );
}
