//! What client and server agreed on.

use super::frame::Rules;
use crate::http1::Field;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};
use weir_records::Timestamp;

/// What a server adds to the client's key before it hashes it (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The request and the response that opened the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshake {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    /// The `Host` fields.
    pub hosts: Vec<Vec<u8>>,
    /// The protocol that the server chose.
    subprotocol: Option<Vec<u8>>,
    /// The extensions that it accepted, with their parameters.
    extensions: Vec<Vec<u8>>,
    /// The response proves that the server has read the request; nothing where the request was not seen.
    accepted: Option<bool>,
    /// When it was over.
    pub at: Timestamp,
    /// The connection's beginning was not seen.
    pub late: bool,
    /// The client's first frame is the next thing that is seen of it.
    pub exact: bool,
    /// Which exchange of its connection it was; where a connection is one WebSocket, 0.
    pub sequence: u64,
    /// The stream of HTTP/2 on which it stands.
    pub stream: Option<u32>,
}

impl Handshake {
    /// Reads the fields of the request, where it was seen, and of the response. Whether the one is the answer to the other
    /// can be told only if all of them are there.
    pub fn read(request: Option<(&[Field<'_>], bool)>, answered: &[Field<'_>]) -> Self {
        let (asked, all) = request.unwrap_or_default();
        let hosts = values(asked, b"host").map(<[u8]>::to_vec).take(2).collect();
        let key = values(asked, b"sec-websocket-key").next();
        let accept = values(answered, b"sec-websocket-accept").next();
        let extensions = values(answered, b"sec-websocket-extensions")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|extension| !extension.is_empty());
        Self {
            hosts,
            subprotocol: values(answered, b"sec-websocket-protocol")
                .next()
                .map(<[u8]>::to_vec),
            extensions: extensions.map(<[u8]>::to_vec).collect(),
            accepted: all.then(|| match (key, accept) {
                (Some(key), Some(accept)) => digest(key).as_bytes() == accept,
                _ => false,
            }),
            ..Self::default()
        }
    }

    pub fn subprotocol(&self) -> Option<&[u8]> {
        self.subprotocol.as_deref()
    }

    pub fn extensions(&self) -> impl Iterator<Item = &[u8]> {
        self.extensions.iter().map(Vec::as_slice)
    }

    /// The server has proven that it means a WebSocket, or that is not known.
    pub fn is_accepted(&self) -> bool {
        self.accepted.unwrap_or(true)
    }

    /// What it allows of frames.
    pub(super) fn rules(&self) -> Rules {
        let name = |extension: &[u8]| {
            let name = extension.split(|byte| *byte == b';').next();
            name.unwrap_or_default().trim_ascii().to_ascii_lowercase()
        };
        let deflate = |extension: &Vec<u8>| name(extension) == b"permessage-deflate";
        Rules {
            deflate: self.extensions.iter().any(deflate),
            unknown_extension: !self.extensions.iter().all(deflate),
        }
    }
}

fn values<'a>(fields: &'a [Field<'_>], name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let named = move |field: &&Field<'_>| field.name.eq_ignore_ascii_case(name);
    fields.iter().filter(named).map(|field| &*field.value)
}

/// What a server answers to this key.
fn digest(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        assert_eq!(
            digest(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
