//! The binary: the allocator, the command line, the exit code.
#![expect(
    clippy::print_stderr,
    reason = "the placeholders below say what is missing"
)]

use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let daemon = tidegate::cli::Daemon { run, check };
    tidegate::cli::main(&daemon).into()
}

// PLACEHOLDER until `server` and `config` are merged.
fn run(_: &Path) -> u8 {
    eprintln!("error: `run` is not built yet");
    1
}

// PLACEHOLDER until `config` is merged.
fn check(_: &Path, _json: bool) -> u8 {
    eprintln!("error: `check` is not built yet");
    1
}
