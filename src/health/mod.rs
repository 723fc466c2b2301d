//! What the probes see of each backend, and when that becomes a verdict.
//!
//! Three parts, one concern each:
//!
//! - [`Judge`], the pure rule: so many good or failed probes in a row make a verdict;
//! - [`probe`], one question over a connection of its own;
//! - [`Checker`], who is probed when: one task per generation.
//!
//! ```text
//!              rise good in a row (one, for a backend that was there when the proxy started)
//!           .----------------------> healthy
//!  unknown -|                        |     ^
//!           |             fall failed|     |rise good
//!           |                        v     |
//!           '----------------------> unhealthy
//!              fall failed in a row
//! ```
//!
//! What always holds: health is written here and nowhere else while a generation is probed; it never
//! goes back to unknown; the operator's intent is neither read nor written (who is to be probed is
//! the caller's list). A generation has at most one probe at a time, hence at most one connection.
//!
//! `server` owns the one [`Checker`] and hands it the wanted list after each publish; a drain waits
//! for [`Checker::stop`]. What a verdict means for traffic is the pool's business: it hears of it
//! through the callback given to [`Checker::new`].

mod checker;
mod judge;
mod probe;

pub use checker::{Checker, PROBE_GAP_MIN};
pub use judge::{Judge, Seen};
pub use probe::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, probe};
