//! Metrics: counted where it happened, gone with the backend.

use crate::support::{App, Proxy, Setup, get, within};

#[tokio::test]
async fn exchanges_are_counted_and_series_go_with_their_backend() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.until_healthy(&["a"]).await;
    for _ in 0..5 {
        proxy.fetch(get("/quick")).await.unwrap().unwrap();
    }
    proxy
        .until("a", "idle", |backend| backend["requests"] == 0)
        .await;
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    let text = within("five to be counted", async {
        loop {
            let text = proxy.metrics().await;
            if text.contains("class=\"2xx\"} 5\n") {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let generation = proxy.backend("a").await["generation"].clone();
    let of_a = format!("pool=\"web\",backend=\"a\",generation=\"{generation}\"");
    let line = |text: &str, name: &str, labels: &[&str]| -> String {
        let mut lines = text.lines().filter(|line| {
            line.starts_with(name) && labels.iter().all(|label| line.contains(label))
        });
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no {name} with {labels:?} in\n{text}"));
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let ours = ["backend=\"a\"", "pool=\"web\""];
    assert!(text.contains(&of_a), "{text}");
    assert_eq!(
        line(&text, "tidegate_backend_requests_in_flight", &ours),
        "1"
    );
    let ok = ["backend=\"a\"", "class=\"2xx\""];
    assert_eq!(line(&text, "tidegate_backend_responses_total", &ok), "5");
    let healthy = ["backend=\"a\"", "health=\"healthy\""];
    assert_eq!(line(&text, "tidegate_backend_health", &healthy), "1");
    assert_eq!(
        line(&text, "tidegate_pool_eligible_backends", &["pool=\"web\""]),
        "1"
    );
    assert_eq!(
        line(
            &text,
            "tidegate_backend_request_duration_seconds_count",
            &ours
        ),
        "5"
    );
    entered.release("x").await;
    answer.await.unwrap().unwrap();

    let body = format!("{{\"id\": \"b\", \"address\": \"{}\"}}", b.address);
    proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await;
    let drained = proxy
        .admin("POST", "/v1/pools/web/backends/a/drain")
        .await
        .json();
    assert_eq!(drained["outcome"], "clean");
    let text = proxy.metrics().await;
    let drains = ["pool=\"web\"", "outcome=\"clean\""];
    assert_eq!(line(&text, "tidegate_drains_total", &drains), "1");
    assert_eq!(
        line(
            &text,
            "tidegate_drain_duration_seconds_count",
            &["pool=\"web\""]
        ),
        "1"
    );
    assert_eq!(line(&text, "tidegate_backend_drained", &ours), "1");
    proxy.admin("DELETE", "/v1/pools/web/backends/a").await;
    let text = proxy.metrics().await;
    assert!(
        !text.contains("backend=\"a\""),
        "series of a removed backend stay:\n{text}"
    );
}

#[tokio::test]
async fn errors_of_the_proxy_are_counted_by_their_word() {
    let proxy = Proxy::start(Setup::web_with(&[], "hold: {timeout: 0s}")).await;
    proxy.fetch(get("/")).await.unwrap().unwrap();
    // The record is made when the exchange has ended, which is after the client has its answer.
    within("the count", async {
        loop {
            let text = proxy.metrics().await;
            let mut lines = text.lines();
            let counted = "tidegate_pool_errors_total{pool=\"web\",error=\"no_backend\"} 1";
            if lines.any(|line| line == counted) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn healthz_and_readyz_answer_on_the_metrics_listener() {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let status = proxy.admin("GET", "/v1/status").await.json();
    let address = status["metrics"]["address"].as_str().unwrap().to_owned();
    for path in ["/healthz", "/readyz"] {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let answer = crate::support::Wire::new(stream)
            .exchange(get(path))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

/// For the test script: the text that `promtool check metrics` is given.
#[tokio::test]
async fn the_text_for_promtool_is_written() {
    let Some(path) = std::env::var_os("TIDEGATE_METRICS_SAMPLE") else {
        return;
    };
    let a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.until_healthy(&["a"]).await;
    proxy.fetch(get("/quick")).await.unwrap().unwrap();
    proxy
        .admin("POST", "/v1/pools/web/backends/a/drain?force")
        .await;
    std::fs::write(path, proxy.metrics().await).unwrap();
}

/// Also one that never became an exchange, and none twice.
#[tokio::test]
async fn a_refused_request_is_counted_once() {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let counted = "tidegate_unrouted_errors_total{error=\"bad_request\"} ";
    let count = async || {
        let text = proxy.metrics().await;
        let line = text.lines().find_map(|line| line.strip_prefix(counted));
        line.map_or(0, |count| count.parse().unwrap())
    };
    for number in 1..=3 {
        let refused = proxy.fetch("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        assert_eq!(refused.await.unwrap().unwrap().status(), 400);
        // A line that is malformed is refused before there is a head.
        let refused = proxy.fetch("GET / HTTP/1.1\nHost: a\n\n");
        assert_eq!(refused.await.unwrap().unwrap().status(), 400);
        within("the count", async {
            while count().await < 2 * number {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(count().await, 2 * number);
    }
}
