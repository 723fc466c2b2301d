//! Loom models of the word and its waiters: every interleaving of two or three threads, with every
//! value that the memory orderings allow a load to see.
//!
//! - `counts`: a claim, an upgrade and a release are single steps, and gates refuse;
//! - `drained`: what the seal decides, and what is seen by whoever is told of it;
//! - `waking`: no wake-up is lost;
//! - `published`: the order of gates and snapshots, with a number in the snapshot's stead.
//!
//! The word's source is included over loom's primitives; it names its atomics through
//! `super::sync` for this purpose. The models are small enough to be explored whole: no bound on
//! preemptions is set. What is shared beside the word (what an exchange wrote, what a caller was told)
//! is relaxed wherever the word's orderings are to be what makes it seen.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

mod sync {
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/backend/word.rs"]
mod word;

#[path = "claim_model/counts.rs"]
mod counts;
#[path = "claim_model/drained.rs"]
mod drained;
#[path = "claim_model/published.rs"]
mod published;
#[path = "claim_model/waking.rs"]
mod waking;

use loom::sync::Arc;
use loom::thread::{self, JoinHandle};

use word::{Gate, Word};

/// An open word that the threads of a model share.
fn open() -> Arc<Word> {
    Arc::new(Word::new(Gate::Open))
}

/// A word that drains, with one request in flight.
fn draining_with_a_request() -> Arc<Word> {
    let word = open();
    word.claim().unwrap();
    word.set_gate(Gate::Draining).unwrap();
    word
}

/// Does something with the word on a thread of its own.
fn beside<T: 'static>(word: &Arc<Word>, what: impl FnOnce(&Word) -> T + 'static) -> JoinHandle<T> {
    let word = Arc::clone(word);
    thread::spawn(move || what(&word))
}

/// A whole exchange, if it is granted. Says whether it was.
fn exchange(word: &Word) -> bool {
    let granted = word.claim().is_ok();
    if granted {
        word.release_request();
    }
    granted
}
