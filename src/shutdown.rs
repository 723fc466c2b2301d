//! Counting what is in flight, so that the process can end as soon as the last is done.
//!
//! Each exchange holds an [`InFlight`] guard from its complete request head on, and each client
//! connection one of another count. [`Running::idle`] resolves when none is left. Who calls it: the
//! proxy takes guards, the server waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The exchanges, or the client connections, of this process.
#[derive(Default)]
pub struct Running {
    /// Only the count is exchanged here, so relaxed would do; AcqRel and Acquire make what an
    /// exchange did last happen before the process ends.
    count: AtomicUsize,
    idle: Notify,
}

/// One of them; dropping it ends it.
pub struct InFlight(Arc<Running>);

impl Running {
    /// Counts one more.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.count.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Resolves when none is left. New ones may enter afterwards, so the listeners are closed first.
    pub async fn idle(&self) {
        loop {
            // Registered before the count is read, so the last drop is not missed.
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_comes_with_the_last_end_and_not_before() {
        let running = Arc::new(Running::default());
        running.idle().await;
        let (first, second) = (running.enter(), running.enter());
        let mut idle = Box::pin(running.idle());
        let pending = |idle| futures_util::future::select(idle, std::future::ready(()));
        drop(first);
        assert!(matches!(
            pending(idle.as_mut()).await,
            futures_util::future::Either::Right(_)
        ));
        drop(second);
        idle.await;
        assert_eq!(running.count(), 0);
    }
}
