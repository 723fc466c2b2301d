//! The command line: from what was typed to an exit code.
//!
//! `tree` is what can be typed, `calls` turns it into the question that is sent, `progress` shows what
//! is left while it waits, `render`, `rollout` and `table` put the answer into words. `status` and
//! `history` show, `events` follows what happens, `line` puts one event into words. `endings` lists what
//! every verb can end in.
//!
//! What always holds: data goes to stdout, words to stderr; with `--json` stdout is exactly one
//! document, also when it failed (of `events`: one a line for each event, or the one that says why
//! there is no stream; of `status --watch` one for each look); the exit code is that of the `outcome` in
//! the answer ([`crate::outcome`]), never of an HTTP status. Two exit codes have no outcome, because
//! nobody answered: 4, unreachable, and 130, interrupted while waiting.
//!
//! Who calls it: `main`, which gives it the two verbs that are the proxy itself ([`Daemon`]).

mod calls;
mod endings;
mod events;
mod history;
mod line;
mod progress;
mod render;
mod rollout;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use rustix::termios::tcgetwinsize;
use serde_json::{Value, json};

use crate::admin::client::{Client, Unreachable};
use crate::outcome::{EXIT_UNREACHABLE, Outcome};
use crate::report::Answer;
use calls::{Call, Watched};
use progress::Stopped;
use render::Words;
use tree::{Everywhere, Tree, Verb};

pub use endings::{VerbEnding, endings, markdown};

/// By convention: ended by SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

/// A terminal that does not say how large it is.
const SCREEN_UNKNOWN: Screen = Screen {
    rows: 24,
    columns: 80,
};

/// The verbs that are not questions to a running proxy. Each gives the exit code, and says its failure
/// as JSON if asked.
pub struct Daemon {
    /// Runs the proxy with this configuration file until it is told to end.
    pub run: fn(&Path, json: bool) -> u8,
    /// Says every problem of this configuration file.
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
        err_is_terminal,
        colours_out: out_is_terminal && !no_color,
        colours_err: err_is_terminal && !no_color,
        screen: out_is_terminal.then_some(screen as fn() -> Screen),
        progress_every: match err_is_terminal {
            true => progress::ON_TERMINAL,
            false => progress::IN_LOG,
        },
    };
    run(std::env::args_os(), daemon, &mut console)
}

/// How much fits on a terminal.
struct Screen {
    rows: usize,
    columns: usize,
}

fn screen() -> Screen {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => Screen {
            rows: size.ws_row.into(),
            columns: size.ws_col.into(),
        },
        _ => SCREEN_UNKNOWN,
    }
}

/// Where to write, and how. What cannot be written, such as into a closed pipe, is let go: the exit
/// code says the same.
struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    err_is_terminal: bool,
    colours_out: bool,
    colours_err: bool,
    /// The size of stdout, if it is a terminal.
    screen: Option<fn() -> Screen>,
    progress_every: Duration,
}

impl Console<'_> {
    fn out(&mut self, text: &str) {
        let _ = self.try_out(text);
    }

    /// Data of which there may be more: who goes on has to know that nobody reads it.
    fn try_out(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn err(&mut self, line: &str) {
        let _ = match line.strip_prefix("error:") {
            Some(rest) if self.colours_err => writeln!(self.err, "\x1b[1;31merror:\x1b[0m{rest}"),
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

    /// On a terminal it does not wrap: what does not fit could not be taken away again.
    fn progress(&mut self, line: &str) {
        // What a probe or a client sent may be in it: it moves no cursor.
        let line = line.replace(char::is_control, " ");
        let _ = match self.err_is_terminal {
            true => write!(self.err, "\r\x1b[K\x1b[?7l{line}\x1b[?7h"),
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
    let typed: Vec<OsString> = typed.into_iter().collect();
    let tree = match Tree::try_parse_from(&typed) {
        Ok(tree) => tree,
        Err(error) => return not_a_verb(&error, &typed, console),
    };
    let json = tree.everywhere.json;
    match &tree.verb {
        Verb::Run(config) => return (daemon.run)(&config.file, json),
        Verb::Check(config) => return (daemon.check)(&config.file, json),
        Verb::Completions { shell } => return completions(*shell, json, console),
        _ => {}
    }
    let client = match client(&tree.everywhere) {
        Ok(client) => client,
        Err(problem) => {
            let row = Outcome::Invalid.row();
            return unanswered(row.word, row.exit, &problem, None, json, console);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(question(&tree.verb, &client, json, console)),
        Err(error) => {
            let row = Outcome::Error.row();
            unanswered(row.word, row.exit, &error.to_string(), None, json, console)
        }
    }
}

/// Help was asked for, or what was typed makes no sense.
fn not_a_verb(error: &clap::Error, typed: &[OsString], console: &mut Console<'_>) -> u8 {
    let text = error.render().to_string();
    if !error.use_stderr() {
        console.out(&text);
        return Outcome::Done.row().exit;
    }
    if typed.iter().any(|word| word == "--json") {
        let (message, _) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let document = json!({"outcome": Outcome::Invalid, "message": message.trim_end()});
        console.out(&pretty(&document));
    }
    console.err(text.trim_end());
    u8::try_from(error.exit_code()).unwrap_or(2)
}

fn completions(shell: Shell, json: bool, console: &mut Console<'_>) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Tree::command(), "tidegate", &mut script);
    let script = String::from_utf8_lossy(&script);
    match json {
        true => {
            let document =
                json!({"outcome": Outcome::Done, "shell": shell.to_string(), "script": script});
            console.out(&pretty(&document));
        }
        false => console.out(&script),
    }
    Outcome::Done.row().exit
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
    match verb {
        Verb::Status { place, watch } => {
            return status::show(place.as_ref(), *watch, client, json, console).await;
        }
        Verb::Events { place, since } => {
            return events::follow(place.as_ref(), since.clone(), client, json, console).await;
        }
        Verb::History(asked) => return history::show(asked, client, json, console).await,
        _ => {}
    }
    let Some(call) = calls::call(verb) else {
        return Outcome::Invalid.row().exit;
    };
    match progress::ask(client, &call, console).await {
        Ok(document) => conclude(document, json, console),
        Err(Stopped::Unreachable(unreachable)) => not_reached(&unreachable, json, console),
        Err(Stopped::Interrupted) => interrupted(&call, json, console),
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

fn not_reached(unreachable: &Unreachable, json: bool, console: &mut Console<'_>) -> u8 {
    let Unreachable { message, hint } = unreachable;
    let (word, exit) = ("unreachable", EXIT_UNREACHABLE);
    unanswered(word, exit, message, Some(hint), json, console)
}

fn interrupted(call: &Call, json: bool, console: &mut Console<'_>) -> u8 {
    let hint = match &call.watched {
        Some(Watched::Rollout(pool)) => {
            format!("`tidegate status {pool}` shows it, `tidegate abort {pool}` takes it back")
        }
        _ => "`tidegate status` shows it".to_owned(),
    };
    let message = "interrupted; what was begun goes on";
    let (word, exit) = ("interrupted", EXIT_INTERRUPTED);
    unanswered(word, exit, message, Some(&hint), json, console)
}

/// The end of what was not answered by a proxy.
fn unanswered(
    word: &str,
    exit: u8,
    message: &str,
    hint: Option<&str>,
    json: bool,
    console: &mut Console<'_>,
) -> u8 {
    if json {
        let mut document = json!({"outcome": word, "message": message});
        if let Some(hint) = hint {
            document["hint"] = hint.into();
        }
        console.out(&pretty(&document));
    }
    console.err(&format!("error: {message}"));
    if let Some(hint) = hint {
        console.err(&format!("hint: {hint}"));
    }
    exit
}

/// Data could not be written. Nobody reading it any more is how such a verb ends.
fn not_written(error: &io::Error, console: &mut Console<'_>) -> u8 {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Outcome::Done.row().exit;
    }
    console.err(&format!("error: stdout: {error}"));
    Outcome::Error.row().exit
}

fn not_understood(console: &mut Console<'_>) -> u8 {
    console.err("error: the answer is not understood");
    console.err("hint: command line and proxy may differ in version; compare `tidegate --version`");
    Outcome::Error.row().exit
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
