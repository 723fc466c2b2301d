//! What is read at the scrape, and of whom: gauges, series that come and go, and how long it takes.

use std::time::Duration;

use super::*;
use crate::backend::{Exchange, Health};

#[test]
fn gauges_are_what_the_snapshot_and_the_word_say_at_the_scrape() {
    let metrics = metrics(&[("web", &[(1, Intent::Active), (2, Intent::Draining)])]);
    let of = |metric: &str, generation: u64, more: &str| {
        let labels = format!("pool=\"web\",backend=\"b{generation}\",generation=\"{generation}\"");
        value(
            &metrics,
            &format!("tidegate_backend_{metric}{{{labels}{more}}}"),
        )
    };
    assert_eq!(of("health", 1, ",health=\"unknown\""), 1.0);
    assert_eq!(of("eligible", 1, ""), 0.0);
    let first = backend(&metrics, "web", 1);
    first.set_health(Health::Healthy);
    metrics.pools.refresh(&name("web"));
    assert_eq!(of("health", 1, ",health=\"unknown\""), 0.0);
    assert_eq!(of("health", 1, ",health=\"healthy\""), 1.0);
    assert_eq!(of("eligible", 1, ""), 1.0);
    assert_eq!(
        value(&metrics, "tidegate_pool_eligible_backends{pool=\"web\"}"),
        1.0
    );
    assert_eq!(of("intent", 1, ",intent=\"active\""), 1.0);
    assert_eq!(of("intent", 2, ",intent=\"active\""), 0.0);
    assert_eq!(of("intent", 2, ",intent=\"draining\""), 1.0);
    assert_eq!(of("weight", 1, ""), 1.0);

    let exchange = Arc::new(Exchange::new("GET", "/", None));
    let request = first.claim(&exchange).unwrap();
    let mut tunnel = first.claim(&exchange).unwrap();
    tunnel.upgrade();
    assert_eq!(of("requests_in_flight", 1, ""), 1.0);
    assert_eq!(of("tunnels_in_flight", 1, ""), 1.0);
    drop((request, tunnel));
    assert_eq!(of("requests_in_flight", 1, ""), 0.0);
    assert_eq!(of("tunnels_in_flight", 1, ""), 0.0);

    assert_eq!(of("drained", 2, ""), 0.0);
    assert!(backend(&metrics, "web", 2).word().seal());
    assert_eq!(of("drained", 2, ""), 1.0);

    let hold = Arc::clone(&metrics.pools.load().pool(&name("web")).unwrap().hold);
    let _ticket = hold.join(1).unwrap();
    assert_eq!(
        value(&metrics, "tidegate_pool_held_requests{pool=\"web\"}"),
        1.0
    );
}

#[test]
fn a_paused_pool_says_so() {
    let metrics = metrics(&[("web", &[]), ("api", &[])]);
    let paused = |pool: &str| {
        let series = format!("tidegate_pool_paused{{pool=\"{pool}\"}}");
        value(&metrics, &series)
    };
    assert_eq!((paused("web"), paused("api")), (0.0, 0.0));
    let pause = Pause {
        number: 1,
        actor: "test".to_owned(),
        since: 0,
        until: 1,
    };
    let mut model = Model::default();
    for pool in ["web", "api"] {
        model.pools.insert(name(pool), PoolModel::default());
    }
    model.pause(&name("web"), pause).unwrap();
    metrics.pools.commit(&model, None).unwrap();
    assert_eq!((paused("web"), paused("api")), (1.0, 0.0));
}

#[test]
fn a_removed_backend_or_pool_leaves_no_line_and_the_others_keep_their_counts() {
    let active = Intent::Active;
    let metrics = metrics(&[
        ("web", &[(1, active), (2, active)]),
        ("api", &[(3, active)]),
    ]);
    for (pool, generation) in [("web", 1), ("web", 2), ("api", 3)] {
        let backend = backend(&metrics, pool, generation);
        metrics.of(&backend).observe(200, Duration::ZERO);
        metrics.pool(&name(pool)).unwrap().answered(503, NO_BACKEND);
    }
    assert!(metrics.render().contains("backend=\"b1\""));
    publish(&metrics.pools, &[("web", &[(2, active)])]);
    let text = metrics.render();
    assert!(
        !text.contains("b1") && !text.contains("b3") && !text.contains("api"),
        "{text}"
    );
    let left = samples(&text);
    let of = "pool=\"web\",backend=\"b2\",generation=\"2\",class=\"2xx\"";
    assert_eq!(
        left[&format!("tidegate_backend_responses_total{{{of}}}")],
        1.0
    );
    let of = "pool=\"web\",error=\"no_backend\"";
    assert_eq!(left[&format!("tidegate_pool_errors_total{{{of}}}")], 2.0);
    assert!(metrics.pool(&name("api")).is_none());
    assert_eq!(metrics.of_pools.load().len(), 1, "nothing of it is kept");
}

#[test]
fn two_generations_of_one_id_are_two_series() {
    let metrics = metrics(&[]);
    let mut old = member(1, Intent::Draining);
    let new = member(2, Intent::Active);
    old.id = new.id.clone();
    publish(&metrics.pools, &[("web", &[])]);
    let pool = PoolModel {
        members: vec![old, new],
        ..PoolModel::default()
    };
    let model = Model {
        next_generation: 3,
        pools: [(name("web"), pool)].into(),
        applied: BTreeMap::new(),
    };
    metrics.pools.commit(&model, None).unwrap();
    let weight = "tidegate_backend_weight{pool=\"web\",backend=\"b2\",generation=";
    let series = samples(&metrics.render());
    let of_id = series.keys().filter(|series| series.starts_with(weight));
    assert_eq!(of_id.count(), 2);
}

/// How long a scrape of many backends takes, for whoever runs it with `--nocapture`; the bound is
/// one that only a mistake in its growth would break, on an unoptimised build of a busy machine.
#[test]
fn a_scrape_of_500_backends_stays_fast() {
    let members: Vec<(u64, Intent)> = (1..=500).map(|n| (n, Intent::Active)).collect();
    let metrics = metrics(&[("web", &members)]);
    let length = metrics.render().len();
    let begun = std::time::Instant::now();
    let text = metrics.render();
    let took = begun.elapsed();
    println!("{} lines, {length} bytes, {took:?}", text.lines().count());
    assert!(took < Duration::from_secs(5), "{took:?}");
}
