//! The frames of a WebSocket (RFC 6455, 5.2), as far as closing one takes: where they end, and which
//! of them is a Close.
//!
//! A [`Frames`] follows one direction and is shown each of its bytes once. States: in a *header*, in
//! a *payload*, *closed* (a Close has passed whole; nothing may follow it, so nothing is looked at),
//! *broken* (these are no frames, and where one ends cannot be known).
//!
//! What always holds: however the bytes are cut, the state behind the same bytes is the same. Only
//! headers are looked at, so the work is one of frames, not of bytes. What an extension may change
//! (reserved bits, new opcodes: 5.8) does not move the end of a frame, and is let pass; so is a
//! length that is written longer than need be.
//!
//! Who calls it: [`super::pipe`], which also sends the Close that is written here. No socket, no
//! clock.

/// Two bytes, a length of eight, a key of four.
const HEADER_BYTES_MAX: usize = 14;

/// Control frames are no longer than what two bytes of a header can say (5.5).
const CONTROL_BYTES_MAX: u8 = 125;

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// Of the opcode: a control frame.
const CONTROL: u8 = 0x08;
const CLOSE: u8 = 0x08;
const MASKED: u8 = 0x80;

/// Status code 1001, "going away" (7.4.1).
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// Whose frames: a client masks them, a server must not (5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sender {
    Client,
    Server,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Header,
    Payload,
    Closed,
    Broken,
}

/// See the module's words.
pub(super) struct Frames {
    sender: Sender,
    state: State,
    /// The header of the present frame, as far as it has come.
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    /// Bytes of the present payload that are still to come.
    left: u64,
}

impl Frames {
    pub(super) fn of(sender: Sender) -> Self {
        Self {
            sender,
            state: State::Header,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            left: 0,
        }
    }

    /// The next byte is the first of a frame.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.state == State::Header && self.header_len == 0
    }

    /// A Close has passed, to its last byte.
    pub(super) fn has_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// What passed were not frames.
    pub(super) fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// All of these bytes pass.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.pass_frame(bytes)..];
        }
    }

    /// As many of these bytes pass as there are before the next boundary; from one boundary on, those
    /// of the frame that begins there. Says how many. Where no boundary comes, all of them pass.
    pub(super) fn pass_frame(&mut self, bytes: &[u8]) -> usize {
        let of_header = match self.state {
            State::Header => self.pass_header(bytes),
            _ => 0,
        };
        match self.state {
            State::Header => of_header,
            State::Payload => of_header + self.pass_payload(&bytes[of_header..]),
            State::Closed | State::Broken => bytes.len(),
        }
    }

    fn pass_header(&mut self, bytes: &[u8]) -> usize {
        let held = self.header_len;
        // Mostly more is there than the header, and one copy of a fixed size is the cheapest.
        match bytes.first_chunk() {
            Some(whole) if held == 0 => {
                self.header = *whole;
                self.header_len = HEADER_BYTES_MAX;
            }
            _ => {
                let taken = bytes.len().min(HEADER_BYTES_MAX - held);
                self.header[held..held + taken].copy_from_slice(&bytes[..taken]);
                self.header_len += taken;
            }
        }
        if self.header_len < 2 {
            return bytes.len();
        }
        let wanted = self.header_wanted();
        let is_whole = self.header_len >= wanted;
        if !self.begins_well() || (is_whole && i64::try_from(self.payload_len()).is_err()) {
            self.state = State::Broken;
        }
        if self.is_broken() || !is_whole {
            return bytes.len();
        }
        self.header_len = wanted;
        self.left = self.payload_len();
        self.state = State::Payload;
        wanted - held
    }

    fn pass_payload(&mut self, bytes: &[u8]) -> usize {
        let passed = self.left.min(bytes.len() as u64);
        self.left -= passed;
        if self.left == 0 {
            self.header_len = 0;
            self.state = match self.header[0] & OPCODE {
                CLOSE => State::Closed,
                _ => State::Header,
            };
        }
        passed as usize
    }

    /// How long the header is, of which two bytes are there.
    fn header_wanted(&self) -> usize {
        let key = match self.sender {
            Sender::Client => 4,
            Sender::Server => 0,
        };
        2 + self.length_bytes() + key
    }

    /// Bytes that the length takes behind the first two.
    fn length_bytes(&self) -> usize {
        match self.header[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    /// Whether the first two bytes of the header can be those of one.
    fn begins_well(&self) -> bool {
        let [first, second, ..] = self.header;
        let is_masked = second & MASKED != 0;
        let is_control = first & CONTROL != 0;
        let is_short = second & !MASKED <= CONTROL_BYTES_MAX;
        let is_fragment = first & FIN == 0;
        is_masked == (self.sender == Sender::Client) && !(is_control && (is_fragment || !is_short))
    }

    /// What the header says; the highest bit must be 0.
    fn payload_len(&self) -> u64 {
        let [_, second, a, b, c, d, e, f, g, h, ..] = self.header;
        match second & !MASKED {
            126 => u64::from(u16::from_be_bytes([a, b])),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            length => u64::from(length),
        }
    }
}

/// Appends the Close that says 1001, as this sender would send it.
pub(super) fn write_going_away(sender: Sender, out: &mut Vec<u8>) {
    let length = GOING_AWAY.len() as u8;
    match sender {
        Sender::Server => {
            out.extend_from_slice(&[FIN | CLOSE, length]);
            out.extend_from_slice(&GOING_AWAY);
        }
        Sender::Client => {
            // The key is there so that nobody can choose the bytes that a proxy on the way sees (10.3).
            // These are ours, so it need not be hard to guess.
            let key = fastrand::u32(..).to_ne_bytes();
            out.extend_from_slice(&[FIN | CLOSE, MASKED | length]);
            out.extend_from_slice(&key);
            out.extend(GOING_AWAY.iter().zip(key).map(|(byte, key)| byte ^ key));
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
