//! Tidegate: a reverse proxy for zero-downtime deploys by connection draining.
pub mod backend;
pub mod events;
pub mod health;
pub mod spec;
