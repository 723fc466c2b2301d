//! What a drain makes of WebSockets when it comes to close tunnels: a Close with code 1001 for each side,
//! between two frames, and its answer. Other upgrades just end.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::support::pair::DRAIN_A;
use crate::support::websocket::{GRANTED, HANDSHAKE, close, frame, tunnel};
use crate::support::{End, Proxy, Script, Setup, Wire, not_yet, within};

/// What the client gets.
const GOING_AWAY: &[u8] = b"\x88\x02\x03\xe9";

/// How long the proxy waits for the other Closes.
const BOUND: Duration = Duration::from_secs(5);

async fn logged() -> (Script, Proxy) {
    let script = Script::start().await;
    let mut setup = Setup::scripts(&[&script], "");
    setup.log = "{access: true}".into();
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    (script, proxy)
}

fn at_once() -> String {
    format!("{DRAIN_A}?force&close_after=0s&spread=0s")
}

/// The Close that the backend gets, its mask taken off.
async fn close_inside(inside: &mut Wire<TcpStream>) {
    let bytes = inside.bytes(8).await;
    let [0x88, 0x82, a, b, _, _, first, second] = bytes[..] else {
        panic!("no masked close: {bytes:x?}");
    };
    assert_eq!([first ^ a, second ^ b], [0x03, 0xe9], "{bytes:x?}");
}

#[tokio::test]
async fn a_drain_gives_both_sides_a_1001_and_waits_for_theirs() {
    let (mut script, proxy) = logged().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let mut drain = proxy.admin_later("POST", &at_once());
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    close_inside(&mut inside).await;
    inside.send(frame(0x81, b"too late", false)).await;
    inside.send(close(Some(1001), false)).await;
    not_yet("the drain", &mut drain).await;
    client.send(frame(0x81, b"too late", true)).await;
    client.send(close(Some(1001), true)).await;
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    assert_eq!(client.end().await, (Vec::new(), End::Closed));
    assert_eq!(inside.end().await, (Vec::new(), End::Closed));
    let record = proxy.record("/ws").await;
    assert_eq!(record["status"], 101);
    assert!(record["error"].is_null(), "{record}");
}

/// The message that is being sent arrives whole: the Close comes behind its frame, never inside.
#[tokio::test]
async fn a_frame_under_way_is_finished_before_the_close() {
    for is_client in [true, false] {
        let (mut script, proxy) = logged().await;
        let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
        let message = frame(0x81, &[b'm'; 40_000], is_client);
        let (half, rest) = message.split_at(message.len() / 2);
        let (from, to) = match is_client {
            true => (&mut client, &mut inside),
            false => (&mut inside, &mut client),
        };
        from.send(half).await;
        assert_eq!(to.bytes(half.len()).await, half);
        let drain = proxy.admin_later("POST", &at_once());
        // In the other direction nothing is under way: that is how it is known to have been asked.
        match is_client {
            true => assert_eq!(from.bytes(4).await, GOING_AWAY),
            false => close_inside(from).await,
        }
        let mut early = Box::pin(to.exactly(1));
        not_yet("a byte inside the frame", &mut early).await;
        drop(early);
        from.send(rest).await;
        assert!(to.bytes(rest.len()).await == rest, "not as it was");
        match is_client {
            true => close_inside(to).await,
            false => assert_eq!(to.bytes(4).await, GOING_AWAY),
        }
        client.send(close(Some(1001), true)).await;
        inside.send(close(Some(1001), false)).await;
        let drained = within("the drain", drain).await.unwrap().json();
        assert_eq!(drained["outcome"], "clean");
        assert_eq!(client.end().await, (Vec::new(), End::Closed));
        assert_eq!(inside.end().await, (Vec::new(), End::Closed));
    }
}

/// A client that reads nothing until the drain has begun: all that is on its way is in one frame.
#[tokio::test]
async fn a_large_message_that_is_held_back_arrives_whole_before_the_close() {
    let (mut script, proxy) = logged().await;
    let (mut client, inside) = tunnel(&mut script, &proxy).await;
    let payload: Vec<u8> = (0..12_u32 << 20)
        .map(|at| at.to_le_bytes()[usize::from(at.is_multiple_of(7))])
        .collect();
    let message = frame(0x82, &payload, false);
    let sent = message.clone();
    let (mut read, mut write) = inside.stream.into_split();
    let mut sending = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut write, &sent)
            .await
            .unwrap();
        write
    });
    not_yet("the whole message", &mut sending).await;
    let drain = proxy.admin_later("POST", &at_once());
    let mut close_up = [0; 8];
    let got = tokio::io::AsyncReadExt::read_exact(&mut read, &mut close_up);
    within("a close", got).await.unwrap();
    assert_eq!(close_up[..2], [0x88, 0x82]);
    assert!(
        client.bytes(message.len()).await == message,
        "not as it was"
    );
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    let write = within("the message to be sent", sending).await.unwrap();
    let mut inside = Wire::new(write.reunite(read).unwrap());
    inside.send(close(None, false)).await;
    client.send(close(None, true)).await;
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    assert_eq!(client.end().await, (Vec::new(), End::Closed));
}

#[tokio::test]
async fn one_that_does_not_answer_is_cut_at_the_bound() {
    let (mut script, proxy) = logged().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let begun = Instant::now();
    let drain = proxy.admin_later("POST", &at_once());
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    close_inside(&mut inside).await;
    client.send(close(Some(1001), true)).await;
    let drained = within("the drain", drain).await.unwrap().json();
    let took = begun.elapsed();
    assert!(took >= BOUND && took < 2 * BOUND, "{took:?}");
    assert_eq!(drained["outcome"], "forced");
    assert_eq!(drained["drain"]["cut_tunnels"], 1);
    assert_eq!(inside.end().await.0, b"");
    assert_eq!(client.end().await.0, b"");
    assert_eq!(proxy.record("/ws").await["error"], "drain_closed");
}

#[tokio::test]
async fn one_that_vanishes_instead_takes_the_other_with_it() {
    let (mut script, proxy) = logged().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let begun = Instant::now();
    let drain = proxy.admin_later("POST", &at_once());
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    close_inside(&mut inside).await;
    drop(client);
    assert_eq!(inside.end().await, (Vec::new(), End::Closed));
    drop(inside);
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "forced");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_that_has_said_its_close_already_gets_the_answer_of_the_other() {
    let (mut script, proxy) = logged().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let said = close(Some(1000), false);
    inside.send(&said).await;
    assert_eq!(client.bytes(said.len()).await, said);
    let drain = proxy.admin_later("POST", &at_once());
    close_inside(&mut inside).await;
    client.send(close(Some(1000), true)).await;
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
    assert_eq!(client.end().await, (Vec::new(), End::Closed));
    assert_eq!(inside.end().await, (Vec::new(), End::Closed));
    assert!(proxy.record("/ws").await["error"].is_null());
}

#[tokio::test]
async fn websockets_are_closed_one_after_another_over_the_window() {
    let (mut script, proxy) = logged().await;
    let mut ends = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
        ends.spawn(async move {
            assert_eq!(client.bytes(4).await, GOING_AWAY);
            let when = Instant::now();
            close_inside(&mut inside).await;
            inside.send(close(Some(1001), false)).await;
            client.send(close(Some(1001), true)).await;
            assert_eq!(client.end().await, (Vec::new(), End::Closed));
            assert_eq!(inside.end().await, (Vec::new(), End::Closed));
            when
        });
    }
    let begun = Instant::now();
    let path = format!("{DRAIN_A}?force&close_after=200ms&spread=600ms");
    let drained = within("the drain", proxy.admin("POST", &path)).await.json();
    assert_eq!(drained["outcome"], "clean");
    let mut whens = ends.join_all().await;
    whens.sort();
    let first = whens[0] - begun;
    assert!(first >= Duration::from_millis(200), "{first:?}");
    let apart = whens[3] - whens[0];
    assert!(apart >= Duration::from_millis(300), "{apart:?}");
}

/// All that were quiet when the drain began were cut at once, without a word, long before their window.
#[tokio::test]
async fn a_quiet_websocket_is_no_dead_exchange() {
    let (mut script, proxy) = logged().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let clocks = "force&on_timeout=close&idle_timeout=1ms";
    let mut drain = proxy.admin_later("POST", &format!("{DRAIN_A}?{clocks}&close_after=1h"));
    not_yet("the drain", &mut drain).await;
    client.send(frame(0x81, b"still here", true)).await;
    let got = inside.bytes(frame(0x81, b"still here", true).len()).await;
    assert_eq!(got, frame(0x81, b"still here", true));
    drop((client, inside));
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
}

/// Without a window of its own it is not cut either, but asked.
#[tokio::test]
async fn a_quiet_websocket_that_has_no_window_is_asked_to_close() {
    let (mut script, proxy) = logged().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let clocks = "force&on_timeout=close&idle_timeout=1ms&close_after=never";
    let drain = proxy.admin_later("POST", &format!("{DRAIN_A}?{clocks}"));
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    close_inside(&mut inside).await;
    inside.send(close(Some(1001), false)).await;
    client.send(close(Some(1001), true)).await;
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
}

/// Nothing can be said to it in its own words, but what was on its way arrives, and nobody sees a reset.
#[tokio::test]
async fn another_upgrade_ends_in_order_on_both_sides() {
    for (upgrade, up) in [
        ("raw", &b""[..]),
        ("raw", b"up"),
        // It says that it is one, but these are no frames of a client: they are not masked.
        ("websocket", b"\x81\x02up"),
    ] {
        let (mut script, proxy) = logged().await;
        let mut client = proxy.client().await;
        client
            .send(HANDSHAKE.replace("Upgrade: websocket", &format!("Upgrade: {upgrade}")))
            .await;
        let (mut inside, _) = script.asked().await;
        inside
            .send(GRANTED.replace("Upgrade: websocket", &format!("Upgrade: {upgrade}")))
            .await;
        assert_eq!(client.answer().await.status(), 101);
        client.send(up).await;
        inside.send("down").await;
        assert_eq!(inside.bytes(up.len()).await, up);
        assert_eq!(client.bytes(4).await, b"down");
        let mut drain = proxy.admin_later("POST", &at_once());
        assert_eq!(client.end().await, (Vec::new(), End::Closed));
        // It is not done yet, and that does not become a reset of the other side.
        inside.send("more").await;
        client.send("more").await;
        not_yet("the drain", &mut drain).await;
        assert_eq!(inside.end().await, (Vec::new(), End::Closed));
        drop((client, inside));
        let drained = within("the drain", drain).await.unwrap().json();
        assert_eq!(drained["outcome"], "forced");
        assert_eq!(drained["drain"]["cut_tunnels"], 1);
    }
}

#[tokio::test]
async fn close_cuts_at_once_in_the_middle_of_the_handshake() {
    let (mut script, proxy) = logged().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let drain = proxy.admin_later("POST", &at_once());
    assert_eq!(client.bytes(4).await, GOING_AWAY);
    close_inside(&mut inside).await;
    let begun = Instant::now();
    let path = "/v1/pools/web/backends/a/close";
    let closed = within("close", proxy.admin("POST", path)).await;
    assert_eq!(closed.json()["outcome"], "forced");
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "forced");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    assert_eq!(client.end().await.0, b"");
}
