//! SQL Server: TDS's PRELOGIN says on both sides whether there is TLS, and packets of the same type hold its handshake
//! (MS-TDS, 2.2.6.5). What comes behind the handshake is TLS without packets around it.

use super::{Answer, Asked, Kind, Message, Talk, fits, sized};
use crate::Side;
use crate::detect::Verdict;
use weir_records::Preface;

pub(super) const KIND: Kind = Kind {
    first: Side::Client,
    begins: |bytes| {
        // Nothing is said in the number of a process, and the first option is the version, which the list's end follows.
        let first = [
            Some(PRELOGIN),
            Some(1),
            None,
            None,
            Some(0),
            Some(0),
            None,
            Some(0),
            Some(0),
            Some(0),
        ];
        match fits(bytes, &first) {
            Verdict::Yes if size(bytes).is_none_or(|size| size > 1024) => Verdict::No,
            verdict => verdict,
        }
    },
    talk: |_| Box::new(Mssql),
};

/// Types of packets.
const PRELOGIN: u8 = 0x12;
const RESPONSE: u8 = 0x04;
/// Length of a packet's header.
const HEADER: usize = 8;
/// The option that tells of TLS, what stands there where the server has none, and the end of options.
const ENCRYPTION: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const END: u8 = 0xff;

#[derive(Debug)]
struct Mssql;

fn size(bytes: &[u8]) -> Option<usize> {
    let [_, _, high, low] = *bytes.first_chunk()?;
    Some(usize::from(u16::from_be_bytes([high, low])).max(HEADER))
}

/// What the option of TLS says: options are a list of types, with places and lengths of their values behind it.
fn encryption(packet: &[u8]) -> Option<u8> {
    let options = packet.get(HEADER..)?;
    let entries = options.chunks_exact(5).take_while(|entry| entry[0] != END);
    let entry = entries.into_iter().find(|entry| entry[0] == ENCRYPTION)?;
    let place = usize::from(u16::from_be_bytes([entry[1], entry[2]]));
    options.get(place).copied()
}

impl Talk for Mssql {
    fn message(&self, _: Side, bytes: &[u8]) -> Message {
        match bytes[0] {
            PRELOGIN | RESPONSE => sized(bytes, size(bytes)),
            _ => Message::Other,
        }
    }

    fn client(&mut self, packet: &[u8]) -> Asked {
        match encryption(packet) {
            Some(_) => Asked::Tls,
            None => Asked::Other,
        }
    }

    fn server(&mut self, packet: &[u8]) -> Answer {
        match encryption(packet) {
            None | Some(NOT_SUPPORTED) => Answer::Other,
            Some(_) => Answer::Agreed,
        }
    }

    fn preface(&self) -> Preface {
        Preface::StartTlsMssql
    }

    fn wraps(&self) -> bool {
        true
    }
}

/// Takes the headers of packets off one side, until something else than a packet comes.
#[derive(Debug, Default)]
pub(super) struct Packets {
    header: Vec<u8>,
    /// Bytes that are missing of the packet.
    missing: usize,
    /// There are no packets any more.
    bare: bool,
}

impl Packets {
    /// The next piece of what is in packets; nothing where `bytes` has no more.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        loop {
            let first = self.header.first().or(bytes.first())?;
            if self.missing == 0 && !self.bare {
                self.bare = !matches!(*first, PRELOGIN | RESPONSE);
            }
            if self.bare || self.missing > 0 {
                let length = if self.bare {
                    bytes.len()
                } else {
                    self.missing.min(bytes.len())
                };
                let (piece, rest) = bytes.split_at(length);
                *bytes = rest;
                self.missing = self.missing.saturating_sub(length);
                return (!piece.is_empty()).then_some(piece);
            }
            let (piece, rest) = bytes.split_at((HEADER - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(piece);
            *bytes = rest;
            if self.header.len() < HEADER {
                return None;
            }
            self.missing = size(&self.header)? - HEADER;
            self.header.clear();
        }
    }
}
