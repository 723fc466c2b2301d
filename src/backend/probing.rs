//! Whether a generation may be probed now, and whether it is.
//!
//! The prober begins each probe here ([`Probing::begin`]) and holds the guard for as long as the
//! probe's connection may be open. Who must know that there is none, a drain before its seal, takes
//! a hold: no probe begins while there is one, the one under way is given up
//! ([`Probing::held`]), and [`Hold::free`] resolves when its guard is gone. A hold that is dropped
//! lets probing go on; one that is kept ends it for ever.
//!
//! What always holds: while a hold is out and was seen free, no probe is under way. Both are one
//! value behind one lock (that of the channel), so there is no moment in between.
//!
//! Off the request path: a probe takes this lock twice.

use tokio::sync::watch;

/// See the module's words.
pub struct Probing {
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    holds: usize,
    under_way: usize,
}

/// One probe; dropped when its connection is closed.
pub struct UnderWay<'a>(&'a Probing);

/// As long as it lives, no probe begins.
pub struct Hold<'a>(&'a Probing);

impl Probing {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(State::default()),
        }
    }

    /// Waits until there is no hold, and begins a probe.
    pub async fn begin(&self) -> UnderWay<'_> {
        let mut state = self.state.subscribe();
        loop {
            let has_begun = self.state.send_if_modified(|state| {
                let is_free = state.holds == 0;
                state.under_way += usize::from(is_free);
                is_free
            });
            if has_begun {
                return UnderWay(self);
            }
            until(&mut state, |state| state.holds == 0).await;
        }
    }

    /// Resolves when there is a hold: a probe under way is to be given up.
    pub async fn held(&self) {
        until(&mut self.state.subscribe(), |state| state.holds > 0).await;
    }

    /// Lets no further probe begin.
    pub fn hold(&self) -> Hold<'_> {
        self.state.send_modify(|state| state.holds += 1);
        Hold(self)
    }

    /// How many probes are under way.
    pub fn under_way(&self) -> usize {
        self.state.borrow().under_way
    }
}

impl Hold<'_> {
    /// Resolves when no probe is under way. None will be as long as this lives.
    pub async fn free(&self) {
        until(&mut self.0.state.subscribe(), |state| state.under_way == 0).await;
    }

    /// Ends probing for ever.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.holds -= 1);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.under_way -= 1);
    }
}

async fn until(state: &mut watch::Receiver<State>, is_so: impl Fn(&State) -> bool) {
    let seen = state.wait_for(is_so).await;
    seen.expect("the sender lives in the backend, which the caller holds");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};

    fn is_ready<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        future.poll(&mut context).is_ready()
    }

    #[tokio::test]
    async fn a_hold_is_free_when_the_probe_is_over() {
        let probing = Probing::new();
        let under_way = probing.begin().await;
        assert_eq!(probing.under_way(), 1);
        assert!(!is_ready(pin!(probing.held())));
        let hold = probing.hold();
        assert!(is_ready(pin!(probing.held())));
        let free = hold.free();
        let mut free = pin!(free);
        assert!(!is_ready(free.as_mut()));
        drop(under_way);
        assert!(is_ready(free));
    }

    #[tokio::test]
    async fn a_probe_begins_when_the_last_hold_is_gone() {
        let probing = Arc::new(Probing::new());
        let (first, second) = (probing.hold(), probing.hold());
        let waiting = Arc::clone(&probing);
        let begun = tokio::spawn(async move { waiting.begin().await.0.under_way() });
        drop(first);
        assert!(!is_ready(pin!(probing.begin())));
        drop(second);
        assert_eq!(begun.await.unwrap(), 1);
        assert_eq!(probing.under_way(), 0);
    }

    #[tokio::test]
    async fn a_hold_that_is_kept_ends_probing() {
        let probing = Probing::new();
        probing.hold().keep();
        drop(probing.hold());
        assert!(!is_ready(pin!(probing.begin())));
    }
}
