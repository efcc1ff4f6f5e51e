//! A connection as it was seen from its handshake on. What it means is said in `document`.

use super::handshake::Handshake;
use crate::{Close, Side};
use weir_records::Timestamp;

/// One WebSocket connection.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub(super) handshake: Handshake,
    /// What each side sent, client first.
    pub(super) counts: [Counts; 2],
    /// The close frames, and whose came first.
    pub(super) closes: [Option<CloseFrame>; 2],
    pub(super) closed_by: Option<Side>,
    /// The connection's last byte.
    pub(super) last: Timestamp,
    /// Not all of it could be counted.
    pub(super) incomplete: bool,
    /// How it ended.
    pub(super) close: Close,
    pub(super) anomalies: Vec<String>,
}

/// What a side sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub text: u64,
    pub binary: u64,
    pub compressed: u64,
    /// Bytes of messages, as they were sent.
    pub bytes: u64,
    pub largest: u64,
    pub pings: u64,
    pub pongs: u64,
    /// When the first message began and the last one ended.
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
    /// All bytes since the handshake.
    pub wire: u64,
    /// When the frame on its way began.
    pub begun: Timestamp,
}

/// A close frame.
#[derive(Clone, Debug)]
pub(super) struct CloseFrame {
    pub payload: Vec<u8>,
}

impl Counts {
    /// A whole message.
    pub fn add(&mut self, text: bool, compressed: bool, size: u64) {
        let kind = if text { &mut self.text } else { &mut self.binary };
        *kind += 1;
        self.compressed += u64::from(compressed);
        self.bytes = self.bytes.saturating_add(size);
        self.largest = self.largest.max(size);
    }
}

impl CloseFrame {
    /// The status code; nothing where none was sent.
    pub fn code(&self) -> Option<u16> {
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    pub fn reason(&self) -> &[u8] {
        self.payload.get(2..).unwrap_or_default()
    }
}
