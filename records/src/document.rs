//! One document an exchange, as nested JSON. Names are ECS's, OpenTelemetry's where ECS has none; Weir's own are
//! under `weir`. A field that is not known is left out, never guessed.

mod dns;
mod dubbo;
mod flow;
mod http2;
mod preface;
mod rpc;
mod socks;
mod tls;
mod websocket;
mod words;

use crate::{Capture, Direction, DocumentId, Flow, Headers, Timestamp, Tunnels, wrapping};
use compact_str::CompactString;
pub use dns::{Dns, DnsAnswer, DnsQuestion, WeirDns};
pub use dubbo::{Dubbo, DubboException, WeirDubbo};
pub use flow::{DATASET as FLOW_DATASET, WeirFlow, WeirFlowSide};
pub use http2::WeirHttp2;
pub use preface::{Named, Preface, WeirProxy};
pub use rpc::{Rpc, RpcRequest, RpcResponse, RpcSystem};
use schemars::JsonSchema;
use serde::Serialize;
pub use socks::{SocksAuthentication, SocksCommand, SocksVersion, WeirSocks};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
pub use tls::{Tls, TlsClient};
pub use websocket::{WebSocket, WebSocketClose, WebSocketSide};

/// A document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Document {
    /// When the first byte of the request was seen.
    #[serde(rename = "@timestamp")]
    pub timestamp: Timestamp,
    /// What this document is about.
    pub event: Event,
    /// The connection's protocols.
    pub network: Network,
    /// The client: who opened the connection.
    pub source: Endpoint,
    /// The server: whom the client wanted to reach.
    pub destination: Endpoint,
    /// The client of the connection that a proxy passes on, as the proxy's first PROXY header says. `source` stays who opened
    /// this connection. Whoever may connect can send such a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Box<Named>>,
    /// Whom that client had connected to, as the same header says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Box<Named>>,
    /// The observed host or container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// The request's target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The HTTP exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// The DNS query and its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<Dns>>,
    /// The TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<Tls>>,
    /// The WebSocket connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<Box<WebSocket>>,
    /// The remote procedure call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<Box<Rpc>>,
    /// The Dubbo call, by Dubbo 2 or by Triple.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dubbo: Option<Box<Dubbo>>,
    /// The client's software.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<UserAgent>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
    /// What only Weir says.
    pub weir: Weir,
}

impl Document {
    /// Moves all of its times by so many ns: the clock that they were taken from was wrong by that. Durations stay.
    pub fn shift(&mut self, by: i64) {
        let message = |first: &mut Option<Timestamp>, last: &mut Option<Timestamp>| {
            for time in [first, last].into_iter().flatten() {
                time.shift(by);
            }
        };
        self.timestamp.shift(by);
        message(&mut self.event.start, &mut self.event.end);
        if let Some(rpc) = &mut self.rpc {
            if let Some(request) = &mut rpc.request {
                message(&mut request.first_message, &mut request.last_message);
            }
            if let Some(response) = &mut rpc.response {
                message(&mut response.first_message, &mut response.last_message);
            }
        }
        if let Some(websocket) = &mut self.websocket {
            let WebSocket { client, server, .. } = &mut **websocket;
            for side in [client, server] {
                message(&mut side.first_message, &mut side.last_message);
            }
        }
    }

    /// The exchange is still under way, and one more document will tell of it.
    pub fn is_waiting(&self) -> bool {
        self.weir.state.is_some()
    }

    /// What every document of a connection has, from its flow; what it is about is left out.
    #[inline]
    pub fn of(
        flow: &Flow,
        timestamp: Timestamp,
        event: Event,
        transport: &'static str,
        protocol: &'static str,
    ) -> Self {
        Self {
            timestamp,
            event,
            network: Network {
                transport,
                kind: if flow.server.is_ipv4() { "ipv4" } else { "ipv6" },
                protocol: (!protocol.is_empty()).then_some(protocol),
                direction: flow.direction,
                bytes: None,
                packets: None,
                vlan: flow
                    .wrapping
                    .as_ref()
                    .and_then(|wrapping| Vlan::of(wrapping.vlan)),
                inner: flow.wrapping.as_ref().and_then(|wrapping| {
                    let vlan = Vlan::of(wrapping.inner_vlan)?;
                    Some(Inner { vlan })
                }),
            },
            source: Endpoint::of(flow.client, None),
            destination: Endpoint::of(flow.server, None),
            client: None,
            server: None,
            host: flow.host.clone().map(|name| Host { name }),
            url: None,
            http: None,
            dns: None,
            tls: None,
            websocket: None,
            rpc: None,
            dubbo: None,
            user_agent: None,
            error: None,
            weir: Weir::of(flow),
        }
    }
}

impl Endpoint {
    /// This address, and what was sent from there.
    #[inline]
    pub fn of(address: SocketAddr, bytes: Option<u64>) -> Self {
        Self {
            ip: address.ip(),
            port: address.port(),
            bytes,
            packets: None,
            domain: None,
        }
    }
}

impl Weir {
    /// What is the flow's; nothing yet of an exchange.
    #[inline]
    pub fn of(flow: &Flow) -> Self {
        Self {
            capture: flow.capture,
            mode: flow.mode,
            flow_id: flow.id,
            state: None,
            final_id: None,
            late_join: false,
            truncated: false,
            original_sizes: BTreeMap::new(),
            anomalies: Vec::new(),
            base64: Vec::new(),
            tunnel: Tunnels::around(flow.wrapping.as_ref()),
            tunnel_id: wrapping::ids(flow.wrapping.as_ref()),
            preface: Vec::new(),
            proxy: None,
            socks: None,
            dns: None,
            dubbo: None,
            flow: None,
            http2: None,
            timing: Timing::default(),
        }
    }
}

/// ECS `event`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Event {
    /// Identity of this document; a repeat of the same exchange keeps it.
    pub id: DocumentId,
    /// Kind of document: `weir.http`, `weir.dns`, `weir.dubbo`, `weir.tls`, `weir.websocket`, `weir.socks`, or `weir.flow` of a connection as a
    /// whole.
    #[serde(serialize_with = "words::one")]
    pub dataset: &'static str,
    /// ECS categories: `network`, `web`.
    #[serde(serialize_with = "words::all")]
    pub category: &'static [&'static str],
    /// ECS types: `connection`, `protocol`, `access`, `end`.
    #[serde(rename = "type", serialize_with = "words::all")]
    pub kind: &'static [&'static str],
    /// How the exchange ended for its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// From the first byte of the request to the last of the response, or, where none came whole, until that was known (a reset,
    /// a close, the patience's end) or the observation ended, in ns; of `weir.flow`, the period that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Beginning of that period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// The end of that period; of an exchange without a whole answer, when that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
}

/// How an exchange ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Answered without an error.
    Success,
    /// Answered with an error, or not at all.
    Failure,
    /// The answer was not seen whole.
    Unknown,
}

/// How an exchange stands that is still under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeState {
    /// Its request waits for an answer.
    Waiting,
    /// Its connection, of TLS, goes on.
    Open,
}

/// ECS `network`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Network {
    /// `tcp` or `udp`.
    #[serde(serialize_with = "words::one")]
    pub transport: &'static str,
    /// `ipv4` or `ipv6`.
    #[serde(rename = "type", serialize_with = "words::one")]
    pub kind: &'static str,
    /// `http`, `grpc`, `dns`, `mdns` (multicast DNS), `llmnr`, `dubbo`, `tls`, `websocket` or `socks`; absent where nothing was
    /// recognised.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "words::some")]
    pub protocol: Option<&'static str>,
    /// Which way the connection was opened, seen from the observed container.
    pub direction: Direction,
    /// Of `weir.flow`: bytes of both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Of `weir.flow`: packets of both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// The VLAN that the packets were in, of the outer tag where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// What lies within the outer VLAN tag (QinQ, or a tag within a tunnel).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner: Option<Inner>,
}

/// ECS `network.vlan`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Vlan {
    /// Number of the VLAN, as the first packet with a tag had it; of several tags this is the outer one, and
    /// `network.inner.vlan.id` the innermost.
    #[serde(serialize_with = "words::number")]
    #[schemars(with = "String")]
    pub id: u16,
}

impl Vlan {
    fn of(id: Option<u16>) -> Option<Self> {
        Some(Self { id: id? })
    }
}

/// ECS `network.inner`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Inner {
    /// The VLAN of the innermost tag.
    pub vlan: Vlan,
}

/// One side of the connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Endpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Bytes it sent in this exchange: head and body. Of `weir.flow`, payload that it sent in the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Packets that it sent in the period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// The name that the client used for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub domain: Option<CompactString>,
}

/// ECS `host`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Host {
    /// Its name.
    pub name: Arc<str>,
}

/// ECS `url`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Url {
    /// The target as it stood on the request line; of HTTP/2, the path.
    #[schemars(with = "String", extend("x-elasticsearch" = "text"))]
    pub original: CompactString,
    /// Its path; absent for `*` and for CONNECT's authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("x-elasticsearch" = "text"))]
    pub path: Option<CompactString>,
    /// What follows the `?`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub query: Option<CompactString>,
    /// The host that was asked for, without its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub domain: Option<CompactString>,
    /// The port that was asked for, where it was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `http`, or what an absolute target says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub scheme: Option<CompactString>,
}

/// ECS `http`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Http {
    /// `1.0`, `1.1` or `2`: the request's, or the response's where the request was not seen.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "words::some")]
    pub version: Option<&'static str>,
    /// The request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<HttpRequest>,
    /// The response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<HttpResponse>,
}

/// ECS `http.request`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct HttpRequest {
    /// The method as it was sent; absent where its header was not understood (HTTP/2 joined late).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub method: Option<CompactString>,
    /// Bytes of head and body on the wire; of HTTP/2, those of their frames.
    pub bytes: u64,
    /// The body.
    pub body: Body,
    /// Headers, and trailers after them. Those of HTTP/2 whose names are unknown, because the beginning of the connection
    /// was, are under `<unknown>`.
    #[serde(skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// The names of the trailers, one for each: the last values that `headers` has under a name are those of its trailers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub trailer_names: Vec<CompactString>,
}

/// ECS `http.response`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct HttpResponse {
    /// The status; absent where its header was not understood (HTTP/2 joined late).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Bytes of head and body on the wire; of HTTP/2, those of their frames.
    pub bytes: u64,
    /// The body.
    pub body: Body,
    /// Headers, and trailers after them. Those of HTTP/2 whose names are unknown, because the beginning of the connection
    /// was, are under `<unknown>`.
    #[serde(skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// The names of the trailers, one for each: the last values that `headers` has under a name are those of its trailers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub trailer_names: Vec<CompactString>,
}

/// ECS `http.*.body`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Body {
    /// Bytes of the body after framing was taken off.
    pub bytes: u64,
    /// The body, without its content codings and without secrets, or what was kept of it; absent unless bodies of its type
    /// are asked for. One that is no text is in base64 (see `weir.base64`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-elasticsearch" = "words"))]
    pub content: Option<String>,
}

/// ECS `user_agent`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UserAgent {
    /// As it was sent.
    #[schemars(with = "String", extend("x-elasticsearch" = "text"))]
    pub original: CompactString,
}

/// ECS `error`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Error {
    /// A short stable name, such as `connection_reset`, `no_response`, `timeout`; the class of an exception.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// A sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-elasticsearch" = "text"))]
    pub message: Option<String>,
}

/// `weir`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Weir {
    /// How the bytes were seen.
    pub capture: Capture,
    /// How the connection was redirected.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "words::some")]
    pub mode: Option<&'static str>,
    /// Identity of the connection.
    pub flow_id: DocumentId,
    /// `waiting` in a document that is made while its exchange is under way: the whole request has waited for the beginning of an
    /// answer for as long as `decoding.hung_after` says. `open` of a TLS connection that goes on after that time: its handshake is
    /// told early. `event.duration`, and bytes, are those so far. The exchange's last document comes when its fate is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ExchangeState>,
    /// `event.id` of that last document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_id: Option<DocumentId>,
    /// The beginning of the connection was not seen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub late_join: bool,
    /// Something was cut for its length; the original sizes are in `weir.original_sizes`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Bytes that each cut value had, by field name (`….header_count`: headers that there were). Of a body with content
    /// codings these are its bytes without them, or, where not all of it was decoded, with them (as `….body.bytes`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub original_sizes: BTreeMap<String, u64>,
    /// What was ambiguous or wrong on the wire, with what was seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<String>,
    /// Fields that hold something other than text, and therefore its base64: `http.response.body.content`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub base64: Vec<&'static str>,
    /// The tunnels that the exchange was within. First those around the captured packets, from outside to inside: `erspan`,
    /// `etherip`, `geneve`, `gre`, `gtp`, `ipip`, `l2tp`, `mpls`, `pbb`, `pppoe`, `pptp`, `teredo`, `vxlan`. Last, what the
    /// client had asked a proxy to connect it to (CONNECT, SOCKS), of an exchange within that tunnel: alone, it is no list.
    #[serde(skip_serializing_if = "Tunnels::is_empty")]
    pub tunnel: Tunnels,
    /// The numbers of the networks that those tunnels carried, of the tunnels that have one: VNI, GRE key.
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    pub tunnel_id: Box<[u32]>,
    /// What stood before the connection's own protocol and was taken off, the first one first. Bytes and times are those of what
    /// came behind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preface: Vec<Preface>,
    /// What the first PROXY header says beside addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Box<WeirProxy>>,
    /// What a SOCKS proxy was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socks: Option<Box<WeirSocks>>,
    /// What ECS has no place for in a DNS exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<WeirDns>,
    /// What happened on a Dubbo connection between its calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dubbo: Option<WeirDubbo>,
    /// The connection as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<Box<WeirFlow>>,
    /// The exchange's place on an HTTP/2 connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<WeirHttp2>,
    /// Where the time went.
    pub timing: Timing,
}

/// `weir.timing`, all in ns.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Timing {
    /// Connecting to the server (of the connection: the same on each of its documents).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<u64>,
    /// First to last byte of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// Last byte of the request (or its first, where the answer came before the end) to the first of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb: Option<u64>,
    /// First to last byte of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<u64>,
}
