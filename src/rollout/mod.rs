//! What a rollout decides: who comes, who goes, when, and when it is taken back.
//!
//! Pure: a [`plan`] is made from a model and a wish, [`steps`] take the model from one phase to the
//! next, the [`gate`] says when the new ones were healthy long enough, the [`bake`] whether they do
//! well. None of them waits, stores or publishes; [`crate::control`] does, under its lock, and each
//! step is one model and so one snapshot:
//!
//! ```text
//!        begin           open              move on            finish
//! plan -------> Gate -----------> Canary ---------> Bake ---------------> moved
//!                 |        (or straight to Bake)      |
//!                 +---------- take back --------------+-----------------> failed, reverted, aborted
//! ```
//!
//! What always holds: at every step the pool is served by the old set, by the new one, or, in a
//! canary, by both; never by a part of one. What a rollout is not about (other standbys, what still
//! drains) is not touched.

pub mod bake;
pub mod gate;
pub mod plan;
pub mod steps;
