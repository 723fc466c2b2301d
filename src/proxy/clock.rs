//! One timer for each client connection, for whatever it waits for at the moment.
//!
//! Deadlines move with almost every request, while almost none is ever reached. So the timer is not
//! armed anew for a deadline that lies behind the one it is armed for: it goes off early, sees that,
//! and is armed again. Under keep-alive load that is once in a minute instead of twice a request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Behind every deadline; tokio's own idea of far away.
pub(super) const FAR: Duration = Duration::from_secs(86400 * 365 * 30);

/// See the module's words.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// What it is armed for: never later than the deadline that was asked for last.
    armed: Instant,
}

impl Timer {
    pub(super) fn new() -> Self {
        let armed = Instant::now() + FAR;
        Self {
            sleep: Box::pin(sleep_until(armed)),
            armed,
        }
    }

    /// Whether `deadline` has passed; if not, the task is woken when it does, or earlier.
    pub(super) fn poll_past(&mut self, context: &mut Context<'_>, deadline: Instant) -> bool {
        if deadline < self.armed {
            self.arm(deadline);
        }
        while self.sleep.as_mut().poll(context) == Poll::Ready(()) {
            if Instant::now() >= deadline {
                return true;
            }
            self.arm(deadline);
        }
        false
    }

    fn arm(&mut self, deadline: Instant) {
        self.sleep.as_mut().reset(deadline);
        self.armed = deadline;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn past(timer: &mut Timer, deadline: Instant) {
        poll_fn(|context| match timer.poll_past(context, deadline) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_kept_whether_it_comes_before_or_behind_the_last() {
        let mut timer = Timer::new();
        let begun = Instant::now();
        for (asked, given_up) in [
            (75, true),
            (60, true),
            (10, false),
            (70, false),
            (80, false),
        ] {
            let deadline = begun + Duration::from_secs(asked);
            if given_up {
                let one = Duration::from_secs(1);
                let _ = tokio::time::timeout(one, past(&mut timer, deadline)).await;
            } else {
                past(&mut timer, deadline).await;
                let late = Instant::now() - deadline;
                assert!(late < Duration::from_millis(5), "{asked}: {late:?}");
            }
        }
    }
}
