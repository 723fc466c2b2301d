//! Clients that are known: each stays on its side.

use super::*;

const CLIENTS: usize = 10_000;

/// Numbers, session ids, and mail addresses: what sites know clients by.
const KINDS: [fn(usize) -> String; 3] = [
    |n| format!("{n}"),
    |n| format!("5f3e{n:028x}"),
    |n| format!("user-{n}@example.com"),
];

fn known_by_cookie(rig: &mut Rig, share: &str) {
    let sticky = Sticky::parse("cookie:sid").unwrap();
    rig.phase(Phase::Canary(Share::parse(share).unwrap()), Some(sticky));
}

/// Which of the clients are the canary's.
fn canaries(rig: &Rig, client: fn(usize) -> String) -> Vec<bool> {
    let of = |n| Draw::of_client(client(n).as_bytes());
    (0..CLIENTS)
        .map(|n| is_new(rig.claim(&[], &mut of(n)).unwrap()))
        .collect()
}

/// Another value would move clients when the proxy is upgraded. Calculated apart from this program.
#[test]
fn a_client_has_the_same_bucket_for_ever() {
    for (value, hashed, bucket) in [
        (&b""[..], 0xefd0_1f60_ba99_2926, 4342),
        (b"a", 0x82a2_a958_a9be_ce5b, 8315),
        (b"foobar", 0x2c22_1949_22d1_672b, 7275),
        (b"user-17", 0xd89d_f135_9ef4_b32f, 4655),
    ] {
        assert_eq!(hash(value), hashed);
        assert_eq!(Draw::of_client(value).bucket, Some(bucket));
    }
}

#[test]
fn a_growing_share_only_adds_clients_and_each_stays() {
    for client in KINDS {
        let mut rig = Rig::with_canary("0%");
        let mut before = canaries(&rig, client);
        assert!(!before.contains(&true));
        for share in ["1%", "10%", "10%", "25%", "50%", "99%", "100%"] {
            known_by_cookie(&mut rig, share);
            let now = canaries(&rig, client);
            let left = before.iter().zip(&now).filter(|(was, is)| **was && !**is);
            assert_eq!(left.count(), 0, "{share}");
            let expected = usize::from(Share::parse(share).unwrap().steps());
            let count = now.iter().filter(|is_canary| **is_canary).count();
            let point = CLIENTS / 100;
            assert!(
                count.abs_diff(expected) < point,
                "{count} of {CLIENTS} for {share}, such as {}",
                client(1)
            );
            before = now;
        }
        assert!(!before.contains(&false));
    }
}

#[test]
fn known_clients_do_not_count_for_the_others() {
    let mut rig = Rig::with_canary("0%");
    known_by_cookie(&mut rig, "10%");
    for other in 1..=20 {
        for n in 0..7 {
            rig.claim(&[], &mut Draw::of_client(&[n])).unwrap();
        }
        assert_eq!(is_new(rig.send()), other % 10 == 0);
    }
}

#[test]
fn a_known_client_is_rather_served_by_the_other_side_than_not() {
    let mut rig = Rig::with_canary("0%");
    known_by_cookie(&mut rig, "50%");
    for generation in [11, 12] {
        rig.set_health(generation, Health::Unhealthy);
    }
    assert!(!canaries(&rig, KINDS[0]).contains(&true));
    for (old, new) in [(1, 11), (2, 12)] {
        rig.set_health(old, Health::Unhealthy);
        rig.set_health(new, Health::Healthy);
    }
    assert!(!canaries(&rig, KINDS[0]).contains(&false));
}

#[test]
fn only_an_open_canary_asks_who_the_client_is() {
    let mut rig = Rig::with_canary("10%");
    let asks = |rig: &Rig| rig.pools.load().pool(&web()).unwrap().sticky().cloned();
    assert_eq!(asks(&rig), None);
    known_by_cookie(&mut rig, "10%");
    rig.reload();
    rig.set_health(1, Health::Unhealthy);
    let cookie = Some(Sticky::Cookie("sid".into()));
    assert_eq!(asks(&rig), cookie);
    for phase in [Phase::Gate, Phase::Bake] {
        rig.phase(phase, cookie.clone());
        assert_eq!(asks(&rig), None, "{phase:?}");
    }
}
