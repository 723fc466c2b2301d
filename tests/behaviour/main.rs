//! The promises of the proxy, one file each, against the real binary as a process.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests"
)]

mod support;

mod aborts;
mod admin;
mod bad_answers;
mod basics;
mod chunks;
mod cli;
mod clocks;
mod connections;
mod cuts;
mod drain;
mod drain_clocks;
mod drain_corners;
mod drain_latency;
mod drain_sockets;
mod early;
mod events;
mod forward;
mod health;
mod hold;
mod hop_by_hop;
mod hostile;
mod hostile_fields;
mod house;
mod interim;
mod kept;
mod metrics;
mod outcomes;
mod pause;
mod pause_ends;
mod reload;
mod remove;
mod retry;
mod rollout;
mod rollout_kills;
mod smuggling;
mod state;
mod stop;
mod streaming;
mod trailers;
mod tunnels;
mod websocket;
mod websocket_close;
