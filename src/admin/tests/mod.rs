//! The API over real sockets, in front of a real `control`.
//!
//! [`Rig`] is one proxy's admin API on a unix socket. Every call made through it is held against the
//! OpenAPI document: the answered status must be documented for that route and method.

mod document;
mod doors;
mod events;
mod operations;
mod refusals;
mod rollouts;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::*;
use crate::backend::{Backend, Claim, Exchange, Health};
use crate::control::{Forgetful, Parts, Rejected, Resolve, Resolving, Source};
use crate::events::Events;
use crate::pool::Pools;
use crate::spec::{Address, BackendId, BackendSpec, PoolName, PoolSpec, Target, Topology, Weight};

type Read = Result<(Topology, Vec<String>), Rejected>;

/// The file as a test wants it to be.
#[derive(Clone)]
struct File(Arc<Mutex<Read>>);

impl Source for File {
    fn read(&self) -> Read {
        self.0.lock().unwrap().clone()
    }
}

/// Resolves literals; there is no name it knows.
struct Literals;

impl Resolve for Literals {
    fn resolve<'a>(&'a self, address: &'a Address) -> Resolving<'a> {
        Box::pin(async move {
            match address {
                Address::Unix(path) => Ok(Target::Unix(path.clone())),
                Address::Tcp { host, port } => match host.parse::<std::net::IpAddr>() {
                    Ok(ip) => Ok(Target::Tcp((ip, *port).into())),
                    Err(_) => Err("no such host".to_owned()),
                },
            }
        })
    }
}

fn topology() -> Topology {
    let backend = |id: &str, address: &str| BackendSpec {
        id: BackendId::parse(id).unwrap(),
        address: Address::parse(address).unwrap(),
        weight: Weight::default(),
    };
    let pool = |name: &str, backends| PoolSpec {
        name: PoolName::parse(name).unwrap(),
        settings: crate::pool::testing::settings(),
        backends,
    };
    let web = vec![
        backend("a", "127.0.0.1:8081"),
        backend("b", "127.0.0.1:8082"),
    ];
    Topology {
        pools: vec![pool("web", web)],
        routes: Vec::new(),
    }
}

async fn control() -> (Arc<Control>, File) {
    let file = File(Arc::new(Mutex::new(Ok((topology(), Vec::new())))));
    let control = Control::new(Parts {
        pools: Arc::new(Pools::new()),
        events: Arc::new(Events::new()),
        store: Arc::new(Forgetful),
        source: Box::new(file.clone()),
        resolver: Box::new(Literals),
    });
    control.start(None, &topology()).await.unwrap();
    (control, file)
}

fn routes(control: &Arc<Control>) -> Router {
    router(Admin {
        control: Arc::clone(control),
        process: Process {
            started: SystemTime::now(),
            listeners: vec![ListenerStatus {
                address: "127.0.0.1:80".to_owned(),
            }],
            admin: None,
            metrics: None,
        },
    })
}

/// What was answered.
#[derive(Debug)]
struct Answered {
    status: u16,
    fields: HeaderMap,
    body: Value,
}

impl Answered {
    fn outcome(&self) -> (u16, &str) {
        (self.status, self.body["outcome"].as_str().unwrap())
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap()
    }

    fn field(&self, name: &str) -> &str {
        let value = self.fields.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

fn request(method: &str, target: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(target)
        .header("host", "tidegate")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Answered
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    let answered = Answered {
        status: parts.status.as_u16(),
        fields: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    holds(&answered);
    answered
}

/// What is true of every answer.
fn holds(answered: &Answered) {
    let is_success = (200..300).contains(&answered.status);
    let media = answered.field("content-type");
    if is_success {
        assert_eq!(media, "application/json", "{answered:?}");
        return;
    }
    assert_eq!(media, "application/problem+json", "{answered:?}");
    let body = &answered.body;
    assert_eq!(body["status"], answered.status, "{answered:?}");
    assert_eq!(body["detail"], body["message"], "{answered:?}");
    let outcome = body["outcome"].as_str().unwrap();
    assert_eq!(body["type"], format!("tidegate:outcome:{outcome}"));
    assert!(body["title"].is_string(), "{answered:?}");
}

/// One admin API on a unix socket.
struct Rig {
    control: Arc<Control>,
    file: File,
    path: PathBuf,
    _guard: SocketGuard,
    _folder: tempfile::TempDir,
}

impl Rig {
    /// With pool web: a and b, both healthy.
    async fn new() -> Self {
        let (control, file) = control().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (listener, guard) = bind_unix(&path, None).unwrap();
        tokio::spawn(serve_unix(
            listener,
            routes(&control),
            std::future::pending(),
        ));
        let rig = Self {
            control,
            file,
            path,
            _guard: guard,
            _folder: folder,
        };
        rig.set_health("a", Health::Healthy);
        rig.set_health("b", Health::Healthy);
        rig
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answered {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let stream = UnixStream::connect(&self.path).await.unwrap();
        let answered = exchange(stream, request).await;
        document::documents(method.as_str(), &path, answered.status);
        answered
    }

    async fn call(&self, method: &str, target: &str) -> Answered {
        self.send(request(method, target, "")).await
    }

    /// On a backend of pool web.
    async fn post(&self, target: &str) -> Answered {
        self.call("POST", &format!("/v1/pools/web/backends/{target}"))
            .await
    }

    async fn tell(&self, method: &str, target: &str, body: &str) -> Answered {
        self.send(request(method, target, body)).await
    }

    fn backend(&self, id: &str) -> Arc<Backend> {
        let snapshot = self.control.pools().load_full();
        let pool = snapshot.pool(&PoolName::parse("web").unwrap()).unwrap();
        let mut of_id = pool.entries.iter().rev();
        let entry = of_id.find(|entry| entry.member.id.as_str() == id).unwrap();
        Arc::clone(&entry.backend)
    }

    fn set_health(&self, id: &str, health: Health) {
        self.backend(id).set_health(health);
        self.control
            .pools()
            .refresh(&PoolName::parse("web").unwrap());
    }

    /// A request in flight on a backend.
    fn hold(&self, id: &str) -> (Arc<Exchange>, Claim) {
        let exchange = Exchange::new("GET", "/slow", "10.0.0.9".parse().ok());
        let exchange = Arc::new(exchange);
        let claim = self.backend(id).claim(&exchange).unwrap();
        (exchange, claim)
    }

    /// A request in flight that ends when it is cut.
    fn hold_until_cut(&self, id: &str) {
        let (exchange, claim) = self.hold(id);
        tokio::spawn(async move {
            exchange.cut_asked().await;
            claim.was_cut();
        });
    }
}

/// Waits for what another task is about to do; there is no event to wait for.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not so in time: {what}");
}
