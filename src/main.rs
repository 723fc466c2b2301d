//! The binary: the allocator, the command line, the exit code.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the two verbs that are no questions speak here"
)]

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use tidegate::cli::{self, Daemon};
use tidegate::config;
use tidegate::outcome::Outcome;
use tidegate::server::{self, StartError};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main(&Daemon { run, check }).into()
}

fn run(file: &Path, as_json: bool) -> u8 {
    let (outcome, error) = match server::run(file) {
        Ok(()) => return Outcome::Done.row().exit,
        Err(error @ StartError::Config(_)) => (Outcome::Rejected, error),
        Err(error @ StartError::Other(_)) => (Outcome::Error, error),
    };
    eprintln!("error: {error}");
    if as_json {
        let document = json!({"outcome": outcome, "message": error.to_string()});
        println!("{document:#}");
    }
    outcome.row().exit
}

fn check(file: &Path, as_json: bool) -> u8 {
    let (outcome, document) = match config::load(file) {
        Ok(config) => {
            for warning in &config.warnings {
                eprintln!("warning: {warning}");
            }
            if !as_json {
                println!("{} is good", file.display());
            }
            (
                Outcome::Done,
                json!({"outcome": Outcome::Done, "problems": [], "warnings": config.warnings}),
            )
        }
        Err(problems) => {
            eprintln!("error: {problems}");
            let listed = problems.problems.iter();
            let listed = listed.map(|problem| json!({"path": problem.path, "text": problem.text}));
            let listed: Vec<_> = listed.collect();
            (
                Outcome::Rejected,
                json!({"outcome": Outcome::Rejected, "problems": listed, "warnings": []}),
            )
        }
    };
    if as_json {
        println!("{document:#}");
    }
    outcome.row().exit
}
