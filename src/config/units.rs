//! Values with their unit, as they are spelled in the file, in the admin API and on the command
//! line: `30s`, `64KiB`.
//!
//! A value is a whole number and one unit. There is one way to read each and one to write it, and
//! what is written reads back as the same value.

use std::time::Duration;

use crate::spec::Invalid;

/// The longest duration: a week. No clock of a proxy makes sense beyond it, and sums of such
/// durations are far from any overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// From the shortest to the longest, in milliseconds.
const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// In bytes.
const SIZE_UNITS: [(&str, u64); 3] = [("B", 1), ("KiB", 1024), ("MiB", 1024 * 1024)];

/// Reads `<whole number><ms|s|m|h>`, at most [`DURATION_MAX`]. Zero is left to the caller to judge.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let expected = "a whole number and ms, s, m or h, such as 30s";
    let millis = parse_with_unit(text, &DURATION_UNITS, expected)?;
    millis
        .map(Duration::from_millis)
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| Invalid("at most 168h, a week".into()))
}

/// Writes a duration with the longest unit that is exact: `90s`, `5m`, `1500ms`. What is finer
/// than a millisecond is cut off; no duration of ours is.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match millis {
        0 => "0s".into(),
        millis => format_with_unit(millis, &DURATION_UNITS),
    }
}

/// Reads `<whole number><B|KiB|MiB>` as bytes.
pub fn parse_size(text: &str) -> Result<u64, Invalid> {
    let expected = "a whole number and B, KiB or MiB, such as 32KiB";
    parse_with_unit(text, &SIZE_UNITS, expected)?.ok_or_else(|| Invalid("a smaller size".into()))
}

/// Writes a size with the longest unit that is exact: `8KiB`, `1500B`.
pub fn format_size(bytes: u64) -> String {
    match bytes {
        0 => "0B".into(),
        bytes => format_with_unit(bytes, &SIZE_UNITS),
    }
}

/// The value in the smallest unit, `None` if it is too large to count.
fn parse_with_unit(
    text: &str,
    units: &[(&str, u64)],
    expected: &str,
) -> Result<Option<u64>, Invalid> {
    let invalid = || Invalid(expected.to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(invalid)?;
    match number {
        "" => Err(invalid()),
        // All digits: it can only fail by being too large.
        number => Ok(number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*factor))),
    }
}

fn format_with_unit(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units
        .iter()
        .rev()
        .find(|(_, factor)| value.is_multiple_of(*factor));
    let (name, factor) = exact.unwrap_or(&units[0]);
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("1500ms", 1500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("168h", 604_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
        let unit = Invalid("a whole number and ms, s, m or h, such as 30s".into());
        for text in [
            "", "s", "30", "-5s", "+5s", "1.5s", "1m30s", "5 s", "5S", "5d", " 5s", "5s ", "٥s",
        ] {
            assert_eq!(parse_duration(text), Err(unit.clone()), "{text:?}");
        }
        let huge = Invalid("at most 168h, a week".into());
        for text in [
            "169h",
            "604800001ms",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            assert_eq!(parse_duration(text), Err(huge.clone()), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_a_whole_number_and_a_unit() {
        assert_eq!(parse_size("32KiB"), Ok(32 * 1024));
        assert_eq!(parse_size("1MiB"), Ok(1024 * 1024));
        assert_eq!(parse_size("7B"), Ok(7));
        let unit = Invalid("a whole number and B, KiB or MiB, such as 32KiB".into());
        for text in ["", "32", "32KB", "32k", "-1B", "1.5MiB", "B"] {
            assert_eq!(parse_size(text), Err(unit.clone()), "{text:?}");
        }
        let huge = parse_size("99999999999999999MiB");
        assert_eq!(huge, Err(Invalid("a smaller size".into())));
    }

    #[test]
    fn the_longest_exact_unit_is_written() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1500ms"),
            (90_000, "90s"),
            (300_000, "5m"),
            (5_400_000, "90m"),
            (3_600_000, "1h"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(format_size(0), "0B");
        assert_eq!(format_size(1500), "1500B");
        assert_eq!(format_size(32 * 1024), "32KiB");
        assert_eq!(format_size(2 * 1024 * 1024), "2MiB");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn what_is_written_reads_back(millis in 0..=604_800_000u64, bytes: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
