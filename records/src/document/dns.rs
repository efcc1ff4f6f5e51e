//! ECS `dns`: a query and its answer.

use schemars::JsonSchema;
use serde::Serialize;
use std::net::IpAddr;

/// ECS `dns`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Dns {
    /// `answer`, or `query` where no answer came. Of multicast DNS and LLMNR each message is told alone: a query has no one
    /// answer there, and whether one came is not said (`event.outcome` is `unknown`).
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The message's number, which query and answer share.
    pub id: String,
    /// What is wanted: `QUERY`, `NOTIFY`, `UPDATE`.
    pub op_code: String,
    /// Flags of the answer, or of the query where no answer came: `AA`, `TC`, `RD`, `RA`, `AD`, `CD`, `DO`; of LLMNR `C`
    /// (conflict) and `T` (tentative) in place of `AA` and `RD`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub header_flags: Vec<&'static str>,
    /// What was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<DnsQuestion>,
    /// How it was answered: `NOERROR`, `NXDOMAIN`, `SERVFAIL`; absent where no answer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_code: Option<String>,
    /// The records of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<DnsAnswer>,
    /// The addresses among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolved_ip: Vec<IpAddr>,
}

/// ECS `dns.question`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct DnsQuestion {
    /// The name, as it was sent, without the last dot; bytes that can't be printed as `\DDD`.
    pub name: String,
    /// The wanted type of record: `A`, `AAAA`, `TXT`; `TYPE65280` for one without a name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class: `IN`.
    pub class: String,
}

/// ECS `dns.answers`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct DnsAnswer {
    /// The name that the record belongs to.
    pub name: String,
    /// The type of record.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class of record.
    pub class: String,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// What it says, as a zone file has it (RFC 1035, 5.1), names without the last dot: `10 mail.example`, `"v=spf1 -all"`,
    /// `1 . alpn=h2 port=8443`; bytes that can't be printed as `\DDD`. `\# LENGTH BYTES` where its type is not known, or its bytes
    /// are not of its form.
    pub data: String,
}

/// `weir.dns`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct WeirDns {
    /// The response code as a number; -1 where no answer came, or which is the answer can't be told (multicast).
    pub rcode: i32,
    /// How often the query was sent again before it was answered.
    #[serde(skip_serializing_if = "is_zero")]
    pub repeats: u32,
    /// Answers of the flow that had come already, as copies of packets do, since the document before.
    #[serde(skip_serializing_if = "is_zero")]
    pub copies: u32,
    /// The document tells a further answer to a query that has a document already.
    #[serde(skip)]
    pub again: bool,
    /// The network for which was asked (EDNS's client subnet): `198.18.7.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_subnet: Option<String>,
    /// What the answer says beside its code (EDNS's extended errors), numbers and names with their texts: `15 Blocked: by policy`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extended_errors: Vec<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
