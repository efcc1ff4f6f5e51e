//! The decoder of one connection, from its handshake on.

use super::counting::Half;
use super::exchange::Exchange;
use super::handshake::Handshake;
use crate::detect::Dissector;
use crate::http1::note;
use crate::{Close, Exchange as Any, Side};
use weir_records::Timestamp;

#[derive(Debug)]
struct Connection {
    handshake: Handshake,
    client: Half,
    server: Half,
    closed_by: Option<Side>,
    last: Timestamp,
    incomplete: bool,
    anomalies: Vec<String>,
    told: bool,
}

/// Makes it.
pub(crate) fn open(handshake: Handshake) -> Box<dyn Dissector> {
    let rules = handshake.rules();
    let mut anomalies = Vec::new();
    if !handshake.is_accepted() {
        note(
            &mut anomalies,
            "websocket_accept_invalid",
            "the response does not answer the request's key",
        );
    }
    if !handshake.exact {
        note(
            &mut anomalies,
            "framing_lost",
            "the client's first frame was not found",
        );
    }
    Box::new(Connection {
        client: Half::new(Side::Client, rules, handshake.exact),
        server: Half::new(Side::Server, rules, true),
        closed_by: None,
        last: handshake.at,
        incomplete: !handshake.exact,
        anomalies,
        told: false,
        handshake,
    })
}

impl Connection {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Messages that did not end.
    fn note_unfinished(&mut self) {
        for side in [Side::Client, Side::Server] {
            if let Some(bytes) = self.half(side).unfinished() {
                let name = side.name();
                note(
                    &mut self.anomalies,
                    &format!("{name}_message_incomplete"),
                    &format!("{bytes} bytes of it were seen"),
                );
            }
        }
    }
}

impl Dissector for Connection {
    fn data(&mut self, side: Side, at: Timestamp, bytes: &[u8], _: &mut dyn FnMut(Any)) {
        self.last = at;
        let fault = self.half(side).feed(at, bytes);
        if self.closed_by.is_none() && self.half(side).close.is_some() {
            self.closed_by = Some(side);
        }
        if let Some(fault) = fault {
            self.incomplete = true;
            let kind = format!("{}_frame_invalid", side.name());
            note(
                &mut self.anomalies,
                &kind,
                &format!("{fault}; what follows is only counted in bytes"),
            );
        }
    }

    fn gap(&mut self, side: Side, at: Timestamp, missed: Option<u64>, _: &mut dyn FnMut(Any)) {
        self.last = at;
        let name = side.name();
        let was_lost = self.half(side).is_lost();
        let kept = self.half(side).gap(at, missed);
        let seen = match missed {
            Some(missed) => format!("{missed} bytes of the {name} were missed"),
            None => format!("bytes of the {name} were missed"),
        };
        note(&mut self.anomalies, "gap", &seen);
        if !kept && !was_lost {
            self.incomplete = true;
            note(
                &mut self.anomalies,
                "framing_lost",
                &format!("what the {name} sent after the gap is only counted in bytes"),
            );
        }
    }

    fn end(&mut self, _: Side, at: Timestamp, _: &mut dyn FnMut(Any)) {
        self.last = at;
    }

    fn close(&mut self, at: Timestamp, how: Close, out: &mut dyn FnMut(Any)) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        self.last = at;
        self.note_unfinished();
        let exchange = Exchange {
            handshake: std::mem::take(&mut self.handshake),
            counts: [self.client.counts.clone(), self.server.counts.clone()],
            closes: [self.client.close.take(), self.server.close.take()],
            closed_by: self.closed_by,
            last: self.last,
            incomplete: self.incomplete,
            close: how,
            anomalies: std::mem::take(&mut self.anomalies),
        };
        out(Any::WebSocket(Box::new(exchange)));
    }

    /// Payloads are only counted.
    fn held(&self) -> usize {
        size_of::<Self>()
    }

    fn is_opaque(&self) -> bool {
        self.told
    }
}
