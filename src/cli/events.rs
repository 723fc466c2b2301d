//! `tidegate events`: one line for each event until the proxy, the reader or the person ends it.
//!
//! The proxy is not asked again by itself when the stream ends: what follows is the next process's, and
//! whoever watches should know. The hint says how to go on without missing anything.

use std::io;
use std::pin::pin;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::tree::Place;
use super::{Console, calls, conclude, line, not_reached, not_understood, not_written};
use crate::admin::client::{Ask, Client, Ended, Followed};
use crate::outcome::{EXIT_UNREACHABLE, Outcome};

/// Between two looks whether stdout is still read.
const READER_LOOK: Duration = Duration::from_secs(1);

/// Follows until the end; gives the exit code.
pub(super) async fn follow(
    place: Option<&Place>,
    mut since: Option<String>,
    client: &Client,
    json: bool,
    console: &mut Console<'_>,
) -> u8 {
    let ask = Ask::get(calls::events(place, since.as_deref()));
    let mut stream = match client.follow(&ask).await {
        Ok(Followed::Stream(stream)) => stream,
        Ok(Followed::Answered(document)) => return conclude(document, json, console),
        Err(unreachable) => return not_reached(&unreachable, json, console),
    };
    let mut reader_gone = pin!(reader_gone());
    loop {
        let told = tokio::select! {
            biased;
            told = stream.next() => told,
            () = &mut reader_gone => return Outcome::Done.row().exit,
        };
        let text = match told {
            Ok(text) => text,
            Err(ended) => return lost(&ended, place, since.as_deref(), console),
        };
        let Ok(event) = serde_json::from_str::<Value>(&text) else {
            return not_understood(console);
        };
        let shown = match json {
            true => text,
            false => line::of(&event),
        };
        match console.try_out(&format!("{shown}\n")) {
            Ok(()) => since = number(&event).or(since),
            Err(error) => return not_written(&error, console),
        }
    }
}

/// Where to go on behind an event.
fn number(event: &Value) -> Option<String> {
    let (number, began) = (event["number"].as_u64()?, event["began_ms"].as_u64()?);
    Some(format!("{number}@{began}"))
}

fn lost(
    ended: &Ended,
    place: Option<&Place>,
    since: Option<&str>,
    console: &mut Console<'_>,
) -> u8 {
    let place = place.map(|place| format!(" {place}")).unwrap_or_default();
    let since = since.map(|since| format!(" --since {since}"));
    let since = since.unwrap_or_default();
    console.err(&format!("error: {ended}"));
    console.err(&format!("hint: `tidegate events{place}{since}` goes on"));
    EXIT_UNREACHABLE
}

/// Is ready when nobody reads stdout any more, so that `events | grep -m1 …` ends with its reader and
/// not only with the next event. Never of a file, which has no reader.
async fn reader_gone() {
    let out = io::stdout();
    let mut looks = tokio::time::interval(READER_LOOK);
    loop {
        looks.tick().await;
        // Asked for nothing, it says the end alone.
        let mut asked = [PollFd::new(&out, PollFlags::empty())];
        let looked = poll(&mut asked, Some(&Timespec::default()));
        let end = PollFlags::ERR | PollFlags::HUP;
        if looked.is_ok() && asked[0].revents().intersects(end) {
            return;
        }
    }
}
