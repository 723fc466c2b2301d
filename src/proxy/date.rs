//! The `Date` of answers that have none of their own, written once a second on each thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static NOW: RefCell<(u64, String)> = RefCell::default();
}

/// Gives the date of this second (RFC 9110, 5.6.7).
pub(super) fn with<T>(use_it: impl FnOnce(&str) -> T) -> T {
    let now = SystemTime::now();
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    NOW.with_borrow_mut(|(of, text)| {
        if *of != second || text.is_empty() {
            *of = second;
            *text = httpdate::fmt_http_date(now);
        }
        use_it(text)
    })
}
