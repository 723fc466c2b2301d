//! The promises of the proxy, one file each, against the real binary as a process.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests"
)]

mod support;

mod admin;
mod cli;
mod drain;
mod forward;
mod health;
mod hold;
mod house;
mod metrics;
mod reload;
mod retry;
mod state;
mod stop;
