//! What differs from one run to the next is one word in the texts that are compared: times are `T`,
//! ports `PORT`, who asks `uid:N`.

/// Units of time, the longer ones first.
const UNITS: [&str; 6] = ["ms", "µs", "ns", "s", "m", "h"];

/// A text with what differs masked.
pub fn masked(text: &str) -> String {
    let (mut masked, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let before = masked.chars().next_back();
        let is_begin = !before.is_some_and(|c| c.is_alphanumeric() || "._-".contains(c));
        let length = match is_begin {
            true => time(rest),
            false => 0,
        };
        if length > 0 {
            masked.push('T');
            rest = &rest[length..];
        } else if first.is_ascii_digit() && masked.ends_with("127.0.0.1:") {
            masked += "PORT";
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if first.is_ascii_digit() && masked.ends_with("uid:") {
            masked.push('N');
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    masked
}

/// How many bytes of a text are a time at its begin, such as `1.5s` or `2m03s`.
fn time(text: &str) -> usize {
    let mut rest = text;
    loop {
        let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if number.len() == rest.len() {
            break;
        }
        let Some(behind) = UNITS.iter().find_map(|unit| number.strip_prefix(unit)) else {
            return 0;
        };
        rest = behind;
    }
    match rest.starts_with(char::is_alphanumeric) {
        true => 0,
        false => text.len() - rest.len(),
    }
}

#[test]
fn only_what_differs_is_masked() {
    for (text, expected) in [
        ("after 1.2s; safe", "after T; safe"),
        ("for 2m03s, 7ms", "for T, T"),
        ("at 127.0.0.1:4711 (a@12)", "at 127.0.0.1:PORT (a@12)"),
        ("v2s holds 3 requests", "v2s holds 3 requests"),
        (
            "rollout 1 of web, by uid:1000",
            "rollout 1 of web, by uid:N",
        ),
        ("10% of new requests to c", "10% of new requests to c"),
        (
            "status 503 (expected 200-299)",
            "status 503 (expected 200-299)",
        ),
    ] {
        assert_eq!(masked(text), expected);
    }
}
