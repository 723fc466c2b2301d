//! What every behaviour test stands on: the real binary as a process, apps with doors, and clients
//! that retry nothing.

pub mod app;
pub mod http;
pub mod mask;
pub mod pair;
pub mod refusal;
pub mod script;
pub mod traffic;
pub mod typed;
pub mod websocket;
pub mod witness;

use std::fmt::Write as _;
use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

pub use app::App;
pub use http::{End, Message, Wire, assert_drain_closed, get, post};
pub use script::Script;
pub use typed::Typed;
pub use witness::Witness;

/// One script, alone in pool `web`, behind a proxy with one worker: connections to backends are kept by
/// the worker, so it is sure which one a request gets.
pub async fn one_script() -> (Script, Proxy) {
    let script = Script::start().await;
    let proxy = Proxy::before_with(&script, "", "workers: 1\n").await;
    (script, proxy)
}

/// The program under test: that of this build, or the one that `TIDEGATE` names.
fn binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_tidegate"));
    shipped().unwrap_or_else(built)
}

/// The optimised program, if that is what is tested.
pub fn shipped() -> Option<PathBuf> {
    std::env::var_os("TIDEGATE").map(PathBuf::from)
}

/// The longest that anything may take which is certain to come. Not a proof of anything: a test
/// that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for what is certain to come.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Asserts that something does not come. Used only where the door that would let it come is known
/// to be shut; the time makes a failure likely to show, it proves nothing.
pub async fn not_yet<F: Future + Unpin>(what: &str, future: &mut F) {
    let early = tokio::time::timeout(Duration::from_millis(100), future).await;
    assert!(early.is_err(), "{what} came too early");
}

/// A backend that answers one probe is believed from then on, whatever the test makes of it.
const PROBED_ONCE: &str = "health: {http: /up, interval: 1h, timeout: 5s, rise: 1, fall: 100}";

/// The configuration of a test's proxy.
pub struct Setup {
    pub pools: String,
    pub extra: String,
    /// More keys of `admin`, such as `address: …, tokens: …`.
    pub admin: String,
    pub state: bool,
    pub log: String,
}

impl Setup {
    /// One pool `web` of the given apps, with fast probes.
    pub fn web(apps: &[(&str, &App)]) -> Self {
        Self::web_with(apps, "")
    }

    /// The same with more keys of the pool, one per line.
    pub fn web_with(apps: &[(&str, &App)], keys: &str) -> Self {
        let mut setup = Self {
            pools: String::new(),
            extra: String::new(),
            admin: String::new(),
            state: false,
            log: String::new(),
        };
        setup.pool("web", apps, keys);
        setup
    }

    /// One pool `web` of scripts, named `a`, `b` and so on, that are probed once and then believed.
    pub fn scripts(scripts: &[&Script], keys: &str) -> Self {
        let mut setup = Self::web(&[]);
        setup.pools.clear();
        let ids = ["a", "b", "c", "d", "e"];
        let both = ids.into_iter().zip(scripts);
        let backends: Vec<(&str, &str)> = both
            .map(|(id, script)| (id, script.address.as_str()))
            .collect();
        setup.pool_at("web", &backends, &format!("{PROBED_ONCE}\n{keys}"));
        setup
    }

    /// One pool `web` of a witness, probed once.
    pub fn witness(witness: &Witness) -> Self {
        let mut setup = Self::web(&[]);
        setup.pools.clear();
        setup.pool_at("web", &[("a", &witness.address)], PROBED_ONCE);
        setup
    }

    /// One more pool.
    pub fn pool(&mut self, name: &str, apps: &[(&str, &App)], keys: &str) {
        let apps = apps.iter().map(|(id, app)| (*id, app.address.as_str()));
        self.pool_at(name, &apps.collect::<Vec<_>>(), keys);
    }

    fn pool_at(&mut self, name: &str, backends: &[(&str, &str)], keys: &str) {
        let pools = &mut self.pools;
        writeln!(pools, "  {name}:").unwrap();
        writeln!(
            pools,
            "    backends:{}",
            if backends.is_empty() { " []" } else { "" }
        )
        .unwrap();
        for (id, address) in backends {
            writeln!(pools, "      - {{id: {id}, address: \"{address}\"}}").unwrap();
        }
        if !keys.contains("health:") {
            writeln!(
                pools,
                "    health: {{http: /up, interval: 50ms, timeout: 50ms, rise: 1, fall: 2}}"
            )
            .unwrap();
        }
        for line in keys.lines() {
            writeln!(pools, "    {line}").unwrap();
        }
    }
}

/// A running proxy.
pub struct Proxy {
    child: Child,
    pub folder: TempDir,
    pub address: String,
    setup: Setup,
}

impl Proxy {
    /// Starts the binary and waits until its admin API answers.
    pub async fn start(setup: Setup) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), setup).await
    }

    /// Starts it where an earlier one has left its state.
    pub async fn start_in(folder: TempDir, setup: Setup) -> Self {
        let mut proxy = Self {
            child: Command::new("true").spawn().unwrap(),
            folder,
            address: String::new(),
            setup,
        };
        proxy.child.wait().unwrap();
        proxy.write_config();
        proxy.launch().await;
        proxy
    }

    /// A proxy before one script, which is healthy.
    pub async fn before(script: &Script) -> Self {
        Self::before_with(script, "", "").await
    }

    /// The same with more keys of the pool, one per line, and more sections.
    pub async fn before_with(script: &Script, keys: &str, extra: &str) -> Self {
        let mut setup = Setup::scripts(&[script], keys);
        extra.clone_into(&mut setup.extra);
        let proxy = Self::start(setup).await;
        proxy.until_healthy(&["a"]).await;
        proxy
    }

    async fn launch(&mut self) {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let access = std::fs::File::create(self.path("access")).unwrap();
        self.child = Command::new(binary())
            .args(["run", "-c"])
            .arg(self.path("config.yaml"))
            .stdin(Stdio::null())
            .stdout(access)
            .stderr(log)
            .spawn()
            .unwrap();
        let status = within("the proxy to start", async {
            loop {
                if let Some(ended) = self.child.try_wait().unwrap() {
                    panic!("the proxy ended: {ended}\n{}", self.log());
                }
                if UnixStream::connect(self.path("admin.sock")).await.is_ok() {
                    return self.admin("GET", "/v1/status").await.json();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        self.address = status["listeners"][0]["address"]
            .as_str()
            .unwrap()
            .to_owned();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Writes the configuration with other pools; `reload` then takes it.
    pub fn rewrite(&mut self, setup: Setup) {
        self.setup = setup;
        self.write_config();
    }

    fn write_config(&self) {
        let folder = self.folder.path().display();
        let admin = &self.setup.admin;
        let mut text = format!(
            "admin: {{socket: {folder}/admin.sock, {admin}}}\n\
             metrics: {{address: \"127.0.0.1:0\"}}\n\
             listeners: [{{address: \"127.0.0.1:0\"}}]\n"
        );
        // Connections to backends are kept by the worker, so some tests want to know which it is.
        if !self.setup.extra.contains("workers:") {
            text += "workers: 2\n";
        }
        if self.setup.state {
            writeln!(text, "state: {{file: {folder}/state.json}}").unwrap();
        }
        if !self.setup.log.is_empty() {
            writeln!(text, "log: {}", self.setup.log).unwrap();
        }
        text += &self.setup.extra;
        write!(text, "pools:\n{}", self.setup.pools).unwrap();
        if !self.setup.extra.contains("routes:") {
            text += "routes: [{pool: web}]\n";
        }
        std::fs::write(self.path("config.yaml"), text).unwrap();
    }

    /// The record that the access log has of a path; waits until it is there.
    pub async fn record(&self, path: &str) -> Value {
        within("a record in the access log", async {
            loop {
                let text = std::fs::read_to_string(self.path("access")).unwrap();
                let records = text
                    .lines()
                    .filter_map(|line| serde_json::from_str(line).ok());
                let found = { records }.find(|record: &Value| record["path"] == path);
                if let Some(record) = found {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// A client connection.
    pub async fn client(&self) -> Wire<TcpStream> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Wire::new(stream)
    }

    /// One request on a connection of its own, in the background.
    pub fn fetch(
        &self,
        request: impl AsRef<[u8]> + Send + 'static,
    ) -> tokio::task::JoinHandle<std::io::Result<Message>> {
        let address = self.address.clone();
        tokio::spawn(async move {
            let stream = TcpStream::connect(address).await?;
            Wire::new(stream).exchange(request).await
        })
    }

    /// One call of the admin API.
    pub async fn admin(&self, method: &str, path: &str) -> Message {
        self.admin_with(method, path, "").await
    }

    /// One call with a JSON body.
    pub async fn admin_with(&self, method: &str, path: &str, body: &str) -> Message {
        call(self.path("admin.sock"), method, path, body).await
    }

    /// The same in the background.
    pub fn admin_later(&self, method: &str, path: &str) -> tokio::task::JoinHandle<Message> {
        let (socket, method, path) = (self.path("admin.sock"), method.to_owned(), path.to_owned());
        tokio::spawn(async move { call(socket, &method, &path, "").await })
    }

    /// One backend of pool `web` as the admin API shows it.
    pub async fn backend(&self, id: &str) -> Value {
        let path = format!("/v1/pools/web/backends/{id}");
        self.admin("GET", &path).await.json()["backend"].clone()
    }

    /// Waits until a backend of `web` is what `is_so` says; the admin API is asked again and again.
    pub async fn until(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        within(&format!("{id} to be {what}"), async {
            loop {
                let backend = self.backend(id).await;
                if is_so(&backend) {
                    return backend;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Waits until `a` holds no exchange any more.
    pub async fn until_idle(&self) {
        self.until("a", "idle", |backend| {
            backend["requests"] == 0 && backend["tunnels"] == 0
        })
        .await;
    }

    /// Waits until so many requests of `web` are held.
    pub async fn until_held(&self, count: u64) {
        within("held requests", async {
            while self.admin("GET", "/v1/pools/web").await.json()["pool"]["held"] != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Waits until backends of `web` are healthy.
    pub async fn until_healthy(&self, ids: &[&str]) {
        for id in ids {
            self.until(id, "healthy", |backend| backend["health"] == "healthy")
                .await;
        }
    }

    /// The command line against this proxy.
    pub async fn cli(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env("TIDEGATE_ADMIN", self.path("admin.sock"))
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        within("the command line to end", output).await.unwrap()
    }

    /// The text of the metrics listener.
    pub async fn metrics(&self) -> String {
        let status = self.admin("GET", "/v1/status").await.json();
        let address = status["metrics"]["address"].as_str().unwrap().to_owned();
        let stream = TcpStream::connect(address).await.unwrap();
        let answer = Wire::new(stream).exchange(get("/metrics")).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        within("the proxy to end", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it, without a chance to say anything, and starts it anew in the same folder.
    pub async fn crash_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.launch().await;
    }

    /// Waits for its end, and starts it anew in the same folder.
    pub async fn end_and_restart(&mut self) {
        self.ended().await;
        self.launch().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the proxy\n{}", self.log());
        }
    }
}

pub async fn call(socket: PathBuf, method: &str, path: &str, body: &str) -> Message {
    let stream = UnixStream::connect(socket).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: tidegate\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    Wire::new(stream).exchange(request).await.unwrap()
}

/// Exit code, stdout and stderr of a command.
pub fn said(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
