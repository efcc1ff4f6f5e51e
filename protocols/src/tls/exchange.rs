//! A connection's handshake, as far as it is in the open, and what came after it in bytes.

use super::hello::{ClientHello, ServerHello};
use crate::{Close, Side};
use weir_records::Timestamp;

/// One TLS connection.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The connection's first byte.
    pub(super) first: Timestamp,
    /// Its last.
    pub(super) last: Timestamp,
    pub(super) client: Option<ClientHello>,
    pub(super) server: Option<ServerHello>,
    /// When the client's hello was whole, and the server's.
    pub(super) hellos: [Option<Timestamp>; 2],
    /// An alert in the open, and who sent it.
    pub(super) alert: Option<(Side, u8, u8)>,
    /// What each side sent, client first.
    pub(super) bytes: [u64; 2],
    /// Some of it was missed.
    pub(super) gaps: bool,
    /// Who sent something else in place of a hello.
    pub(super) odd: Option<Side>,
    pub(super) late: bool,
    /// How it ended.
    pub(super) close: Close,
}

impl Exchange {
    /// An alert ended the handshake.
    pub(super) fn fatal(&self) -> Option<(Side, u8)> {
        self.alert
            .and_then(|(side, level, what)| (level == 2).then_some((side, what)))
    }
}
