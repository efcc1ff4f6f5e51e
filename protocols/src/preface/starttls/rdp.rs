//! RDP: client and server agree on TLS in the first packet of each (MS-RDPBCGR, 2.2.1.1 and 2.2.1.2).

use super::{Answer, Asked, Kind, Message, Talk, fits, sized};
use crate::Side;
use crate::detect::Verdict;
use memchr::memmem;
use weir_records::Preface;

pub(super) const KIND: Kind = Kind {
    first: Side::Client,
    begins: |bytes| match fits(bytes, &[Some(3), Some(0), None, None, None, Some(REQUEST)]) {
        // The inner length counts all behind itself.
        Verdict::Yes if size(bytes) != Some(usize::from(bytes[4]) + 5) => Verdict::No,
        verdict => verdict,
    },
    talk: |_| Box::new(Rdp),
};

/// X.224's connection request and connection confirm.
const REQUEST: u8 = 0xe0;
const CONFIRM: u8 = 0xd0;
/// Where the negotiation stands in a packet; in the client's, a cookie that ends with a line may stand before it.
const NEGOTIATION: usize = 11;
/// Beginnings of the negotiation: type, flags, and length.
const ASKS: u8 = 1;
const ANSWERS: u8 = 2;

#[derive(Debug)]
struct Rdp;

fn size(bytes: &[u8]) -> Option<usize> {
    let [_, _, high, low] = *bytes.first_chunk()?;
    Some(usize::from(u16::from_be_bytes([high, low])))
}

/// The protocols in a negotiation of this type.
fn protocols(negotiation: &[u8], kind: u8) -> Option<u32> {
    match *negotiation.first_chunk()? {
        [first, _, 8, 0, a, b, c, d] if first == kind => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}

impl Talk for Rdp {
    fn message(&self, _: Side, bytes: &[u8]) -> Message {
        match bytes[0] {
            3 => sized(bytes, size(bytes)),
            _ => Message::Other,
        }
    }

    fn client(&mut self, packet: &[u8]) -> Asked {
        let packet = packet.get(NEGOTIATION..).unwrap_or_default();
        let cookie = memmem::find(packet, b"\r\n").map_or(0, |end| end + 2);
        let asked = protocols(packet, ASKS).or_else(|| protocols(&packet[cookie..], ASKS));
        match asked {
            Some(1..) => Asked::Tls,
            _ => Asked::Other,
        }
    }

    fn server(&mut self, packet: &[u8]) -> Answer {
        let negotiation = packet.get(NEGOTIATION..).unwrap_or_default();
        match protocols(negotiation, ANSWERS) {
            Some(1..) if packet[5] == CONFIRM => Answer::Agreed,
            _ => Answer::Other,
        }
    }

    fn preface(&self) -> Preface {
        Preface::StartTlsRdp
    }
}
