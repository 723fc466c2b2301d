//! Random steps: operations with their clocks, exchanges that come and go, probes, and time.

use proptest::prelude::*;

use super::*;
use crate::pool::split::Draw;
use crate::spec::{DrainSpec, Intent, OnTimeout, Share};

/// Whom an operation is about: an id, or one of a pool by its number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    Id(usize),
    Nth(usize),
}

/// The clocks that a drain is given.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    pub(super) timeout: Option<Duration>,
    pub(super) on_timeout: Option<OnTimeout>,
    pub(super) close_after: Option<Option<Duration>>,
    pub(super) spread: Option<Duration>,
}

impl Clocks {
    pub(super) fn defaults() -> Self {
        let defaults = DrainSpec::default();
        Self {
            timeout: Some(defaults.timeout),
            on_timeout: Some(defaults.on_timeout),
            close_after: Some(defaults.tunnels.close_after),
            spread: Some(defaults.tunnels.spread),
        }
    }

    pub(super) fn override_with(&mut self, call: &Self) {
        self.timeout = call.timeout.or(self.timeout);
        self.on_timeout = call.on_timeout.or(self.on_timeout);
        self.close_after = call.close_after.or(self.close_after);
        self.spread = call.spread.or(self.spread);
    }

    /// The earlier of each; what closes goes on to close.
    pub(super) fn tighten(&mut self, call: &Self) {
        self.timeout = self.timeout.into_iter().chain(call.timeout).min();
        self.spread = self.spread.into_iter().chain(call.spread).min();
        if call.on_timeout == Some(OnTimeout::Close) {
            self.on_timeout = call.on_timeout;
        }
        let both = [self.close_after, call.close_after];
        self.close_after = Some(both.into_iter().flatten().flatten().min());
    }

    pub(super) fn closes_all_at(&self, begun: Instant) -> Option<Instant> {
        let closes = self.on_timeout == Some(OnTimeout::Close);
        self.timeout.filter(|_| closes).map(|after| begun + after)
    }

    pub(super) fn closes_tunnels_at(&self, begun: Instant) -> Option<(Instant, Instant)> {
        let opens = begun + self.close_after.flatten()?;
        Some((opens, opens + self.spread.unwrap_or_default()))
    }

    fn call(&self, wait: Option<Duration>, force: bool) -> DrainCall {
        DrainCall {
            wait,
            timeout: self.timeout,
            on_timeout: self.on_timeout,
            idle_timeout: None,
            close_after: self.close_after,
            spread: self.spread,
            force,
            min_eligible: None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A request comes; if it is cut it ends, or does not before it likes.
    Claim {
        pool: usize,
        obeys: bool,
    },
    Retry(usize),
    Upgrade(usize),
    Release(usize),
    Drain(usize, Who, Clocks, bool, Option<Duration>),
    Wait(usize, Who, Duration),
    Ready(usize, Who),
    Standby(usize, Who, bool),
    Close(usize, Who, Duration),
    Remove(usize, Who, bool),
    Add(usize, usize, u16, Intent),
    /// In `web`; not among the steps that are foretold.
    Deploy(Deploy),
    /// With its time, and how long it waits.
    Pause(usize, Duration, Duration),
    Resume(usize),
    Observe(usize, Who, Health),
    Pass(Duration),
}

/// What is done to a pool as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deploy {
    Rollout {
        id: usize,
        port: u16,
        /// An id, else all.
        replace: Option<usize>,
        canary: bool,
        keep_standby: bool,
    },
    Share(u16),
    Promote,
    Abort,
    Rollback,
}

impl Step {
    /// Whom a call is about: pool and backend, if it is about one.
    pub(super) fn about(&self) -> Option<(usize, Who)> {
        Some(match *self {
            Self::Pause(..) | Self::Resume(_) => return None,
            Self::Drain(pool, who, ..) | Self::Wait(pool, who, _) => (pool, who),
            Self::Ready(pool, who) | Self::Standby(pool, who, _) => (pool, who),
            Self::Close(pool, who, _) | Self::Remove(pool, who, _) => (pool, who),
            Self::Add(pool, id, ..) => (pool, Who::Id(id)),
            _ => unreachable!("not a call: {self:?}"),
        })
    }
}

fn any_clocks() -> impl Strategy<Value = Clocks> {
    let after = || prop_oneof![Just(0), Just(20), Just(1000), Just(10_000)].prop_map(millis);
    let on_timeout = prop_oneof![Just(OnTimeout::Keep), Just(OnTimeout::Close)];
    (
        prop::option::of(after()),
        prop::option::of(on_timeout),
        prop::option::of(prop::option::of(after())),
        prop::option::of(after()),
    )
        .prop_map(|(timeout, on_timeout, close_after, spread)| Clocks {
            timeout,
            on_timeout,
            close_after,
            spread,
        })
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A case takes longer than most do: the full tier's number would take half an hour.
const CASES_MAX: u32 = 5000;

pub(super) fn cases() -> ProptestConfig {
    let cases = ProptestConfig::default().cases.min(CASES_MAX);
    ProptestConfig::with_cases(cases)
}

/// Few pools, ids and ports, so that they meet.
pub(super) fn any_step() -> impl Strategy<Value = Step> {
    let pool = || prop_oneof![4 => Just(0), 1 => Just(1)];
    let who =
        || prop_oneof![3 => (0..3usize).prop_map(Who::Id), 1 => (0..6usize).prop_map(Who::Nth)];
    let on = || (pool(), who());
    let wait = || prop_oneof![Just(0), Just(50), Just(5000), Just(3_600_000)].prop_map(millis);
    let intent = prop_oneof![3 => Just(Intent::Active), 1 => Just(Intent::Standby)];
    let health = prop_oneof![
        4 => Just(Health::Healthy), 1 => Just(Health::Unhealthy), 1 => Just(Health::Unknown)
    ];
    let one = || 0..8usize;
    prop_oneof![
        12 => (pool(), any::<bool>()).prop_map(|(pool, obeys)| Step::Claim { pool, obeys }),
        2 => one().prop_map(Step::Retry),
        2 => one().prop_map(Step::Upgrade),
        4 => one().prop_map(Step::Release),
        5 => (on(), any_clocks(), any::<bool>(), prop::option::of(wait()))
            .prop_map(|((pool, who), clocks, force, wait)| {
                Step::Drain(pool, who, clocks, force, wait)
            }),
        2 => (on(), wait()).prop_map(|((pool, who), wait)| {
            Step::Wait(pool, who, wait.max(millis(50)))
        }),
        3 => on().prop_map(|(pool, who)| Step::Ready(pool, who)),
        2 => (on(), any::<bool>()).prop_map(|((pool, who), force)| Step::Standby(pool, who, force)),
        1 => (on(), wait()).prop_map(|((pool, who), wait)| Step::Close(pool, who, wait)),
        2 => (on(), any::<bool>()).prop_map(|((pool, who), force)| Step::Remove(pool, who, force)),
        4 => (pool(), 0..3usize, 1..5u16, intent)
            .prop_map(|(pool, id, port, intent)| Step::Add(pool, id, port, intent)),
        1 => (pool(), prop_oneof![Just(100), Just(60_000)].prop_map(millis), wait())
            .prop_map(|(pool, ttl, wait)| Step::Pause(pool, ttl, wait)),
        2 => pool().prop_map(Step::Resume),
        5 => (on(), health).prop_map(|((pool, who), health)| Step::Observe(pool, who, health)),
        3 => prop_oneof![Just(10), Just(300), Just(5000), Just(60_000)]
            .prop_map(|ms| Step::Pass(millis(ms))),
    ]
}

/// The same, and rollouts among them.
pub(super) fn any_step_or_deploy() -> impl Strategy<Value = Step> {
    let replace = prop::option::weighted(0.3, 0..3usize);
    let rollout = (0..3usize, 1..5u16, replace, any::<bool>(), any::<bool>()).prop_map(
        |(id, port, replace, canary, keep_standby)| Deploy::Rollout {
            id,
            port,
            replace,
            canary,
            keep_standby,
        },
    );
    let deploy = prop_oneof![
        6 => rollout,
        1 => (0..=100u16).prop_map(Deploy::Share),
        2 => Just(Deploy::Promote),
        1 => Just(Deploy::Abort),
        2 => Just(Deploy::Rollback),
    ];
    prop_oneof![4 => any_step(), 1 => deploy.prop_map(Step::Deploy)]
}

pub(super) async fn perform_deploy(control: Arc<Control>, deploy: Deploy) -> Answer {
    let (by, pool) = (actor(), pool(0));
    match deploy {
        Deploy::Rollout {
            id: index,
            port,
            replace,
            canary,
            keep_standby,
        } => {
            let mut call = rollouts::c_for_all();
            call.add[0].id = id(index);
            call.add[0].address = address(port);
            if let Some(index) = replace {
                call.replace = Replace::These(vec![id(index)]);
            }
            call.canary = canary.then(|| Share::percent(50));
            call.keep_standby = keep_standby;
            control.rollout(by, pool, call).await
        }
        Deploy::Share(percent) => control.canary(by, pool, Share::percent(percent)).await,
        Deploy::Promote => control.promote(by, pool, None).await,
        Deploy::Abort => control.abort(by, pool, None).await,
        Deploy::Rollback => control.rollback(by, pool, RollbackCall::default()).await,
    }
}

/// An exchange as the proxy holds it.
pub(super) struct Held {
    pub(super) exchange: Arc<Exchange>,
    pub(super) claim: Claim,
    pub(super) obeys: bool,
}

impl Held {
    pub(super) fn take(
        rig: &Rig,
        pool_of: usize,
        tried: &[Generation],
        obeys: bool,
    ) -> Option<Self> {
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        let pools = &rig.control.pools;
        let claim = pools.claim(&pool(pool_of), &exchange, tried, &mut Draw::default());
        let claim = claim.ok()?;
        Some(Self {
            exchange,
            claim,
            obeys,
        })
    }

    pub(super) fn generation(&self) -> Generation {
        self.claim.backend().generation()
    }

    /// It was asked to end, and does.
    pub(super) fn is_cut(&self) -> bool {
        self.obeys && self.exchange.cut_reason().is_some()
    }
}

/// The call of a step; `numbered` is the id and generation of whom it is about, if it says so.
pub(super) async fn perform(
    control: Arc<Control>,
    step: Step,
    numbered: Option<(usize, Generation)>,
) -> Answer {
    let by = actor();
    let to = |who| match (who, numbered) {
        (_, Some((index, of))) => reference_to(&format!("{}@{of}", IDS[index])),
        (Who::Id(index), None) => reference_to(IDS[index]),
        (Who::Nth(_), None) => unreachable!("a number that nobody has"),
    };
    let zero = Some(Duration::ZERO);
    match step {
        Step::Drain(at, who, clocks, force, wait) => {
            let call = clocks.call(wait, force);
            control.drain(by, pool(at), to(who), call).await
        }
        Step::Wait(at, who, wait) => {
            let what = Wait::Drained;
            control.wait(pool(at), to(who), what, wait).await
        }
        Step::Ready(at, who) => control.ready(by, pool(at), to(who), zero).await,
        Step::Standby(at, who, force) => {
            let call = StandbyCall {
                force,
                min_eligible: None,
            };
            control.standby(by, pool(at), to(who), call).await
        }
        Step::Close(at, who, wait) => control.close(by, pool(at), to(who), Some(wait)).await,
        Step::Remove(at, who, force) => control.remove(by, pool(at), to(who), force).await,
        Step::Add(at, index, port, intent) => {
            let call = AddCall {
                id: id(index),
                address: address(port),
                weight: Weight::default(),
                intent,
                wait: zero,
            };
            control.add(by, pool(at), call).await
        }
        Step::Pause(at, ttl, wait) => {
            let (ttl, wait) = (Some(ttl), Some(wait));
            control.pause(by, pool(at), PauseCall { ttl, wait }).await
        }
        Step::Resume(at) => control.resume(by, pool(at)).await,
        other => unreachable!("not a call: {other:?}"),
    }
}
