//! The admin API as a process serves it: sockets, tokens, the OpenAPI document.

use std::os::unix::fs::PermissionsExt;

use tokio::net::TcpStream;

use crate::support::{App, Proxy, Setup, Wire, within};

#[tokio::test]
async fn the_socket_is_for_its_owner_and_group_alone() {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let mode = std::fs::metadata(proxy.path("admin.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[tokio::test]
async fn a_crashed_proxys_socket_is_replaced_and_a_live_ones_refused() {
    let mut proxy = Proxy::start(Setup::web(&[])).await;
    proxy.crash_and_restart().await;
    let path = proxy.path("config.yaml");
    let second = proxy.cli(&["run", "-c", path.to_str().unwrap()]).await;
    let (code, _, words) = crate::support::said(&second);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("admin.socket"), "{words}");
    assert_eq!(
        proxy.admin("GET", "/v1/status").await.status(),
        200,
        "the first one's socket stays"
    );
}

#[tokio::test]
async fn tcp_always_demands_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut setup = Setup::web(&[]);
    setup.admin = format!(
        "address: \"127.0.0.1:0\", tokens: [{{name: ci, file: {}}}]",
        file.display()
    );
    let proxy = Proxy::start(setup).await;
    let status = proxy.admin("GET", "/v1/status").await.json();
    let address = status["admin"]["address"].as_str().unwrap().to_owned();
    let ask = async |token: &str| {
        let stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET /v1/pools HTTP/1.1\r\nHost: {address}\r\n{token}\r\n");
        Wire::new(stream).exchange(request).await.unwrap()
    };
    for wrong in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Basic x\r\n",
    ] {
        let refused = ask(wrong).await;
        assert_eq!(
            (refused.status(), refused.json()["outcome"].clone()),
            (401, "not_authorised".into())
        );
    }
    let right = ask("Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n").await;
    assert_eq!(right.status(), 200);
    let endpoint = format!("http://{address}");
    let (file, wrong) = (file.to_str().unwrap(), proxy.path("wrong"));
    std::fs::write(&wrong, "fedcba9876543210fedcba9876543210\n").unwrap();
    let good = proxy
        .cli(&["--admin", &endpoint, "--token-file", file, "status"])
        .await;
    assert_eq!(good.status.code(), Some(0));
    let bad = proxy
        .cli(&[
            "--admin",
            &endpoint,
            "--token-file",
            wrong.to_str().unwrap(),
            "status",
        ])
        .await;
    assert_eq!(bad.status.code(), Some(9), "{bad:?}");
    std::fs::write(&wrong, "two\nlines\n").unwrap();
    let none = proxy
        .cli(&[
            "--admin",
            &endpoint,
            "--token-file",
            wrong.to_str().unwrap(),
            "status",
        ])
        .await;
    let words = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(2), "{words}");
    assert!(
        words.contains("expected one token of printable characters"),
        "{words}"
    );
}

#[tokio::test]
async fn the_openapi_document_describes_what_runs() {
    let a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.until_healthy(&["a"]).await;
    let document = proxy.admin("GET", "/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut calls = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let method = method.to_uppercase();
            if !["GET", "POST", "PATCH", "DELETE"].contains(&method.as_str()) {
                continue;
            }
            // Against a backend that does not exist, so that every operation answers at once.
            let real = path
                .replace("{pool}", "web")
                .replace("{id}", "nobody")
                .replace("{backend}", "nobody");
            let real = match path.as_str() {
                "/v1/events" => "/v1/events?pool=nobody".to_owned(),
                _ => real,
            };
            let body = match method.as_str() {
                "PATCH" => "{\"weight\": 1}",
                "POST" if path.ends_with("/backends") => "{\"id\": \"?\", \"address\": \"x\"}",
                _ => "",
            };
            let answer = within(&real, proxy.admin_with(&method, &real, body)).await;
            let status = answer.status().to_string();
            let documented = &operation["responses"];
            assert!(
                documented[&status].is_object(),
                "{method} {path} answered {status}: {documented}"
            );
            let kind = answer.field("content-type").unwrap().to_owned();
            // The document does not describe itself.
            let is_described = documented[&status]["content"][&kind].is_object();
            assert!(
                is_described || path == "/openapi.json",
                "{method} {path}: {kind}"
            );
            calls += 1;
        }
    }
    assert!(calls >= 12, "{calls} operations");
}

#[tokio::test]
async fn rubbish_gets_a_problem_document_that_says_what_is_expected() {
    let proxy = Proxy::start(Setup::web(&[])).await;
    for (method, path, body, status) in [
        ("GET", "/v1/nothing", "", 404),
        ("PUT", "/v1/pools", "", 405),
        ("POST", "/v1/pools/web/backends/a/drain?wiat=1s", "", 400),
        ("POST", "/v1/pools/web/backends/a/drain?wait=1", "", 400),
        ("POST", "/v1/pools/web/backends", "{", 400),
        (
            "POST",
            "/v1/pools/web/backends",
            "{\"id\": \"a\", \"adress\": \"x:1\"}",
            400,
        ),
        ("POST", "/v1/pools/web/backends/a@x/drain", "", 400),
        ("POST", "/v1/pools/none/backends/a/drain", "", 404),
    ] {
        let answer = proxy.admin_with(method, path, body).await;
        assert_eq!(
            answer.status(),
            status,
            "{method} {path}: {}",
            answer.text()
        );
        assert_eq!(
            answer.field("content-type"),
            Some("application/problem+json"),
            "{path}"
        );
        let problem = answer.json();
        let outcome = problem["outcome"].as_str().unwrap();
        assert!(["invalid", "unknown"].contains(&outcome), "{outcome}");
        assert!(!problem["message"].as_str().unwrap().is_empty());
        assert_eq!(problem["safe_to_kill"], false);
    }
    let huge = "x".repeat(100 * 1024);
    let answer = proxy
        .admin_with("POST", "/v1/pools/web/backends", &huge)
        .await;
    assert_eq!(answer.status(), 413);
}
