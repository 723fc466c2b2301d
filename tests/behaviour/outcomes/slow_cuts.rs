//! Close and remove while what they cut is not gone yet. A cut is done by the worker of its connection,
//! so the test holds that: it has one line to write to the access log, and nobody reads it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::OFlags;

use super::rollouts::Held;
use super::{CALM, Case, Way, case, provoke};
use crate::support::pair::enter;
use crate::support::{App, Proxy, Setup, get, within};

pub const CASES: &[Case] = &[
    case!("close", Begun, close_begun),
    case!("close", NotYet, close_not_yet),
    case!("close", Restored, close_restored),
    case!("remove", NotYet, remove_not_yet),
    case!("remove", Restored, remove_restored),
];

#[tokio::test]
async fn close_and_remove_say_what_is_not_cut_yet() {
    provoke(CASES).await;
}

/// A proxy whose only worker is held, before a request that is held in `a`.
struct Stuck {
    proxy: Proxy,
    _apps: [App; 2],
    _inside: Held,
    _log: File,
}

impl Stuck {
    async fn start() -> Self {
        let (mut a, mut b) = (App::start("a").await, App::start("b").await);
        let mut setup = Setup::web_with(&[("a", &a), ("b", &b)], CALM);
        setup.extra = "workers: 1\n".into();
        setup.log = "{access: true}".into();
        let folder = tempfile::tempdir().unwrap();
        let log = pipe(&folder.path().join("access"));
        let proxy = Proxy::start_in(folder, setup).await;
        proxy.until_healthy(&["a", "b"]).await;
        let inside = enter(&proxy, &mut a, &mut b).await;
        fill(&log);
        // It has its answer; the line about it is what the worker cannot write.
        within("an answer", proxy.fetch(get("/quick")))
            .await
            .unwrap()
            .unwrap();
        Self {
            proxy,
            _apps: [a, b],
            _inside: inside,
            _log: log,
        }
    }

    /// Waits until the log of the proxy has this.
    async fn until_logged(&self, what: &str) {
        within(what, async {
            while !self.proxy.log().contains(what) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// A pipe with a name, both ends of it held here.
fn pipe(path: &Path) -> File {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
    let mut options = OpenOptions::new();
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    options.read(true).write(true).custom_flags(flags);
    options.open(path).unwrap()
}

/// Leaves no room in it.
fn fill(mut pipe: &File) {
    for size in [4096, 1] {
        let full = loop {
            if let Err(full) = pipe.write(&vec![b'\n'; size]) {
                break full;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
}

const HELD: &str = "  held by request GET /door from 127.0.0.1, T old, idle T, 0 B up, 0 B down\n";
const GOES_ON: &str = "hint: it goes on draining; `drain web/a` waits again, `close web/a` cuts, `ready web/a` brings it back\n";
const RESTORED: &str = "error: web/a was brought back while it was draining\n\
    hint: do not kill it: it serves again\n";

async fn close_begun(way: Way) {
    let Stuck { proxy, .. } = &Stuck::start().await;
    proxy.cli(&["drain", "web/a", "--no-wait"]).await;
    let out = "web/a is draining: 1 request in flight\n";
    way.ends(proxy, &["close", "web/a", "--wait", "0s"], out, "")
        .await;
}

async fn close_not_yet(way: Way) {
    let Stuck { proxy, .. } = &Stuck::start().await;
    proxy.cli(&["drain", "web/a", "--no-wait"]).await;
    let err =
        format!("error: web/a is not drained yet: 1 request in flight after T\n{HELD}{GOES_ON}");
    way.ends(proxy, &["close", "web/a", "--wait", "50ms"], "", &err)
        .await;
}

async fn close_restored(way: Way) {
    let held = Stuck::start().await;
    held.proxy.cli(&["drain", "web/a", "--no-wait"]).await;
    let close = way.types_later(&held.proxy, &["close", "web/a"]);
    held.until_logged("closed").await;
    held.proxy.cli(&["ready", "web/a"]).await;
    way.says(&close.ended().await, "", RESTORED);
}

async fn remove_not_yet(way: Way) {
    let Stuck { proxy, .. } = &Stuck::start().await;
    let err =
        format!("error: web/a is not drained yet: 1 request in flight after T\n{HELD}{GOES_ON}");
    way.ends(proxy, &["remove", "web/a", "--force"], "", &err)
        .await;
}

async fn remove_restored(way: Way) {
    let held = Stuck::start().await;
    let remove = way.types_later(&held.proxy, &["remove", "web/a", "--force"]);
    held.proxy
        .until("a", "draining", |a| a["intent"] == "draining")
        .await;
    held.proxy.cli(&["ready", "web/a"]).await;
    way.says(&remove.ended().await, "", RESTORED);
}
