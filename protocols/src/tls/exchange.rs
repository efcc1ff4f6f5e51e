//! A connection's handshake, as far as it is in the open, and what came after it in bytes.

use super::hello::{ClientHello, ServerHello};
use super::progress::Progress;
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
    pub(super) progress: Progress,
    /// When the client's hello was whole, and the server's.
    pub(super) hellos: [Option<Timestamp>; 2],
    /// An alert in the open, and who sent it: the one that ended the handshake, or else the last.
    pub(super) alert: Option<(Side, u8, u8)>,
    /// What each side sent, client first.
    pub(super) bytes: [u64; 2],
    /// Some of the handshake was missed.
    pub(super) gaps: bool,
    /// The handshake was not followed to its end: it held something that is not understood.
    pub(super) lost: bool,
    /// Who sent something else in place of a hello.
    pub(super) odd: Option<Side>,
    pub(super) late: bool,
    /// How it ended.
    pub(super) close: Close,
    /// The connection goes on; this tells of it until then.
    pub(super) open: Option<Timestamp>,
}

impl Exchange {
    /// Nothing was seen yet.
    pub(super) fn new(late: bool) -> Self {
        Self {
            first: Timestamp::default(),
            last: Timestamp::default(),
            client: None,
            server: None,
            progress: Progress::default(),
            hellos: [None; 2],
            alert: None,
            bytes: [0; 2],
            gaps: false,
            lost: false,
            odd: None,
            late,
            close: Close::Abandoned,
            open: None,
        }
    }

    /// The connection goes on.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// An alert ended the handshake.
    pub(super) fn fatal(&self) -> Option<(Side, u8)> {
        self.alert
            .and_then(|(side, level, what)| (level == 2).then_some((side, what)))
    }

    /// The connection is encrypted, or it never was; nothing where neither is known.
    pub(super) fn established(&self) -> Option<bool> {
        let ended = self.close != Close::Abandoned;
        let followed = ended && !self.late && !self.gaps && !self.lost && self.odd != Some(Side::Client);
        match self.fatal() {
            Some(_) => Some(false),
            None if self.progress.established => Some(true),
            None if followed && self.progress.is_incomplete() => Some(false),
            None => None,
        }
    }
}
