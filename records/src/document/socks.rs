//! What ECS has no place for in a client's wish to be connected by a SOCKS proxy.

use schemars::JsonSchema;
use serde::Serialize;

/// `weir.socks`. What was asked for is in `url`, as for CONNECT.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WeirSocks {
    /// The version.
    pub version: SocksVersion,
    /// What the client wants; absent where it did not come so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<SocksCommand>,
    /// How the client shows who it is, as the proxy chose (version 5). Names and passwords are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<SocksAuthentication>,
    /// The proxy's answer: its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_code: Option<u8>,
}

/// A version of SOCKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum SocksVersion {
    /// Version 4, by address.
    #[serde(rename = "4")]
    V4,
    /// Version 4A, by name.
    #[serde(rename = "4a")]
    V4a,
    /// Version 5.
    #[serde(rename = "5")]
    V5,
}

/// What a client wants of a SOCKS proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SocksCommand {
    /// To be connected.
    Connect,
    /// To have a connection accepted in its name.
    Bind,
    /// To have datagrams passed on.
    UdpAssociate,
}

/// How a client shows a SOCKS proxy who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SocksAuthentication {
    /// Not at all.
    None,
    /// By GSSAPI: what follows is not looked into.
    Gssapi,
    /// By name and password.
    Password,
    /// By a method that is not known here: what follows is not looked into.
    Other,
}
