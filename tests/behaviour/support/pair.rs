//! Two apps behind one proxy, and a request that is held in the first: how most drains begin.

use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::app::Entered;
use super::{App, Message, Proxy, Setup, get, within};

/// The path that drains `a`.
pub const DRAIN_A: &str = "/v1/pools/web/backends/a/drain";

/// A proxy before two healthy apps, `a` and `b`.
pub async fn pair() -> (App, App, Proxy) {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    (a, b, proxy)
}

/// Sends requests until one has entered `a`; those that went to `b` are let go.
pub async fn enter(
    proxy: &Proxy,
    a: &mut App,
    b: &mut App,
) -> (Entered, JoinHandle<io::Result<Message>>) {
    loop {
        let answer = proxy.fetch(get("/door"));
        let mut to_b = None;
        within("a request to enter", async {
            loop {
                if !a.is_quiet() {
                    break;
                }
                if !b.is_quiet() {
                    to_b = Some(b.entered().await);
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        match to_b {
            Some(entered) => {
                entered.release("b").await;
                answer.await.unwrap().unwrap();
            }
            None => return (a.entered().await, answer),
        }
    }
}
