//! Frame headers (RFC 9113, 4.1 and 6), and where in some bytes frames begin.

use crate::Side;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;
/// Longest frame that is allowed unless a peer's settings say otherwise.
pub(super) const DEFAULT_MAX: u32 = 16 << 10;
/// Longest frame that can be.
pub(super) const MAX: u32 = (1 << 24) - 1;
/// Identifiers of streams beyond this are not believed of a frame that was looked for. (A connection gets there after
/// more than a hundred million requests.)
const MAX_STREAM: u32 = 1 << 28;
/// So many plausible headers in a row are enough.
const LONG_CHAIN: usize = 8;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// The flag END_STREAM of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
/// The flag ACK of SETTINGS.
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
/// HEADERS say what the stream depends on.
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes behind the header.
    pub length: u32,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

/// What the name of a kind of frames is.
pub(super) fn kind_name(kind: u8) -> &'static str {
    const NAMES: [&str; 10] = [
        "DATA",
        "HEADERS",
        "PRIORITY",
        "RST_STREAM",
        "SETTINGS",
        "PUSH_PROMISE",
        "PING",
        "GOAWAY",
        "WINDOW_UPDATE",
        "CONTINUATION",
    ];
    NAMES.get(usize::from(kind)).copied().unwrap_or("a frame")
}

/// What is wrong with a frame by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameFault {
    /// Its kind has another size.
    Size,
    /// It stands on a stream where its kind stands on the connection, or the other way round.
    Stream,
    /// Its side never sends its kind.
    Side,
    /// Its padding is longer than itself.
    Padding,
}

impl FrameFault {
    /// What `weir.anomalies` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Size => "frame_size_invalid",
            Self::Stream => "frame_on_wrong_stream",
            Self::Side => "frame_of_wrong_side",
            Self::Padding => "padding_invalid",
        }
    }
}

impl Header {
    /// What is wrong with it, sent by `side`. (Frames of unknown kinds are allowed, and left out.)
    pub fn fault(&self, side: Side) -> Option<FrameFault> {
        let (size, on_stream) = match self.kind {
            DATA | HEADERS | CONTINUATION | PUSH_PROMISE => (true, Some(true)),
            PRIORITY => (self.length == 5, Some(true)),
            RST_STREAM => (self.length == 4, Some(true)),
            SETTINGS => (
                self.length.is_multiple_of(6) && (self.length == 0 || !self.has(ACK)),
                Some(false),
            ),
            PING => (self.length == 8, Some(false)),
            GOAWAY => (self.length >= 8, Some(false)),
            WINDOW_UPDATE => (self.length == 4, None),
            _ => return None,
        };
        let padded = matches!(self.kind, DATA | HEADERS | PUSH_PROMISE) && self.has(PADDED);
        if padded && self.length == 0 {
            Some(FrameFault::Padding)
        } else if self.kind == PUSH_PROMISE && side == Side::Client {
            Some(FrameFault::Side)
        } else if on_stream.is_some_and(|on_stream| on_stream != (self.stream != 0)) {
            Some(FrameFault::Stream)
        } else {
            (!size).then_some(FrameFault::Size)
        }
    }

    pub fn read(bytes: &[u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of the frame with its header.
    pub fn size(&self) -> u64 {
        u64::from(self.length) + HEADER as u64
    }

    /// A frame that `side` may send, as far as a header tells. Unknown types and flags are allowed by the RFC but not
    /// seen in practice: of bytes that may be anything they are not believed.
    pub fn is_plausible(&self, side: Side, max: u32) -> bool {
        let (flags, length, on_stream) = match self.kind {
            DATA => (END_STREAM | PADDED, self.length > 0 || self.has(END_STREAM), true),
            HEADERS => (
                END_STREAM | END_HEADERS | PADDED | WITH_PRIORITY,
                self.length > 0,
                true,
            ),
            PRIORITY => (0, self.length == 5, true),
            RST_STREAM => (0, self.length == 4, true),
            SETTINGS => (
                ACK,
                self.length.is_multiple_of(6) && self.length <= 1024 && (self.length == 0 || !self.has(ACK)),
                false,
            ),
            PUSH_PROMISE => (
                END_HEADERS | PADDED,
                self.length > 4 && side == Side::Server,
                true,
            ),
            PING => (ACK, self.length == 8, false),
            GOAWAY => (0, self.length >= 8, false),
            WINDOW_UPDATE => (0, self.length == 4, self.stream != 0),
            CONTINUATION => (END_HEADERS, true, true),
            _ => return false,
        };
        let pushed = self.stream != 0 && self.stream.is_multiple_of(2);
        let speaks = matches!(self.kind, DATA | HEADERS | CONTINUATION) && side == Side::Client;
        self.flags & !flags == 0
            && length
            && on_stream == (self.stream != 0)
            && self.stream <= MAX_STREAM
            && !(pushed && speaks)
            && self.length <= max
    }
}

/// Where in bytes of `side`, which begin anywhere, a frame begins: where one plausible header leads to the next, or a
/// frame ends with the bytes. At their beginning (of a segment, mostly) a frame of a stream will do that ends later.
pub(super) fn search(bytes: &[u8], side: Side, max: u32) -> Option<usize> {
    (0..bytes.len()).find(|at| {
        let rest = &bytes[*at..];
        rest.first_chunk::<HEADER>()
            .is_some_and(|header| Header::read(header).is_plausible(side, max))
            && is_chain(rest, *at == 0, side, max)
    })
}

fn is_chain(mut rest: &[u8], at_start: bool, side: Side, max: u32) -> bool {
    let mut frames = 0;
    while let Some(bytes) = rest.first_chunk() {
        let header = Header::read(bytes);
        if !header.is_plausible(side, max) {
            return false;
        }
        frames += 1;
        if frames == LONG_CHAIN {
            return true;
        }
        match rest.get(HEADER + header.length as usize..) {
            Some([]) => return true,
            Some(tail) => rest = tail,
            None => return frames > 1 || at_start && matches!(header.kind, DATA | HEADERS),
        }
    }
    frames > 1 || at_start
}
