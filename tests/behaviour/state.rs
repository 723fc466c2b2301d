//! State: what the API did is there again after a crash.

use crate::support::{App, Proxy, Setup, get};

async fn with_state(apps: &[(&str, &App)]) -> Proxy {
    let mut setup = Setup::web(apps);
    setup.state = true;
    Proxy::start(setup).await
}

#[tokio::test]
async fn what_the_api_did_survives_a_crash() {
    let (a, b, c) = (
        App::start("a").await,
        App::start("b").await,
        App::start("c").await,
    );
    let mut proxy = with_state(&[("a", &a), ("b", &b)]).await;
    proxy.until_healthy(&["a", "b"]).await;
    let body = format!(
        "{{\"id\": \"c\", \"address\": \"{}\", \"weight\": 5}}",
        c.address
    );
    let added = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await
        .json();
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    proxy.admin("POST", "/v1/pools/web/backends/a/drain").await;
    proxy.crash_and_restart().await;
    proxy.until_healthy(&["b", "c"]).await;
    let c_now = proxy.backend("c").await;
    assert_eq!(
        (c_now["weight"].clone(), c_now["origin"].clone()),
        (5.into(), "api".into())
    );
    assert_eq!(c_now["generation"], added["generation"]);
    assert_eq!(proxy.backend("b").await["intent"], "standby");
    proxy
        .until("a", "drained", |backend| backend["drained"] == true)
        .await;
    assert_eq!(
        proxy.fetch(get("/quick")).await.unwrap().unwrap().text(),
        "c"
    );
    // Generations never repeat, also across restarts.
    let ready = proxy
        .admin("POST", "/v1/pools/web/backends/a/ready")
        .await
        .json();
    assert!(ready["generation"].as_u64() > added["generation"].as_u64());
}

#[tokio::test]
async fn a_broken_state_file_is_set_aside_and_the_copy_before_it_used() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut proxy = with_state(&[("a", &a), ("b", &b)]).await;
    proxy.until_healthy(&["a", "b"]).await;
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    proxy
        .admin_with("PATCH", "/v1/pools/web/backends/a", "{\"weight\": 9}")
        .await;
    std::fs::write(proxy.path("state.json"), "{\"version\": 1, \"mod").unwrap();
    proxy.crash_and_restart().await;
    proxy.until_healthy(&["a"]).await;
    assert_eq!(
        proxy.backend("b").await["intent"],
        "standby",
        "from the copy before"
    );
    assert_eq!(
        proxy.backend("a").await["weight"],
        1,
        "the copy before had no weight of 9"
    );
    assert!(proxy.log().contains("ERROR"), "loudly: {}", proxy.log());
    let aside = std::fs::read_dir(proxy.folder.path()).unwrap().any(|file| {
        file.unwrap()
            .file_name()
            .to_string_lossy()
            .contains("broken")
    });
    assert!(aside, "set aside");
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_done() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = with_state(&[("a", &a), ("b", &b)]).await;
    proxy.until_healthy(&["a", "b"]).await;
    // A folder in the place of the file that a save writes first: not even root can write it.
    std::fs::create_dir(proxy.path("state.json.tmp")).unwrap();
    let failed = proxy.admin("POST", "/v1/pools/web/backends/a/drain").await;
    assert_eq!(
        (failed.status(), failed.json()["outcome"].clone()),
        (500, "error".into())
    );
    let message = failed.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("the state file could not be written, nothing was changed"));
    assert_eq!(proxy.backend("a").await["intent"], "active");
    assert_eq!(proxy.backend("a").await["eligible"], true);
}

#[tokio::test]
async fn a_state_file_serves_one_proxy() {
    let a = App::start("a").await;
    let proxy = with_state(&[("a", &a)]).await;
    let text = std::fs::read_to_string(proxy.path("config.yaml")).unwrap();
    let text = text.replace("admin.sock", "second.sock");
    std::fs::write(proxy.path("second.yaml"), text).unwrap();
    let path = proxy.path("second.yaml");
    let second = proxy.cli(&["run", "-c", path.to_str().unwrap()]).await;
    let (code, _, words) = crate::support::said(&second);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains("state.file"), "{words}");
}

/// It was left in the model, where no status showed it and no operation could end it.
#[tokio::test]
async fn a_pool_that_the_file_lost_while_the_proxy_was_down_is_gone() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut setup = Setup::web(&[("a", &a)]);
    setup.pool("old", &[("x", &b)], "");
    setup.state = true;
    let mut proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let mut without = Setup::web(&[("a", &a)]);
    without.state = true;
    proxy.rewrite(without);
    proxy.crash_and_restart().await;
    let drain = proxy.admin("POST", "/v1/pools/old/backends/x/drain").await;
    assert_eq!(drain.status(), 404, "{}", drain.text());
    let state = std::fs::read_to_string(proxy.path("state.json")).unwrap();
    assert!(!state.contains("\"old\""), "{state}");
}
