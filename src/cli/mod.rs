//! The command line: from what was typed to an exit code.
//!
//! `tree` is what can be typed, `calls` turns it into the question that is sent, `progress` shows what
//! is left while it waits, `render` and `table` put the answer into words. `events` follows what
//! happens, `line` puts one event into words.
//!
//! What always holds: data goes to stdout, words to stderr; with `--json` stdout is exactly one
//! document, also when it failed (of `events`: one a line for each event, or the one that says why
//! there is no stream); the exit code is that of the `outcome` in the answer
//! ([`crate::outcome`]), never of an HTTP status. Two exit codes have no outcome, because nobody
//! answered: 4, unreachable, and 130, interrupted while waiting.
//!
//! Who calls it: `main`, which gives it the two verbs that are not questions ([`Daemon`]).

mod calls;
mod events;
mod line;
mod progress;
mod render;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use serde_json::{Value, json};

use crate::admin::client::{Ask, Client, Unreachable};
use crate::outcome::{EXIT_UNREACHABLE, Outcome};
use crate::report::{Answer, PoolStatus, Status};
use progress::Stopped;
use render::Words;
use tree::{Everywhere, Place, Tree, Verb};

/// By convention: ended by SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Between two looks of `status --watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The verbs that are not questions to a running proxy. Each gives the exit code.
pub struct Daemon {
    /// Runs the proxy with this configuration file until it is told to end.
    pub run: fn(&Path) -> u8,
    /// Says every problem of this configuration file, as JSON if asked.
    pub check: fn(&Path, json: bool) -> u8,
}

/// Does what was typed; gives the exit code.
pub fn main(daemon: &Daemon) -> u8 {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let (out_is_terminal, err_is_terminal) = (out.is_terminal(), err.is_terminal());
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        out_is_terminal,
        err_is_terminal,
        colour: err_is_terminal && !no_color,
        progress_every: match err_is_terminal {
            true => progress::ON_TERMINAL,
            false => progress::IN_LOG,
        },
    };
    run(std::env::args_os(), daemon, &mut console)
}

/// Where to write, and how. What cannot be written, such as into a closed pipe, is let go: the exit
/// code says the same.
struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    out_is_terminal: bool,
    err_is_terminal: bool,
    colour: bool,
    progress_every: Duration,
}

impl Console<'_> {
    fn out(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    /// A line of data of which there may be more: who goes on has to know that nobody reads it.
    fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    fn err(&mut self, line: &str) {
        let _ = match line.strip_prefix("error:") {
            Some(rest) if self.colour => writeln!(self.err, "\x1b[1;31merror:\x1b[0m{rest}"),
            _ => writeln!(self.err, "{line}"),
        };
    }

    fn say(&mut self, words: &Words) {
        for line in &words.out {
            self.out(&format!("{line}\n"));
        }
        for line in &words.err {
            self.err(line);
        }
    }

    fn progress(&mut self, line: &str) {
        let _ = match self.err_is_terminal {
            true => write!(self.err, "\r\x1b[K{line}"),
            false => writeln!(self.err, "{line}"),
        };
        let _ = self.err.flush();
    }

    fn end_progress(&mut self) {
        if self.err_is_terminal {
            let _ = write!(self.err, "\r\x1b[K");
        }
    }
}

fn run(
    typed: impl IntoIterator<Item = OsString>,
    daemon: &Daemon,
    console: &mut Console<'_>,
) -> u8 {
    let tree = match Tree::try_parse_from(typed) {
        Ok(tree) => tree,
        Err(error) => {
            let text = error.render().to_string();
            match error.use_stderr() {
                true => console.err(text.trim_end()),
                false => console.out(&text),
            }
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let json = tree.everywhere.json;
    match &tree.verb {
        Verb::Run(config) => return (daemon.run)(&config.file),
        Verb::Check(config) => return (daemon.check)(&config.file, json),
        _ => {}
    }
    let client = match client(&tree.everywhere) {
        Ok(client) => client,
        Err(problem) => {
            console.err(&format!("error: {problem}"));
            return Outcome::Invalid.row().exit;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(question(&tree.verb, &client, json, console)),
        Err(error) => {
            console.err(&format!("error: {error}"));
            Outcome::Error.row().exit
        }
    }
}

fn client(everywhere: &Everywhere) -> Result<Client, String> {
    let token = match &everywhere.token_file {
        None => None,
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("token file {}: {error}", file.display()))?;
            let token = text.trim();
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!(
                    "token file {}: expected one token of printable characters without spaces",
                    file.display()
                ));
            }
            Some(token.to_owned())
        }
    };
    Ok(Client::new(everywhere.admin.clone(), token))
}

async fn question(verb: &Verb, client: &Client, json: bool, console: &mut Console<'_>) -> u8 {
    if let Verb::Status { place, watch } = verb {
        return status(place.as_ref(), *watch, client, json, console).await;
    }
    if let Verb::Events { place, since } = verb {
        return events::follow(place.as_ref(), since.clone(), client, json, console).await;
    }
    let Some(call) = calls::call(verb) else {
        return Outcome::Invalid.row().exit;
    };
    match progress::ask(client, &call, console).await {
        Ok(document) => conclude(document, json, console),
        Err(Stopped::Unreachable(unreachable)) => not_reached(&unreachable, json, console),
        Err(Stopped::Interrupted) => {
            console.err("error: interrupted; what was begun goes on");
            console.err("hint: `tidegate status` shows it");
            EXIT_INTERRUPTED
        }
    }
}

/// Shows the answer of an operation.
fn conclude(document: Value, json: bool, console: &mut Console<'_>) -> u8 {
    if json {
        console.out(&pretty(&document));
    }
    let Ok(answer) = serde_json::from_value::<Answer>(document) else {
        return not_understood(console);
    };
    let mut words = render::answer(&answer);
    if json {
        // Stdout is the document's alone.
        let said = std::mem::take(&mut words.out);
        words.err.splice(0..0, said);
    }
    console.say(&words);
    answer.outcome.row().exit
}

async fn status(
    place: Option<&Place>,
    watch: bool,
    client: &Client,
    json: bool,
    console: &mut Console<'_>,
) -> u8 {
    let target = place.map_or_else(|| "/v1/status".to_owned(), calls::path);
    let ask = Ask::get(target);
    loop {
        let document = match client.ask(&ask).await {
            Ok(document) => document,
            Err(unreachable) => return not_reached(&unreachable, json, console),
        };
        if document["outcome"] != Outcome::Done.row().word {
            return conclude(document, json, console);
        }
        let text = match json {
            true => Some(pretty(&document)),
            false => shown(place, document),
        };
        let Some(text) = text else {
            return not_understood(console);
        };
        if watch && console.out_is_terminal {
            console.out("\x1b[H\x1b[J");
        }
        console.out(&text);
        if !watch {
            return Outcome::Done.row().exit;
        }
        if !console.out_is_terminal && !json {
            console.out("\n");
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// The table for what was asked for; `None` if the document is not understood.
fn shown(place: Option<&Place>, mut document: Value) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = u64::try_from(now.as_millis()).ok()?;
    Some(match place {
        None => table::status(&serde_json::from_value::<Status>(document).ok()?, now),
        Some(Place { backend: None, .. }) => {
            let pool: PoolStatus = serde_json::from_value(document["pool"].take()).ok()?;
            table::pools(&[pool], now)
        }
        Some(_) => table::backend(&serde_json::from_value::<Answer>(document).ok()?, now),
    })
}

fn not_reached(unreachable: &Unreachable, json: bool, console: &mut Console<'_>) -> u8 {
    let Unreachable { message, hint } = unreachable;
    if json {
        let document = json!({"outcome": "unreachable", "message": message, "hint": hint});
        console.out(&pretty(&document));
    }
    console.err(&format!("error: {message}"));
    console.err(&format!("hint: {hint}"));
    EXIT_UNREACHABLE
}

fn not_understood(console: &mut Console<'_>) -> u8 {
    console.err("error: the answer is not understood");
    console.err("hint: command line and proxy may differ in version; compare `tidegate --version`");
    Outcome::Error.row().exit
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}
