//! Tidegate: a reverse proxy for zero-downtime deploys by connection draining.
pub mod backend;
pub mod config;
pub mod control;
pub mod drain;
pub mod events;
pub mod health;
pub mod metrics;
pub mod outcome;
pub mod pool;
pub mod report;
pub mod spec;
pub mod state;
