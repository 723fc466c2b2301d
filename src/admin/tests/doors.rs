//! Who may come in: tokens, browsers, crowds; and the way out.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::admin::gate::{Gate, Kind};
use crate::admin::serve::{gated, serve};

const OLD: &str = "0123456789abcdef";
const NEW: &str = "fedcba9876543210";

/// The API on TCP, with two tokens.
async fn on_tcp(host: Option<&str>) -> (SocketAddr, Arc<Control>, tempfile::TempDir) {
    let (control, _) = control().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, token: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, token).unwrap();
        (name.to_owned(), file)
    };
    let tokens = Tokens::load(vec![file("old", OLD), file("new", NEW)]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = TcpDoor {
        tokens,
        host: host.map(str::to_owned),
    };
    let routes = routes(&control);
    tokio::spawn(serve_tcp(listener, routes, door, std::future::pending()));
    (address, control, folder)
}

fn with(fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = request("POST", "/v1/reload", "");
    request.headers_mut().clear();
    for (name, value) in fields {
        let name: hyper::header::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

async fn ask(address: SocketAddr, fields: &[(&str, &str)]) -> Answered {
    let stream = TcpStream::connect(address).await.unwrap();
    let answered = exchange(stream, with(fields)).await;
    document::documents("POST", "/v1/reload", answered.status);
    answered
}

#[tokio::test]
async fn tcp_demands_a_token_and_takes_two() {
    let (address, control, _folder) = on_tcp(None).await;
    let host = ("host", "127.0.0.1");
    let bearer = |token: &str| format!("Bearer {token}");
    let missing = ask(address, &[host]).await;
    assert_eq!(missing.outcome(), (401, "not_authorised"));
    assert_eq!(missing.message(), "a token is needed");
    assert_eq!(
        missing.field("www-authenticate"),
        "Bearer realm=\"tidegate\""
    );
    let wrong = ask(address, &[host, ("authorization", &bearer("wrong"))]).await;
    assert_eq!(wrong.outcome(), (401, "not_authorised"));
    assert_eq!(wrong.message(), "the token is not known");
    let basic = ask(address, &[host, ("authorization", &format!("Basic {OLD}"))]).await;
    assert_eq!(basic.outcome(), (401, "not_authorised"));
    for token in [OLD, NEW] {
        let right = ask(address, &[host, ("authorization", &bearer(token))]).await;
        assert_eq!(right.outcome(), (200, "done"));
    }
    let events = control.events().since(0, 100);
    let actors: Vec<String> = events
        .iter()
        .filter_map(|event| event.about.actor.clone())
        .collect();
    assert_eq!(actors, ["old", "new"]);
}

#[tokio::test]
async fn a_browser_on_another_site_is_refused_on_tcp() {
    let (address, _control, _folder) = on_tcp(Some("admin.internal")).await;
    let token = format!("Bearer {OLD}");
    let port = address.port();
    let here = format!("127.0.0.1:{port}");
    let ask = async |host: &str, more: &[(&str, &str)]| {
        let mut fields = vec![("authorization", token.as_str()), ("host", host)];
        fields.extend(more);
        ask(address, &fields).await.status
    };
    for host in [&*here, "[::1]:9901", "localhost:9901", "ADMIN.internal"] {
        assert_eq!(ask(host, &[]).await, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "",
    ] {
        assert_eq!(ask(host, &[]).await, 403, "{host}");
    }
    let same = format!("http://{here}");
    assert_eq!(ask(&here, &[("origin", &same)]).await, 200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(ask(&here, &[("origin", origin)]).await, 403, "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(ask(&here, &[("sec-fetch-site", site)]).await, 403, "{site}");
    }
    for site in ["same-origin", "none"] {
        assert_eq!(ask(&here, &[("sec-fetch-site", site)]).await, 200, "{site}");
    }
}

#[tokio::test]
async fn without_a_host_tcp_refuses_before_it_looks_at_the_token() {
    let (address, _control, _folder) = on_tcp(None).await;
    let refused = ask(address, &[]).await;
    assert_eq!(refused.outcome(), (403, "not_authorised"));
    assert_eq!(refused.message(), "the field \"Host\" is missing");
}

#[tokio::test]
async fn a_browser_on_another_site_is_refused_on_the_unix_socket() {
    let rig = Rig::new().await;
    let refused = rig
        .send(with(&[
            ("host", "tidegate"),
            ("origin", "http://evil.example"),
        ]))
        .await;
    assert_eq!(refused.outcome(), (403, "not_authorised"));
    assert_eq!(
        refused.message(),
        "the request comes from a page of another site"
    );
    let any_host = rig.send(with(&[("host", "whatever.example")])).await;
    assert_eq!(any_host.outcome(), (200, "done"));
}

/// The API on a unix socket behind a gate for one request at a time, until told to end.
fn narrow(
    rig: &Rig,
    folder: &tempfile::TempDir,
) -> (
    PathBuf,
    SocketGuard,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<()>,
) {
    let path = folder.path().join("narrow.sock");
    let (listener, guard) = bind_unix(&path, None).unwrap();
    let gate = Gate::new(Kind::Unix, 1);
    let (stop, stopped) = oneshot::channel();
    let routes = gated(routes(&rig.control), gate);
    let shutdown = async {
        let _ = stopped.await;
    };
    let serving = tokio::spawn(serve(listener, routes, shutdown));
    (path, guard, stop, serving)
}

#[tokio::test]
async fn one_too_many_is_told_to_come_again() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (path, _guard, _stop, _serving) = narrow(&rig, &folder);
    let (_, claim) = rig.hold("a");
    let send = async |target: &str| {
        let stream = UnixStream::connect(&path).await.unwrap();
        exchange(stream, request("POST", target, "")).await
    };
    let crowded = async {
        until("draining", || rig.backend("a").reading().is_draining()).await;
        let crowded = send("/v1/reload").await;
        drop(claim);
        crowded
    };
    let waiting = send("/v1/pools/web/backends/a/drain");
    let (waited, crowded) = tokio::join!(waiting, crowded);
    assert_eq!(crowded.outcome(), (503, "error"));
    assert_eq!(crowded.field("retry-after"), "1");
    assert_eq!(waited.outcome(), (200, "clean"));
    assert_eq!(send("/v1/reload").await.outcome(), (200, "done"));
}

#[tokio::test]
async fn shutdown_answers_what_is_under_way_and_then_ends() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (path, _guard, stop, serving) = narrow(&rig, &folder);
    let (_, claim) = rig.hold("a");
    let stream = UnixStream::connect(&path).await.unwrap();
    let drain = request("POST", "/v1/pools/web/backends/a/drain", "");
    let ending = async {
        until("draining", || rig.backend("a").reading().is_draining()).await;
        stop.send(()).unwrap();
        until("closed", || {
            std::os::unix::net::UnixStream::connect(&path).is_err()
        })
        .await;
        assert!(!serving.is_finished());
        drop(claim);
        serving.await.unwrap();
    };
    let (drained, ()) = tokio::join!(exchange(stream, drain), ending);
    assert_eq!(drained.outcome(), (200, "clean"));
}

#[tokio::test]
async fn the_metrics_listener_answers_anyone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_ready = Arc::clone(&ready);
    let router = plain::router(
        Arc::new(|| "tidegate_up 1\n".to_owned()),
        Arc::new(move || is_ready.load(std::sync::atomic::Ordering::Relaxed)),
    );
    tokio::spawn(serve_plain(listener, router, std::future::pending()));
    let get = async |path: &str| {
        let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request("GET", path, "")).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let media = parts.headers["content-type"].to_str().unwrap().to_owned();
        let body = String::from_utf8(body.to_vec()).unwrap();
        (parts.status.as_u16(), media, body)
    };
    let (status, media, body) = get("/metrics").await;
    assert_eq!((status, body.as_str()), (200, "tidegate_up 1\n"));
    assert_eq!(media, "text/plain; version=0.0.4");
    assert_eq!(get("/healthz").await.0, 200);
    assert_eq!(get("/readyz").await.0, 503);
    ready.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(get("/readyz").await.0, 200);
}
