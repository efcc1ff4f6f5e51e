//! Connections that begin as HTTP/1.1 and go on as HTTP/2 (`Upgrade: h2c`, RFC 7540, 3.2): the request that asked for it is
//! that of stream 1.

use super::connection::Connection;
use super::exchange::{Exchange, Message};
use super::hpack::Fields;
use crate::detect::Dissector;
use crate::http::Kept;
use crate::http1::Field;
use crate::{Limits, Side};
use std::sync::Arc;
use weir_records::Timestamp;

/// The request that asked for the upgrade.
pub(crate) struct Upgrade<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    pub fields: &'a [Field<'a>],
    pub body: u64,
    /// What is kept of the body.
    pub kept: Option<&'a Kept>,
    pub first: Timestamp,
    pub last: Timestamp,
    /// Which exchange of the connection the first one on HTTP/2 is.
    pub sequence: u64,
}

/// Fields that HTTP/2 has no use for.
const OF_HTTP1: [&[u8]; 3] = [b"connection", b"upgrade", b"http2-settings"];

/// The decoder for what comes after the upgrade.
pub(crate) fn upgraded(limits: &Arc<Limits>, upgrade: &Upgrade<'_>) -> Box<dyn Dissector> {
    let mut head = Fields::new(limits.max_head, limits.max_headers);
    head.push(Some(b":method"), upgrade.method);
    head.push(Some(b":scheme"), b"http");
    head.push(Some(b":path"), upgrade.target);
    for field in upgrade.fields {
        let name = field.name.to_ascii_lowercase();
        if name == b"host" {
            head.push(Some(b":authority"), &field.value);
        } else if !OF_HTTP1.contains(&&name[..]) {
            head.push(Some(&name), &field.value);
        }
    }
    head.shrink();
    let mut connection = Connection::new(limits, false);
    connection.begin_upgraded(
        upgrade.sequence,
        Exchange {
            sequence: upgrade.sequence,
            stream: 1,
            call: super::blocks::call(&head).flatten(),
            request: Some(Message {
                head: Some(head),
                // The document of the request that asked for the upgrade has its bytes on the wire.
                wire: 0,
                body: upgrade.body,
                kept: upgrade.kept.cloned().map(Box::new),
                first: upgrade.first,
                last: upgrade.last,
                whole: true,
                ..Message::default()
            }),
            ..Exchange::default()
        },
    );
    // The client's settings were in its request.
    connection.allow_any_frame(Side::Server);
    Box::new(connection)
}
