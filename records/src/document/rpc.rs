//! OpenTelemetry `rpc`: what remote procedure calls of any system share.

use super::words;
use crate::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// `rpc`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Rpc {
    /// What carries the call.
    pub system: RpcSystem,
    /// What is called: `interface/method`, `package.Service/Method`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What the client sent (gRPC).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RpcRequest>,
    /// How it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<RpcResponse>,
}

/// `rpc.system`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct RpcSystem {
    /// `dubbo` (Dubbo 2), `grpc` (gRPC, gRPC-Web and Triple), `connectrpc` (Connect).
    pub name: &'static str,
}

/// `rpc.request`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct RpcRequest {
    /// Whole messages that were sent. This and the others are left out where bytes were missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// Bytes of these messages, as they were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many of them were compressed, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_messages: Option<u64>,
    /// When the first of them began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_message: Option<Timestamp>,
    /// When the last of them ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Timestamp>,
}

/// `rpc.response`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct RpcResponse {
    /// The response's status by name: `OK`, `SERVICE_NOT_FOUND`, `UNAVAILABLE`; the number of one without a name. A method
    /// that throws is answered with `OK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<String>,
    /// The status that its client makes of an answer which names none, by the rules of gRPC and Connect: of the status of
    /// HTTP, or of the code with which the server reset the stream. It was not on the wire.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "words::some")]
    pub derived_status_code: Option<&'static str>,
    /// Whole messages that were sent. This and the others are left out where bytes were missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
    /// Bytes of these messages, as they were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many of them were compressed, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_messages: Option<u64>,
    /// When the first of them began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_message: Option<Timestamp>,
    /// When the last of them ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Timestamp>,
}
