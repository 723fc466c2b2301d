//! Tidegate: a reverse proxy for zero-downtime deploys by connection draining.
//!
//! Old and new instances of an app run side by side, traffic moves to the new ones, the old ones
//! finish what they hold, and the proxy says when an old instance holds nothing more, so that a
//! script can send it SIGTERM and nobody sees an error.
//!
//! # The map
//!
//! ```text
//! main -> cli -> server -> proxy  admin  health  control  config  state  metrics  shutdown
//!                admin -> control -> drain -> pool -> backend
//!                proxy -> pool, backend, metrics      health -> backend      metrics -> pool, backend
//!                at the bottom, for everyone: spec (values), outcome (the table), report (answers), events
//! ```
//!
//! A test holds these arrows (`tests/behaviour/house.rs`).
//!
//! # A request
//!
//! [`proxy`] loads the snapshot ([`pool::Snapshot`]), routes it to a pool and claims an eligible
//! backend ([`pool::Pools::claim`]); a refused claim loads again. The claim ([`backend::Claim`])
//! sits in the exchange; on a retry it is released before the next is taken; when the exchange is
//! dropped, however it ended, the count goes down and one record of it is made. No other place
//! counts.
//!
//! # A drain
//!
//! [`cli`] -> [`admin`] -> [`control::Control::drain`]: store the intent, publish it, set the
//! refusing bit ([`backend::Word`]), wait for the seal or the clock ([`drain::Drain`]), answer one
//! outcome of the table ([`outcome::Outcome`]), which is the exit code. If the client hangs up, the
//! drain goes on.
pub mod admin;
pub mod backend;
pub mod cli;
pub mod config;
pub mod control;
pub mod drain;
pub mod events;
pub mod health;
pub mod metrics;
pub mod outcome;
pub mod pool;
pub mod proxy;
pub mod report;
pub mod rollout;
pub mod server;
pub mod shutdown;
pub mod spec;
pub mod state;
