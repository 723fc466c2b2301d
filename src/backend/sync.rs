//! The primitives that [`super::word`] is built on. `tests/claim_model.rs` includes the word over
//! loom's instead, so nothing else may be named there.

pub(super) use std::sync::Mutex;
pub(super) use std::sync::atomic::{AtomicU64, Ordering};
