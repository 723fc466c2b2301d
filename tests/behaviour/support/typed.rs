//! A command that was typed and has not ended yet.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::{Proxy, binary, within};

/// See the module's words. Killed when it is dropped.
pub struct Typed(Option<Child>);

impl Typed {
    /// Begins it, with the admin API at `admin`.
    pub fn at(admin: &std::path::Path, args: &[&str]) -> Self {
        let child = Command::new(binary())
            .args(args)
            .env("TIDEGATE_ADMIN", admin)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(Some(child))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    /// Its process.
    pub fn pid(&mut self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.child())
    }

    /// Whether it still waits.
    pub fn waits(&mut self) -> bool {
        self.child().try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> Output {
        let child = self.0.take().unwrap();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        within("the command line to end", output).await.unwrap()
    }

    /// Does something again and again until it has ended: what it waits for comes at any moment, and
    /// when it has begun to wait is not seen from here.
    pub async fn ended_by(mut self, mut again: impl AsyncFnMut()) -> Output {
        within("the command line to end", async {
            while self.waits() {
                again().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.ended().await
    }

    /// Its process, for who reads what it says.
    pub fn into_child(mut self) -> Child {
        self.0.take().unwrap()
    }

    /// Kills it without a chance to say anything.
    pub fn kill(mut self) {
        self.child().kill().unwrap();
        self.child().wait().unwrap();
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Proxy {
    /// The command line against this proxy, in the background.
    pub fn cli_later(&self, args: &[&str]) -> Typed {
        Typed::at(&self.path("admin.sock"), args)
    }
}
