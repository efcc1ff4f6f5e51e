//! MySQL and MariaDB: after the server's greeting the client sends the beginning of its login alone, with the flag CLIENT_SSL,
//! and then TLS, without waiting for an answer (mariadb.com/docs/server/reference/clientserver-protocol/1-connecting).

use super::{Answer, Asked, Kind, Message, Talk, fits, sized};
use crate::Side;
use crate::detect::Verdict;
use weir_records::Preface;

pub(super) const KIND: Kind = Kind {
    first: Side::Server,
    begins,
    talk: |_| Box::new(Mysql),
};

/// Length of a packet's header: length and number.
const HEADER: usize = 4;
/// The client's SSLRequest: flags, largest packet, character set, and nothing for the rest.
const REQUEST: usize = HEADER + 32;
const CLIENT_SSL: u32 = 0x0800;

/// Packet 0, version 10 of the protocol, and a version of the server that begins with a digit. No greeting is longer than 1 KiB.
fn begins(bytes: &[u8]) -> Verdict {
    let short = bytes.get(1).is_none_or(|high| *high < 4);
    let digit = bytes.get(HEADER + 1).is_none_or(u8::is_ascii_digit);
    match fits(bytes, &[None, None, Some(0), Some(0), Some(10), None]) {
        verdict if short && digit => verdict,
        _ => Verdict::No,
    }
}

#[derive(Debug)]
struct Mysql;

impl Talk for Mysql {
    fn message(&self, side: Side, bytes: &[u8]) -> Message {
        // The client answers packet 0.
        let number = u8::from(side == Side::Client);
        match bytes.first_chunk::<HEADER>() {
            None => Message::More,
            Some([low, high, 0, other]) if *other == number => sized(
                bytes,
                Some(HEADER + usize::from(u16::from_le_bytes([*low, *high]))),
            ),
            Some(_) => Message::Other,
        }
    }

    fn client(&mut self, message: &[u8]) -> Asked {
        let flags = message.get(HEADER..).and_then(<[u8]>::first_chunk::<4>);
        let ssl = flags.is_some_and(|flags| u32::from_le_bytes(*flags) & CLIENT_SSL != 0);
        match ssl && message.len() == REQUEST {
            true => Asked::TlsAtOnce,
            false => Asked::Other,
        }
    }

    fn server(&mut self, _: &[u8]) -> Answer {
        Answer::Other
    }

    fn preface(&self) -> Preface {
        Preface::StartTlsMysql
    }
}
