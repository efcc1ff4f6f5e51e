//! PostgreSQL: a client asks with SSLRequest, or first for GSSAPI with GSSENCRequest, and the server answers with one byte
//! (postgresql.org/docs/current/protocol-message-formats.html).

use super::{Answer, Asked, Kind, Message, Talk, fits, sized};
use crate::Side;
use crate::detect::Verdict;
use weir_records::Preface;

pub(super) const KIND: Kind = Kind {
    first: Side::Client,
    begins: |bytes| match fits(bytes, &BEGINNING.map(Some)) {
        Verdict::Yes => match bytes.get(BEGINNING.len()) {
            None => Verdict::More,
            Some(&(SSL | GSS)) => Verdict::Yes,
            Some(_) => Verdict::No,
        },
        verdict => verdict,
    },
    talk: |_| Box::new(Postgresql { gss: false }),
};

/// Both messages, but for the last byte: their length, and a number that is no version.
const BEGINNING: [u8; 7] = [0, 0, 0, 8, 4, 0xd2, 0x16];
/// Last byte of SSLRequest, and of GSSENCRequest.
const SSL: u8 = 0x2f;
const GSS: u8 = 0x30;

#[derive(Debug)]
struct Postgresql {
    /// The client has asked for GSSAPI's encryption.
    gss: bool,
}

impl Talk for Postgresql {
    fn message(&self, side: Side, bytes: &[u8]) -> Message {
        match side {
            Side::Server => sized(bytes, Some(1)),
            Side::Client => sized(bytes, Some(BEGINNING.len() + 1)),
        }
    }

    fn client(&mut self, message: &[u8]) -> Asked {
        match message.strip_prefix(&BEGINNING) {
            Some(&[code @ (SSL | GSS)]) => {
                self.gss = code == GSS;
                Asked::Tls
            }
            // The client goes on in the open, if the server lets it.
            _ => Asked::Other,
        }
    }

    fn server(&mut self, message: &[u8]) -> Answer {
        match message {
            b"S" if !self.gss => Answer::Agreed,
            b"N" => Answer::Refused,
            _ => Answer::Other,
        }
    }

    fn preface(&self) -> Preface {
        Preface::StartTlsPostgresql
    }
}
