//! When a backend may be removed, and that only the generation that was meant goes.

use crate::support::pair::{DRAIN_A, enter, pair};
use crate::support::{App, assert_drain_closed, within};

#[tokio::test]
async fn remove_wants_a_drained_one_or_force() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let path = "/v1/pools/web/backends/a";
    let refused = proxy.admin("DELETE", path).await;
    assert_eq!(
        (refused.status(), refused.json()["outcome"].clone()),
        (409, "refused".into())
    );
    let forced = within("remove", proxy.admin("DELETE", &format!("{path}?force"))).await;
    assert_eq!(
        (forced.status(), forced.json()["outcome"].clone()),
        (200, "forced".into())
    );
    assert_eq!(forced.json()["safe_to_kill"], true);
    assert_drain_closed(answer.await.unwrap());
    drop(entered);
    assert_eq!(proxy.admin("GET", path).await.status(), 404);
    let drained = proxy
        .admin("POST", "/v1/pools/web/backends/b/drain?force")
        .await;
    assert_eq!(drained.json()["outcome"], "clean");
    let removed = proxy.admin("DELETE", "/v1/pools/web/backends/b").await;
    assert_eq!(
        (removed.status(), removed.json()["outcome"].clone()),
        (200, "done".into())
    );
}

/// One that had no request yet was removed without a question, also as the last eligible one.
#[tokio::test]
async fn remove_of_the_last_eligible_backend_is_refused_even_if_it_was_never_used() {
    let (_a, _b, proxy) = pair().await;
    let removed = proxy.admin("DELETE", "/v1/pools/web/backends/a").await;
    assert_eq!(
        removed.json()["outcome"],
        "done",
        "never used: {}",
        removed.text()
    );
    assert_eq!(removed.json()["safe_to_kill"], true);
    let refused = proxy.admin("DELETE", "/v1/pools/web/backends/b").await;
    assert_eq!(refused.status(), 409, "{}", refused.text());
    assert_eq!(proxy.backend("b").await["eligible"], true);
}

/// The old generation's removal must not take the new one of the same id with it.
#[tokio::test]
async fn a_forced_removal_means_the_generation_that_it_found() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let old = proxy.backend("a").await["generation"].as_u64().unwrap();
    proxy.admin("POST", &format!("{DRAIN_A}?wait=0s")).await;
    let next = App::start("next").await;
    let body = format!("{{\"id\": \"a\", \"address\": \"{}\"}}", next.address);
    let added = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await;
    assert_eq!(added.json()["outcome"], "done");
    let path = format!("/v1/pools/web/backends/a@{old}?force");
    let removed = within("remove", proxy.admin("DELETE", &path)).await;
    assert_eq!(removed.json()["outcome"], "forced");
    assert_drain_closed(answer.await.unwrap());
    drop(entered);
    assert_eq!(
        proxy.backend("a").await["generation"],
        added.json()["generation"]
    );
}
