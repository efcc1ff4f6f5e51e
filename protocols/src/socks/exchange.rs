//! A client's wish, and what became of it.

use super::message::Request;
use crate::{Close, Side};
use weir_records::{SocksAuthentication, SocksVersion, Timestamp};

/// What was asked of a SOCKS proxy.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub(super) version: SocksVersion,
    /// When the client's first byte came, its request was whole, and the proxy's last byte came.
    pub(super) first: Timestamp,
    pub(super) asked: Option<Timestamp>,
    pub(super) last: Timestamp,
    pub(super) authentication: Option<SocksAuthentication>,
    pub(super) request: Option<Request>,
    pub(super) ending: Ending,
    /// What each side sent, client first.
    pub(super) bytes: [u64; 2],
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing that can be told.
    #[default]
    Unknown,
    /// The proxy's answer.
    Reply(u8),
    /// The proxy wants none of the ways in which the client would show who it is.
    NoMethod,
    /// The proxy did not accept name and password.
    Refused,
    /// The connection ended before the proxy's answer.
    Closed(Close),
}

impl Exchange {
    /// The proxy has done what was asked.
    pub(super) fn is_granted(&self) -> bool {
        let granted = match self.version {
            SocksVersion::V5 => 0,
            SocksVersion::V4 | SocksVersion::V4a => 0x5a,
        };
        self.ending == Ending::Reply(granted)
    }

    pub(super) fn sent(&mut self, side: Side, bytes: usize) {
        self.bytes[usize::from(side == Side::Server)] += bytes as u64;
    }
}
