use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::backend::{Admission, Health};
use crate::pool::FileSettings;
use crate::pool::model::{Model, PoolModel};
use crate::pool::rollout::Pause;
use crate::pool::testing::{member, settings};
use crate::spec::{HoldSpec, Intent, PoolName, PoolSpec, Topology};

/// How long a request is held here at most.
const HELD_MAX: Duration = Duration::from_secs(10);

fn web() -> PoolName {
    PoolName::parse("web").unwrap()
}

/// Pool `web` with one healthy backend, and what it is made of.
struct Rig {
    pools: Arc<Pools>,
    model: Model,
}

impl Rig {
    fn paused() -> Self {
        let mut settings = settings();
        settings.hold = HoldSpec {
            timeout: HELD_MAX,
            max_requests: 1000,
        };
        let pool = PoolModel {
            members: vec![member(1, Intent::Active)],
            pause: Some(Pause {
                number: 1,
                actor: "test".to_owned(),
                since: 0,
                until: 1,
            }),
            ..PoolModel::default()
        };
        let model = Model {
            next_generation: 2,
            pools: BTreeMap::from([(web(), pool)]),
            applied: BTreeMap::new(),
        };
        let topology = Topology {
            pools: vec![PoolSpec {
                name: web(),
                settings,
                backends: Vec::new(),
            }],
            routes: Vec::new(),
        };
        let file = FileSettings {
            topology: &topology,
            admission: Admission::Added,
        };
        let pools = Arc::new(Pools::new());
        pools.commit(&model, Some(file)).unwrap();
        let rig = Self { pools, model };
        rig.observe(Health::Healthy);
        rig
    }

    fn pool(&self) -> Arc<Pool> {
        Arc::clone(self.pools.load().pool(&web()).unwrap())
    }

    fn observe(&self, health: Health) {
        self.pool().entries[0].backend.set_health(health);
        self.pools.refresh(&web());
    }

    fn resume(&mut self) {
        self.model.resume(&web());
        self.pools.commit(&self.model, None).unwrap();
    }

    /// A request that finds the pool paused, and is held; `ends` is given how it ended.
    fn hold<E>(&self, ends: E) -> JoinHandle<()>
    where
        E: FnOnce(Result<Claim, Failure>) + Send + 'static,
    {
        let (pools, pool) = (Arc::clone(&self.pools), self.pool());
        tokio::spawn(async move {
            let exchange = Arc::new(Exchange::new("GET", "/", None));
            let mut draw = Draw::default();
            let mut wish = Wish {
                pools: &pools,
                pool: &pool,
                exchange: &exchange,
                draw: &mut draw,
                fails_with: None,
            };
            ends(held(&mut wish, &[]).await);
        })
    }

    /// So many, one after another.
    async fn hold_many(&self, count: usize, granted: &Granted) -> Vec<JoinHandle<()>> {
        let mut all = Vec::new();
        for number in 0..count {
            all.push(self.hold(granted.note(number)));
            self.until_held(number + 1).await;
        }
        all
    }

    async fn until_held(&self, count: usize) {
        while self.pool().hold.len() != count {
            tokio::task::yield_now().await;
        }
    }
}

/// The numbers of those that were granted a claim, in order, and when.
#[derive(Clone, Default)]
struct Granted(Arc<Mutex<Vec<(usize, Instant)>>>);

impl Granted {
    fn note(&self, number: usize) -> impl FnOnce(Result<Claim, Failure>) + use<> {
        let granted = Arc::clone(&self.0);
        move |claimed| {
            assert!(claimed.is_ok(), "{number}: {:?}", claimed.err());
            granted.lock().unwrap().push((number, Instant::now()));
        }
    }

    fn numbers(&self) -> Vec<usize> {
        self.0.lock().unwrap().iter().map(|(n, _)| *n).collect()
    }
}

async fn ended(all: Vec<JoinHandle<()>>) {
    for one in all {
        one.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn held_requests_are_let_go_in_the_order_they_came_and_never_two_at_once() {
    const HELD: usize = 100;
    let (mut rig, granted) = (Rig::paused(), Granted::default());
    let all = rig.hold_many(HELD, &granted).await;
    let begun = Instant::now();
    rig.resume();
    ended(all).await;
    assert_eq!(granted.numbers(), (0..HELD).collect::<Vec<_>>());
    let times: Vec<_> = granted
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|(_, at)| *at)
        .collect();
    assert_eq!(times[0], begun);
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap >= Duration::from_millis(1), "{gap:?}");
    }
    assert!(times[HELD - 1] - begun <= Duration::from_millis(260));
}

/// On several threads nobody can say who was first, but all are let go, and soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_let_go_whole() {
    let (mut rig, granted) = (Rig::paused(), Granted::default());
    let all: Vec<_> = (0..1000).map(|n| rig.hold(granted.note(n))).collect();
    rig.until_held(1000).await;
    rig.resume();
    // Far below the time for which they are held: none of them ran into that.
    let all = timeout(HELD_MAX / 2, ended(all));
    assert!(all.await.is_ok(), "{} let go", granted.numbers().len());
}

/// The first in line has had its turn; those behind it do not wait for it any more.
#[tokio::test(start_paused = true)]
async fn one_that_goes_away_while_it_is_held_holds_up_nobody() {
    let (mut rig, granted) = (Rig::paused(), Granted::default());
    let all = rig.hold_many(4, &granted).await;
    all[0].abort();
    all[2].abort();
    rig.until_held(2).await;
    rig.resume();
    for (number, one) in all.into_iter().enumerate() {
        assert_eq!(one.await.is_ok(), number % 2 == 1);
    }
    assert_eq!(granted.numbers(), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_broken_off_goes_on_in_order_later() {
    let (mut rig, granted) = (Rig::paused(), Granted::default());
    let all = rig.hold_many(10, &granted).await;
    rig.resume();
    while granted.numbers().len() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    rig.observe(Health::Unhealthy);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(granted.numbers(), [0, 1, 2]);
    rig.observe(Health::Healthy);
    ended(all).await;
    assert_eq!(granted.numbers(), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_request_is_held_for_its_own_time_wherever_it_stands_in_line() {
    let (rig, begun) = (Rig::paused(), Instant::now());
    let mut all = Vec::new();
    for number in 0..3 {
        all.push(rig.hold(move |claimed| {
            assert_eq!(claimed.err(), Some(Failure::HeldTooLong));
            let held = HELD_MAX + Duration::from_secs(number);
            assert_eq!(Instant::now() - begun, held);
        }));
        rig.until_held(number as usize + 1).await;
        sleep(Duration::from_secs(1)).await;
    }
    ended(all).await;
    assert!(rig.pool().hold.is_empty());
}

/// It would be answered 503 although the pool is served, because others stand before it.
#[tokio::test(start_paused = true)]
async fn one_whose_time_is_over_in_the_middle_of_a_release_goes_out_of_turn() {
    let (mut rig, granted) = (Rig::paused(), Granted::default());
    let all = rig.hold_many(100, &granted).await;
    sleep(HELD_MAX - Duration::from_millis(10)).await;
    rig.resume();
    ended(all).await;
    assert_eq!(granted.numbers().len(), 100);
}
