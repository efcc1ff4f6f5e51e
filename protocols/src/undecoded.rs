//! Why a connection, or the rest of one, is not decoded.

/// The reason for which a decoder gave its connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undecoded {
    /// Nothing in the connection is of a protocol that is known here.
    UnknownProtocol,
    /// The connection goes on in something that is not decoded, behind an upgrade or in a tunnel.
    Upgraded,
    /// Where messages begin is not known any more.
    FramingLost,
    /// So much was looked through in vain that no more is.
    Bound,
    /// The user has said that the connection is not to be decoded.
    Pinned,
}

impl Undecoded {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::UnknownProtocol,
        Self::Upgraded,
        Self::FramingLost,
        Self::Bound,
        Self::Pinned,
    ];

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownProtocol => "unknown_protocol",
            Self::Upgraded => "upgraded",
            Self::FramingLost => "framing_lost",
            Self::Bound => "bound",
            Self::Pinned => "pinned",
        }
    }
}
