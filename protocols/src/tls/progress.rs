//! How far a handshake has come, as far as that can be told from the outside: up to TLS 1.2 by the messages in the open and by
//! what is encrypted afterwards, of TLS 1.3 by who sends encrypted records, and of which size.

use super::record::{APPLICATION_DATA, HANDSHAKE};
use crate::Side;

/// The last version whose handshake is mostly in the open.
const TLS12: u16 = 0x0303;
/// The message with which the server ends its part of a full handshake, up to TLS 1.2.
const SERVER_HELLO_DONE: u8 = 14;
/// Lengths of a record of TLS 1.3 that holds an alert and nothing else: two bytes, the type, and the tag.
const ALERTS: [usize; 2] = [2 + 1 + 16, 2 + 1 + 8];
/// Lengths of a record of TLS 1.3 that holds Finished and nothing else, by hash and tag.
const FINISHED: [usize; 3] = [36 + 1 + 16, 52 + 1 + 16, 36 + 1 + 8];

/// What was seen behind the server's hello.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The version that the server chose.
    version: Option<u16>,
    /// The client may have sent data of the application behind its hello.
    early_data: bool,
    /// The server has ended its part of a full handshake in the open.
    server_done: bool,
    /// Client and server have sent their Finished. The client's of TLS 1.3 is any encrypted record, behind the server's first,
    /// that is no alert by its size.
    finished: [bool; 2],
    /// The client has sent any encrypted record that is no alert by its size.
    client_sent: bool,
    /// Both sides have sent what nobody sends before the handshake is complete.
    pub established: bool,
    /// The connection goes on with the keys of an earlier one.
    pub resumed: Option<bool>,
}

impl Progress {
    /// The server has chosen a version.
    pub fn begin(&mut self, version: u16, pre_shared_key: bool, early_data: bool) {
        self.version = Some(version);
        self.early_data = early_data;
        if version > TLS12 {
            self.resumed = Some(pre_shared_key);
        }
    }

    /// What comes behind ChangeCipherSpec is encrypted.
    pub fn is_old(&self) -> bool {
        self.version.is_some_and(|version| version <= TLS12)
    }

    /// A message of this type was in the open.
    pub fn message(&mut self, side: Side, kind: u8) {
        self.server_done |= side == Side::Server && kind == SERVER_HELLO_DONE;
    }

    /// `side` has changed over to encrypted records.
    pub fn change(&mut self, side: Side) {
        if self.is_old() && side == Side::Server {
            // A server that goes on with an earlier session has nothing more to say.
            self.resumed = Some(!self.server_done);
        }
    }

    /// `side` sent a record of this type and length that is encrypted.
    pub fn sealed(&mut self, side: Side, kind: u8, length: usize) {
        let is_alert = ALERTS.contains(&length);
        match (self.version, side) {
            // Data that came too early to tell anything.
            (None, _) => {}
            (Some(..=TLS12), side) => {
                self.finished[usize::from(side == Side::Server)] |=
                    matches!(kind, HANDSHAKE | APPLICATION_DATA);
                self.established = self.finished == [true; 2];
            }
            (Some(_), _) if kind != APPLICATION_DATA || is_alert => {}
            (Some(_), Side::Server) => {
                self.established |= self.finished[0];
                self.finished[1] = true;
            }
            (Some(_), Side::Client) => {
                self.client_sent = true;
                // Among early data only the record's size tells.
                let is_finished = !self.early_data || FINISHED.contains(&length);
                self.finished[0] |= self.finished[1] && is_finished;
            }
        }
    }

    /// If nothing was missed and nothing more comes, the handshake has failed: the client, or up to TLS 1.2 either side, has
    /// not sent its Finished.
    pub fn is_incomplete(&self) -> bool {
        match self.version {
            None => true,
            Some(..=TLS12) => !self.established,
            Some(_) => !self.client_sent && !self.early_data,
        }
    }
}
