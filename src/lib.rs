//! Tidegate: a reverse proxy for zero-downtime deploys by connection draining.
pub mod admin;
pub mod backend;
pub mod cli;
pub mod control;
pub mod drain;
pub mod events;
pub mod outcome;
pub mod pool;
pub mod report;
pub mod spec;
