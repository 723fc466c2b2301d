//! Tidegate: a reverse proxy for zero-downtime deploys by connection draining.
pub mod backend;
pub mod config;
pub mod events;
pub mod spec;
