//! The two ends of a tunnel, and WebSocket frames by hand.

use tokio::net::TcpStream;

use super::{Proxy, Script, Wire};

pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Both ends of a tunnel.
pub async fn tunnel(script: &mut Script, proxy: &Proxy) -> (Wire<TcpStream>, Wire<TcpStream>) {
    let mut client = proxy.client().await;
    client.send(HANDSHAKE).await;
    let (mut inside, _) = script.asked().await;
    inside.send(GRANTED).await;
    assert_eq!(client.answer().await.status(), 101);
    (client, inside)
}

/// A frame as a client sends it, masked, or as a server does.
pub fn frame(head: u8, payload: &[u8], is_masked: bool) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let bit = if is_masked { 0x80 } else { 0 };
    let mut frame = vec![head];
    match payload.len() {
        length @ 0..126 => frame.push(bit | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(bit | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(bit | 127);
            frame.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    if !is_masked {
        frame.extend(payload);
        return frame;
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

/// A close frame, with a code or without.
pub fn close(code: Option<u16>, is_masked: bool) -> Vec<u8> {
    let payload = code.map(|code| [&code.to_be_bytes()[..], b"bye"].concat());
    frame(0x88, &payload.unwrap_or_default(), is_masked)
}
