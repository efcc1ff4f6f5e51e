//! What ECS has no place for in an exchange over HTTP/2.

use schemars::JsonSchema;
use serde::Serialize;

/// `weir.http2`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct WeirHttp2 {
    /// The stream on which it happened.
    pub stream_id: u32,
    /// The server sent the request too, with its response (server push).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pushed: bool,
    /// What CONNECT asked to speak on the stream (`:protocol`): `websocket`, `connect-udp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}
