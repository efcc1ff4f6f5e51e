//! ECS `tls`: what both sides said before everything was encrypted.

use schemars::JsonSchema;
use serde::Serialize;

/// ECS `tls`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tls {
    /// The version that the server chose: `1.2`, `1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Always `tls`.
    pub version_protocol: &'static str,
    /// The handshake was complete, by what both sides sent: true. It ended before that: false. Absent where neither can be told,
    /// as of TLS 1.3 where the server has sent nothing after the client's last word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub established: Option<bool>,
    /// The connection goes on with the keys of an earlier one; of TLS 1.3, with any keys that both had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
    /// The cipher suite that the server chose; its number where it has no name here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<String>,
    /// The application's protocol that the server chose (ALPN); from TLS 1.3 on that is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_protocol: Option<String>,
    /// What the client said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<TlsClient>,
}

/// ECS `tls.client`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TlsClient {
    /// The server's name (SNI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Fingerprint of the client's software by what its hello offers (JA4); absent for a hello in SSL 2's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ja4: Option<String>,
    /// The cipher suites that it offers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supported_ciphers: Vec<String>,
    /// The versions that it offers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supported_versions: Vec<String>,
    /// The applications' protocols that it offers (ALPN).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
}
