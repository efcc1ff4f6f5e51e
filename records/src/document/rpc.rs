//! OpenTelemetry `rpc`: what remote procedure calls of any system share.

use schemars::JsonSchema;
use serde::Serialize;

/// `rpc`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Rpc {
    /// What carries the call.
    pub system: RpcSystem,
    /// What is called: `interface/method`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// How it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<RpcResponse>,
}

/// `rpc.system`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct RpcSystem {
    /// `dubbo`.
    pub name: &'static str,
}

/// `rpc.response`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct RpcResponse {
    /// The response's status by name: `OK`, `SERVICE_NOT_FOUND`; the number of one without a name. A method that throws is
    /// answered with `OK`.
    pub status_code: String,
}
