//! Traffic that goes on beside a deploy: clients that never retry, each request on a connection of its
//! own, until the test has seen enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Proxy, Wire, get, within};

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(2);

/// What one request came to.
#[derive(Clone, Debug)]
pub struct Answered {
    /// When its answer was whole.
    pub at: Instant,
    /// Its status; 0 where there was none.
    pub status: u16,
    /// Its body, which is the name of the app.
    pub by: String,
}

/// Traffic under way.
pub struct Traffic {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Answered>>>,
}

impl Traffic {
    /// So many clients that ask for `/quick`.
    pub fn start(proxy: &Proxy, clients: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let client = |_| {
            let (address, is_over) = (proxy.address.clone(), Arc::clone(&is_over));
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    let (status, by) = one(&address).await;
                    let at = Instant::now();
                    seen.push(Answered { at, status, by });
                    answered.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(PAUSE).await;
                }
                seen
            })
        };
        let clients = (0..clients).map(client).collect();
        Self {
            is_over,
            answered,
            clients,
        }
    }

    /// Waits until so many more were answered.
    pub async fn goes_on_for(&self, many: usize) {
        let end = self.answered.load(Ordering::SeqCst) + many;
        within("more answers", async {
            while self.answered.load(Ordering::SeqCst) < end {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }

    /// Everything that was answered, in the order of time.
    pub async fn stop(self) -> Vec<Answered> {
        self.is_over.store(true, Ordering::SeqCst);
        let mut seen = Vec::new();
        for client in self.clients {
            seen.extend(within("the traffic to end", client).await.unwrap());
        }
        seen.sort_by_key(|answered| answered.at);
        seen
    }
}

/// Everything has status 200.
pub fn assert_all_good(seen: &[Answered]) {
    let bad: Vec<&Answered> = seen.iter().filter(|one| one.status != 200).collect();
    assert!(
        bad.is_empty(),
        "{} of {} failed, the first: {:?}",
        bad.len(),
        seen.len(),
        bad[0]
    );
}

async fn one(address: &str) -> (u16, String) {
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        Wire::new(stream).exchange(get("/quick")).await
    };
    match asked.await {
        Ok(answer) => (answer.status(), answer.text()),
        Err(error) => (0, error.to_string()),
    }
}
