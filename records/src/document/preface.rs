//! What stood on a connection before its own protocol and was taken off, and whom a proxy names there as the two ends.

use schemars::JsonSchema;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// What stood before a connection's own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Preface {
    /// A header of the PROXY protocol, version 1: a line of text.
    #[serde(rename = "proxy-v1")]
    ProxyV1,
    /// A header of the PROXY protocol, version 2: binary.
    #[serde(rename = "proxy-v2")]
    ProxyV2,
    /// SOCKS 4: a proxy was asked for an address.
    #[serde(rename = "socks4")]
    Socks4,
    /// SOCKS 4A: a proxy was asked for a name.
    #[serde(rename = "socks4a")]
    Socks4a,
    /// SOCKS 5.
    #[serde(rename = "socks5")]
    Socks5,
    /// SMTP (or LMTP), up to STARTTLS.
    #[serde(rename = "starttls-smtp")]
    StartTlsSmtp,
    /// IMAP, up to STARTTLS.
    #[serde(rename = "starttls-imap")]
    StartTlsImap,
    /// POP3, up to STLS.
    #[serde(rename = "starttls-pop3")]
    StartTlsPop3,
    /// FTP, up to AUTH TLS.
    #[serde(rename = "starttls-ftp")]
    StartTlsFtp,
    /// NNTP, up to STARTTLS.
    #[serde(rename = "starttls-nntp")]
    StartTlsNntp,
    /// ManageSieve, up to STARTTLS.
    #[serde(rename = "starttls-sieve")]
    StartTlsSieve,
    /// XMPP, up to its element `starttls`.
    #[serde(rename = "starttls-xmpp")]
    StartTlsXmpp,
    /// LDAP, up to its operation StartTLS.
    #[serde(rename = "starttls-ldap")]
    StartTlsLdap,
    /// PostgreSQL's SSLRequest.
    #[serde(rename = "starttls-postgresql")]
    StartTlsPostgresql,
    /// The greeting of MySQL or MariaDB and the client's SSLRequest.
    #[serde(rename = "starttls-mysql")]
    StartTlsMysql,
    /// The PRELOGIN of SQL Server (TDS), whose packets also hold the TLS handshake.
    #[serde(rename = "starttls-mssql")]
    StartTlsMssql,
    /// The X.224 negotiation of RDP.
    #[serde(rename = "starttls-rdp")]
    StartTlsRdp,
    /// HTTP/1.1's `Upgrade: TLS/1.0` (RFC 2817).
    #[serde(rename = "starttls-http")]
    StartTlsHttp,
}

/// An end of the connection as a proxy names it (ECS `client` and `server`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Named {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}

impl From<SocketAddr> for Named {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            port: address.port(),
        }
    }
}

/// What else a header of the PROXY protocol says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WeirProxy {
    /// The proxy speaks for itself (the command LOCAL, as for a health check): the header names nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// The host name that the client asked the proxy for (PP2_TYPE_AUTHORITY).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The application's protocol on the connection to the proxy (PP2_TYPE_ALPN).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// The version of TLS between client and proxy (PP2_TYPE_SSL).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// Its cipher suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cipher: Option<String>,
}
