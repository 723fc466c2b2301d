//! Values out of queries and JSON bodies: each key known, given once, and valid, or a refusal that
//! says where, what was found and what is expected.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::parse_duration;
use crate::control::{PAUSE_TTL_MAX, WAIT_MAX};
use crate::pool::model::MEMBERS_MAX;
use crate::pool::rollout::{HISTORY_MAX, KEY_BYTES_MAX};
use crate::spec::Invalid;

/// Text found is repeated in a refusal up to so many characters.
const FOUND_CHARS_MAX: usize = 80;

/// Least likeness (Jaro-Winkler) of a known key to be offered; below it the list is the better help.
const LIKENESS_MIN: f64 = 0.7;

/// Reads a clock of a call: a duration as in the configuration; a bare `0` is one.
pub fn clock(text: &str) -> Result<Duration, Invalid> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => parse_duration(text),
    }
}

/// Reads how long a caller waits: at most [`WAIT_MAX`].
pub fn wait(text: &str) -> Result<Duration, Invalid> {
    let wait = clock(text)?;
    match wait <= WAIT_MAX {
        true => Ok(wait),
        false => Err(Invalid("at most 24h".to_owned())),
    }
}

/// Reads after how long a pause ends: at most [`PAUSE_TTL_MAX`], and not at once.
pub fn ttl(text: &str) -> Result<Duration, Invalid> {
    let ttl = clock(text)?;
    match !ttl.is_zero() && ttl <= PAUSE_TTL_MAX {
        true => Ok(ttl),
        false => Err(Invalid("more than 0s, at most 24h".to_owned())),
    }
}

/// Reads how many eligible backends are to be left: a pool has no more than [`MEMBERS_MAX`].
pub fn min_eligible(text: &str) -> Result<u32, Invalid> {
    let max = u32::try_from(MEMBERS_MAX).unwrap_or(u32::MAX);
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| Invalid(format!("a number from 1 to {max}")))
}

/// Reads `never` or a clock.
pub fn clock_or_never(text: &str) -> Result<Option<Duration>, Invalid> {
    match text {
        "never" => Ok(None),
        _ => clock(text)
            .map(Some)
            .map_err(|Invalid(expected)| Invalid(format!("never, or {expected}"))),
    }
}

/// Reads the key of an operation: whatever the caller makes up, as long as it fits into a log line.
pub fn key(text: &str) -> Result<String, Invalid> {
    let fits = (1..=KEY_BYTES_MAX).contains(&text.len());
    match fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(Invalid(format!(
            "1 to {KEY_BYTES_MAX} printable ASCII characters without spaces"
        ))),
    }
}

/// Reads how many records of a history are asked for.
pub fn records(text: &str) -> Result<usize, Invalid> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    let number = number.filter(|number| (1..=HISTORY_MAX).contains(number));
    number.ok_or_else(|| Invalid(format!("a whole number from 1 to {HISTORY_MAX}")))
}

/// Where a follower of the events goes on: behind a number, whose numbering may be said too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// What comes after it is asked for.
    pub number: u64,
    /// The `began_ms` of the event that had it; it says of which process the number is.
    pub began_ms: Option<u64>,
}

/// Reads `NUMBER` or `NUMBER@BEGAN_MS`.
pub fn since(text: &str) -> Result<Since, Invalid> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number)
    };
    let read = match text.split_once('@') {
        None => number(text).map(|number| (number, None)),
        Some((count, began)) => number(count).zip(number(began).map(Some)),
    };
    let (number, began_ms) = read.ok_or_else(|| {
        Invalid("the number of an event, such as 57 or 57@1790000000000".to_owned())
    })?;
    Ok(Since { number, began_ms })
}

/// Where the keys of a query are.
const QUERY: &str = "query";

/// The keys of a query or a body, or of an object in a body.
pub(super) struct Fields {
    /// `query`, `body`, or where in the body, such as `body.add[1]`.
    place: String,
    values: Map<String, Value>,
}

impl Fields {
    /// The keys of a query that was split into pairs.
    pub(super) fn of_query(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut values = Map::new();
        for (key, value) in pairs {
            if values.contains_key(&key) {
                return Err(format!("query.{key}: given twice (expected once)"));
            }
            values.insert(key, Value::String(value));
        }
        Ok(Self {
            place: QUERY.to_owned(),
            values,
        })
    }

    /// The keys of a JSON object.
    pub(super) fn of_body(body: &[u8]) -> Result<Self, String> {
        let place = "body".to_owned();
        match serde_json::from_slice(body) {
            Ok(Value::Object(values)) => Ok(Self { place, values }),
            Ok(other) => Err(format!(
                "body: found {} (expected a JSON object)",
                found(&other)
            )),
            Err(error) => Err(format!("body: {error} (expected a JSON object)")),
        }
    }

    /// Refuses keys other than `known`.
    pub(super) fn only(self, known: &[String]) -> Result<Self, String> {
        let Some(unknown) = self.values.keys().find(|key| !known.contains(key)) else {
            return Ok(self);
        };
        let expected = match (known, nearest(unknown, known)) {
            ([], _) => "expected none here".to_owned(),
            (_, Some(nearest)) => format!("did you mean {nearest:?}?"),
            (_, None) => format!("expected one of {}", known.join(", ")),
        };
        let shown: String = unknown.chars().take(FOUND_CHARS_MAX).collect();
        Err(format!(
            "{}: unknown key {shown:?} ({expected})",
            self.place
        ))
    }

    /// The value of a key that is a text, read by `read`.
    pub(super) fn text<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Result<Option<T>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => match read(text) {
                Ok(value) => Ok(Some(value)),
                Err(Invalid(expected)) => Err(self.refuse(key, &expected)),
            },
            Some(_) => Err(self.refuse(key, "a text in quotes")),
        }
    }

    /// The value of a key that is a number, read by `read`.
    pub(super) fn number<T>(
        &self,
        key: &str,
        read: impl Fn(u64) -> Result<T, Invalid>,
    ) -> Result<Option<T>, String> {
        match self.values.get(key) {
            None => Ok(None),
            // A negative or broken number is out of every range: zero stands for it.
            Some(value @ Value::Number(_)) => match read(value.as_u64().unwrap_or(0)) {
                Ok(value) => Ok(Some(value)),
                Err(Invalid(expected)) => Err(self.refuse(key, &expected)),
            },
            Some(_) => Err(self.refuse(key, "a number")),
        }
    }

    /// Whether a flag is set; in a query its name alone sets it.
    pub(super) fn flag(&self, key: &str) -> Result<bool, String> {
        Ok(self.flag_if_said(key)?.unwrap_or_default())
    }

    /// Whether a flag is set, if it is said.
    pub(super) fn flag_if_said(&self, key: &str) -> Result<Option<bool>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if self.place == QUERY => match text.as_str() {
                "" | "true" | "1" => Ok(Some(true)),
                "false" | "0" => Ok(Some(false)),
                _ => Err(self.refuse(key, "true or false")),
            },
            Some(_) => Err(self.refuse(key, "true or false")),
        }
    }

    /// Whether the value of a key is this word.
    pub(super) fn is(&self, key: &str, word: &str) -> bool {
        self.values.get(key).is_some_and(|value| value == word)
    }

    /// The value of a key that is a list of texts, each read by `read`; `expected` says what else it
    /// may be.
    pub(super) fn texts<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Result<Option<Vec<T>>, String> {
        let Some(list) = self.list(key, expected)? else {
            return Ok(None);
        };
        let each = list.iter().enumerate().map(|(at, value)| {
            let refuse = |expected: &str| {
                let (place, found) = (&self.place, found(value));
                format!("{place}.{key}[{at}]: found {found} (expected {expected})")
            };
            let text = value.as_str().ok_or_else(|| refuse("a text in quotes"))?;
            read(text).map_err(|Invalid(expected)| refuse(&expected))
        });
        each.collect::<Result<_, _>>().map(Some)
    }

    /// The value of a key that is a list of objects, whose keys are to be read like these.
    pub(super) fn objects(&self, key: &str) -> Result<Option<Vec<Self>>, String> {
        let Some(list) = self.list(key, "a list of objects")? else {
            return Ok(None);
        };
        let each = list.iter().enumerate().map(|(at, value)| {
            let place = format!("{}.{key}[{at}]", self.place);
            match value {
                Value::Object(values) => Ok(Self {
                    place,
                    values: values.clone(),
                }),
                other => Err(format!(
                    "{place}: found {} (expected an object)",
                    found(other)
                )),
            }
        });
        each.collect::<Result<_, _>>().map(Some)
    }

    fn list(&self, key: &str, expected: &str) -> Result<Option<&Vec<Value>>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(self.refuse(key, expected)),
        }
    }

    /// A key that must be there.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, String> {
        value.ok_or_else(|| format!("{}.{key}: is missing", self.place))
    }

    fn refuse(&self, key: &str, expected: &str) -> String {
        let found = self.values.get(key).map_or_else(String::new, found);
        format!("{}.{key}: found {found} (expected {expected})", self.place)
    }
}

/// What was found, on one line and bounded.
pub(super) fn found(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(FOUND_CHARS_MAX) {
                Some((at, _)) => format!("{}…", &text[..at]),
                None => text,
            }
        }
    }
}

fn nearest<'a>(unknown: &str, known: &'a [String]) -> Option<&'a String> {
    let unknown: String = unknown.chars().take(FOUND_CHARS_MAX).collect();
    let likeness = |key: &String| strsim::jaro_winkler(&unknown, key);
    let best = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS_MIN).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_bounded_and_take_a_bare_zero() {
        assert_eq!(clock("0"), Ok(Duration::ZERO));
        assert_eq!(clock("30s"), Ok(Duration::from_secs(30)));
        assert!(clock("5").is_err() && clock("-1s").is_err());
        assert_eq!(clock("169h"), Err(Invalid("at most 168h, a week".into())));
        assert_eq!(wait("24h"), Ok(WAIT_MAX));
        assert_eq!(wait("1441m"), Err(Invalid("at most 24h".into())));
        assert_eq!(ttl("24h"), Ok(PAUSE_TTL_MAX));
        for text in ["0", "0s", "1441m"] {
            let expected = "more than 0s, at most 24h";
            assert_eq!(ttl(text), Err(Invalid(expected.into())), "{text}");
        }
        assert_eq!(clock_or_never("never"), Ok(None));
        assert_eq!(clock_or_never("0s"), Ok(Some(Duration::ZERO)));
    }

    #[test]
    fn how_many_are_to_be_left_is_a_number_that_a_pool_can_have() {
        assert_eq!(min_eligible("1"), Ok(1));
        assert_eq!(min_eligible("1000"), Ok(1000));
        for text in ["", "0", "1001", "-1", "+1", "x", "99999999999"] {
            let expected = "a number from 1 to 1000";
            assert_eq!(min_eligible(text), Err(Invalid(expected.into())), "{text}");
        }
    }

    #[test]
    fn a_place_in_the_events_is_a_number_and_maybe_whose() {
        let of = |number, began_ms| Ok(Since { number, began_ms });
        assert_eq!(since("0"), of(0, None));
        assert_eq!(since("18446744073709551615"), of(u64::MAX, None));
        assert_eq!(since("57@1790000000000"), of(57, Some(1_790_000_000_000)));
        for text in [
            "",
            "x",
            "-1",
            "+1",
            "1.5",
            " 1",
            "@1",
            "1@",
            "1@x",
            "1@2@3",
            "18446744073709551616",
        ] {
            let expected = "the number of an event, such as 57 or 57@1790000000000";
            assert_eq!(since(text), Err(Invalid(expected.into())), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_says_where_what_and_what_is_expected() {
        let known = ["wait".to_owned(), "timeout".to_owned()];
        let query = |pairs: &[(&str, &str)]| {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            Fields::of_query(pairs.iter().map(own).collect())
        };
        let unknown = |key| query(&[(key, "")]).unwrap().only(&known).err().unwrap();
        assert_eq!(
            unknown("wiat"),
            "query: unknown key \"wiat\" (did you mean \"wait\"?)"
        );
        assert_eq!(
            unknown("zzz"),
            "query: unknown key \"zzz\" (expected one of wait, timeout)"
        );
        assert_eq!(
            query(&[("a", "1")]).unwrap().only(&[]).err().unwrap(),
            "query: unknown key \"a\" (expected none here)"
        );
        assert_eq!(
            query(&[("a", "1"), ("a", "1")]).err().unwrap(),
            "query.a: given twice (expected once)"
        );
        assert_eq!(
            query(&[("wait", "5x")]).unwrap().text("wait", wait),
            Err(
                "query.wait: found \"5x\" (expected a whole number and ms, s, m or h, such as 30s)"
                    .into()
            )
        );
        let body = |text: &str| Fields::of_body(text.as_bytes());
        assert_eq!(
            body("[1]").err().unwrap(),
            "body: found a list (expected a JSON object)"
        );
        assert_eq!(
            body("{\"a\":").err().unwrap(),
            "body: EOF while parsing a value at line 1 column 5 (expected a JSON object)"
        );
        assert_eq!(
            body("{\"standby\":\"true\"}").unwrap().flag("standby"),
            Err("body.standby: found \"true\" (expected true or false)".into())
        );
        assert_eq!(
            body("{\"wait\":5}").unwrap().text("wait", wait),
            Err("body.wait: found 5 (expected a text in quotes)".into())
        );
    }

    #[test]
    fn a_flag_is_set_by_its_name_alone() {
        let flag = |value: &str| {
            let pairs = vec![("force".to_owned(), value.to_owned())];
            Fields::of_query(pairs).unwrap().flag("force")
        };
        for (text, set) in [
            ("", true),
            ("true", true),
            ("1", true),
            ("false", false),
            ("0", false),
        ] {
            assert_eq!(flag(text), Ok(set), "{text}");
        }
        assert!(flag("yes").is_err());
    }
}
