//! A call of Dubbo: of Dubbo 2, or of Triple where arguments are wrapped.

use crate::Json;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// `dubbo`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Dubbo {
    /// The protocol's version that the consumer names: `2.0.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// The Java interface that is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The service's path, where it is not the interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The service's version; consumers write `0.0.0` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_version: Option<String>,
    /// The service's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The method; of a generic call (`$invoke`) the method that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Java types of the method's parameters: `java.lang.String`, `int`, `long[]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameter_types: Vec<String>,
    /// The arguments: an array. An object of a named class has that as `@type`, a reference to another part of the document
    /// is `{"@ref": JSON pointer}`, binary data `{"@binary": base64, "size": bytes}`, a map whose keys are no texts
    /// `{"@entries": [[key, value], ...]}`.
    #[serde(skip_serializing_if = "Json::is_empty")]
    pub args: Json,
    /// Texts and numbers of the arguments, for searching by words.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(extend("x-elasticsearch" = "words"))]
    pub args_text: String,
    /// The request's attachments.
    #[serde(skip_serializing_if = "Json::is_empty")]
    pub attachments: Json,
    /// The number that request and response share (Dubbo 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<i64>,
    /// How bodies are encoded: `hessian2`, `fastjson2`; the number of one without a name. Only those of `hessian2`,
    /// `native-hessian`, `fastjson2` and `fastjson` are read.
    pub serialization: Cow<'static, str>,
    /// No response is wanted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oneway: bool,
    /// The consumer called by name (`$invoke`), without the interface's classes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub generic: bool,
    /// The provider calls the consumer, on the consumer's connection: `destination` asks, `source` answers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub callback: bool,
    /// The response's status in Dubbo 2: 20 is `OK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u8>,
    /// What the method returned: any value, as those in `dubbo.args`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// What the method threw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<DubboException>,
    /// The response's attachments.
    #[serde(skip_serializing_if = "Json::is_empty")]
    pub response_attachments: Json,
}

/// `dubbo.exception`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct DubboException {
    /// Its class.
    pub class: String,
    /// Its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-elasticsearch" = "words"))]
    pub message: Option<String>,
}

/// `weir.dubbo`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct WeirDubbo {
    /// Heartbeats and other events of the connection, both ways, since the document before.
    pub events: u64,
    /// Bytes of commands and answers in plain text (telnet) on the connection since the document before.
    pub text_bytes: u64,
    /// Who answers had announced, before the call was over, that it takes no more requests (the READONLY event of a graceful
    /// shutdown). A call that was made after that has `request_after_read_only` in `weir.anomalies`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}
