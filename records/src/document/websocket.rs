//! What passed on a WebSocket connection. (Neither ECS nor OpenTelemetry has names for it.)

use crate::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// `websocket`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct WebSocket {
    /// The application's protocol that the server chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subprotocol: Option<String>,
    /// The extensions that the server accepted, with their parameters: `permessage-deflate`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// What the client sent after the handshake.
    pub client: WebSocketSide,
    /// What the server sent after the handshake.
    pub server: WebSocketSide,
    /// How the connection was closed; absent where no close frame was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<WebSocketClose>,
}

/// One side of `websocket`. Where frames could not be followed to the end, which is told in `weir.anomalies`, there may have
/// been more.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct WebSocketSide {
    /// Whole messages, text and binary, however many frames they had.
    pub messages: u64,
    /// Text messages among them.
    pub text_messages: u64,
    /// Binary messages among them.
    pub binary_messages: u64,
    /// Compressed messages among them (permessage-deflate).
    #[serde(skip_serializing_if = "is_zero")]
    pub compressed_messages: u64,
    /// Bytes of the messages without framing, as they were sent: compressed ones are not decompressed.
    pub bytes: u64,
    /// Bytes of the largest message.
    pub largest_message: u64,
    /// Pings.
    #[serde(skip_serializing_if = "is_zero")]
    pub pings: u64,
    /// Pongs.
    #[serde(skip_serializing_if = "is_zero")]
    pub pongs: u64,
    /// When the first message began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_message: Option<Timestamp>,
    /// When the last whole message ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Timestamp>,
}

/// `websocket.close`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct WebSocketClose {
    /// Who closed: whose close frame came first, `client` or `server`.
    pub by: &'static str,
    /// The status code, such as 1000; absent where the close frame had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The reason that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-elasticsearch" = "text"))]
    pub reason: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
