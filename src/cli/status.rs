//! `tidegate status`: once, or with `--watch` again each second.
//!
//! On a terminal a picture replaces the one before in one write, line by line and not by clearing first,
//! so that nothing flickers; what does not fit is cut, since a screen that scrolls would not be replaced.
//! No mode of the terminal is changed: Ctrl-C ends it by its signal at any moment. It ends too when nobody
//! reads it any more (exit 0), or when the proxy cannot be asked.

use std::time::Duration;

use serde_json::Value;

use super::tree::Place;
use super::{
    Console, Screen, calls, conclude, not_reached, not_understood, not_written, now, pretty, table,
};
use crate::admin::client::{Ask, Client};
use crate::outcome::Outcome;
use crate::report::{Answer, PoolStatus, Status};

/// Between two looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Asks and shows; gives the exit code.
pub(super) async fn show(
    place: Option<&Place>,
    watch: bool,
    client: &Client,
    json: bool,
    console: &mut Console<'_>,
) -> u8 {
    loop {
        let text = match look(place, client, json, console).await {
            Ok(text) => text,
            Err(exit) => return exit,
        };
        if !watch {
            console.out(&text);
            return Outcome::Done.row().exit;
        }
        if let Err(exit) = show_again(&text, json, console) {
            return exit;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// The text to show, or how it ended.
async fn look(
    place: Option<&Place>,
    client: &Client,
    json: bool,
    console: &mut Console<'_>,
) -> Result<String, u8> {
    let target = place.map_or_else(|| "/v1/status".to_owned(), calls::path);
    let document = match client.ask(&Ask::get(target)).await {
        Ok(document) => document,
        Err(unreachable) => return Err(not_reached(&unreachable, json, console)),
    };
    if document["outcome"] != Outcome::Done.row().word {
        return Err(conclude(document, json, console));
    }
    if json {
        return Ok(pretty(&document));
    }
    let text = in_words(place, document, console.colours_out);
    text.ok_or_else(|| not_understood(console))
}

/// The table for what was asked for; `None` if the document is not understood.
fn in_words(place: Option<&Place>, mut document: Value, colours: bool) -> Option<String> {
    let now = now();
    Some(match place {
        None => {
            let status: Status = serde_json::from_value(document).ok()?;
            table::status(&status, now, colours)
        }
        Some(Place { backend: None, .. }) => {
            let pool: PoolStatus = serde_json::from_value(document["pool"].take()).ok()?;
            table::pools(&[pool], now, colours)
        }
        Some(_) => {
            let answer: Answer = serde_json::from_value(document).ok()?;
            table::backend(&answer, now, colours)
        }
    })
}

fn show_again(text: &str, json: bool, console: &mut Console<'_>) -> Result<(), u8> {
    let text = match (console.screen, json) {
        (Some(screen), false) => picture(text, &screen()),
        (None, false) => format!("{text}\n"),
        (_, true) => text.to_owned(),
    };
    let written = console.try_out(&text);
    written.map_err(|error| not_written(&error, console))
}

/// What replaces the picture before: each line to its end, then what is below.
fn picture(text: &str, screen: &Screen) -> String {
    let lines = text.lines().count();
    // The cursor stands below the last line.
    let fit = screen.rows.saturating_sub(1).max(1);
    let shown = match lines > fit {
        true => fit - 1,
        false => lines,
    };
    let mut picture = "\x1b[H".to_owned();
    for line in text.lines().take(shown) {
        picture += &cut(line, screen.columns);
        picture += "\x1b[K\n";
    }
    if shown < lines {
        picture += &format!("… and {} more lines\x1b[K\n", lines - shown);
    }
    picture + "\x1b[J"
}

/// As much of a line as takes one row. Colours take no room and end with it.
fn cut(line: &str, columns: usize) -> String {
    let (mut kept, mut room, mut is_colour) = (String::new(), columns, false);
    for character in line.chars() {
        is_colour |= character == '\x1b';
        if is_colour {
            is_colour = character != 'm';
        } else if room == 0 {
            continue;
        } else {
            room -= 1;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_replaces_the_one_before_and_never_scrolls() {
        let on = |text: &str, rows, columns| picture(text, &Screen { rows, columns });
        assert_eq!(
            on("one\ntwo\n", 3, 80),
            "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"
        );
        assert_eq!(
            on("one\ntwo\nthree\n", 3, 2),
            "\x1b[Hon\x1b[K\n… and 2 more lines\x1b[K\n\x1b[J"
        );
        for rows in 0..6 {
            let lines = on("1\n2\n3\n4\n5\n", rows, 80).matches('\n').count();
            assert!(lines < rows.max(2), "{lines} of {rows}");
        }
    }

    #[test]
    fn a_colour_takes_no_room_and_does_not_go_on_behind_the_cut() {
        let line = "a \x1b[32mhealthy\x1b[0m yes";
        assert_eq!(cut(line, 80), line);
        assert_eq!(cut(line, 9), "a \x1b[32mhealthy\x1b[0m");
        assert_eq!(cut(line, 4), "a \x1b[32mhe\x1b[0m");
        assert_eq!(cut(line, 0), "\x1b[32m\x1b[0m");
    }
}
