//! Layout `pipy`: what is left of a document in the fields of Pipy's traffic-dump, for the dashboards that people have on
//! them.
//!
//! There are two kinds, each with an index of its own, `http` and `dubbo`, and both tell of requests alone. A document that is
//! about something else, or about an answer whose request was not seen, has no place here. Values are those of the
//! [`Document`], so what the policy took out of that is not here either.
//!
//! Where that program loses or garbles something, this does not: headers that repeat keep all their values, arguments
//! are the arguments and not the descriptor of their types, and numbers stay numbers.

mod descriptor;
mod mapping;
mod text;

use crate::{Document, Dubbo, Headers, Url};
use compact_str::CompactString;
use descriptor::descriptor;
pub use mapping::mapping;
use serde::{Serialize, Serializer, ser::SerializeSeq};
use std::borrow::Cow;
use text::AsText;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A document in this layout.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Shape<'a> {
    /// A request of HTTP.
    Http(HttpShape<'a>),
    /// A call of Dubbo 2.
    Dubbo(DubboShape<'a>),
}

/// The kinds of documents, by which their indices are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Requests of HTTP.
    Http,
    /// Calls of Dubbo 2.
    Dubbo,
}

impl Index {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Http, Self::Dubbo];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Dubbo => "dubbo",
        }
    }
}

/// A request of HTTP, of any version; of gRPC and Triple too, which are that on the wire.
#[derive(Debug, Serialize)]
pub struct HttpShape<'a> {
    /// When its first byte was seen, in ms since the epoch.
    time: u64,
    /// Whom it asks, with the port where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    /// Its target as it was sent, with the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    /// Its headers as the text of a JSON object.
    headers: AsText<HeaderObject<'a>>,
}

/// A call of Dubbo 2.
#[derive(Debug, Serialize)]
pub struct DubboShape<'a> {
    /// When its first byte was seen, in ms since the epoch.
    time: u64,
    #[serde(rename = "dubboVer", skip_serializing_if = "Option::is_none")]
    dubbo_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<&'a str>,
    #[serde(rename = "ver", skip_serializing_if = "Option::is_none")]
    service_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    args: Args<'a>,
    /// The whole call as the text of a JSON array.
    raw: AsText<Call<'a>>,
}

/// The document in this layout, if it has a place there.
pub fn shape(document: &Document) -> Option<Shape<'_>> {
    if document.is_waiting() {
        return None; // its last document has a place
    }
    let time = document.timestamp.0 / NANOS_PER_MILLI;
    match document.event.dataset {
        "weir.http" => {
            let headers = &document.http.as_ref()?.request.as_ref()?.headers;
            let url = document.url.as_ref();
            Some(Shape::Http(HttpShape {
                time,
                host: host(headers, url),
                path: url
                    .map(|url| url.original.as_str())
                    .filter(|path| !path.is_empty()),
                headers: AsText(HeaderObject(headers)),
            }))
        }
        "weir.dubbo" => {
            let dubbo = document.dubbo.as_deref()?;
            // Of an answer alone, and of a request that is not read, neither is known.
            (dubbo.interface.is_some() || dubbo.method.is_some()).then(|| {
                Shape::Dubbo(DubboShape {
                    time,
                    dubbo_version: dubbo.protocol_version.as_deref(),
                    interface: service(dubbo),
                    service_version: dubbo.service_version.as_deref(),
                    method: dubbo.method.as_deref(),
                    args: Args(dubbo),
                    raw: AsText(Call(dubbo)),
                })
            })
        }
        _ => None,
    }
}

impl Shape<'_> {
    /// Its kind.
    pub fn index(&self) -> Index {
        match self {
            Self::Http(_) => Index::Http,
            Self::Dubbo(_) => Index::Dubbo,
        }
    }
}

/// The Host header as it was sent; of HTTP/2 and where headers are not recorded, what is known of the target.
fn host<'a>(headers: &'a Headers, url: Option<&'a Url>) -> Option<Cow<'a, str>> {
    if let Some(values) = headers.get("host") {
        return Some(one("host", values));
    }
    let url = url?;
    let domain = url.domain.as_deref()?;
    Some(match url.port {
        Some(port) => format!("{domain}:{port}").into(),
        None => domain.into(),
    })
}

/// What the request's body calls the service by: its path, which mostly is the interface.
fn service(dubbo: &Dubbo) -> Option<&str> {
    dubbo.path.as_deref().or(dubbo.interface.as_deref())
}

/// The values of a header as one: a list as RFC 9110 (5.3) reads it, but for cookies (RFC 9113, 8.2.3).
fn one<'a>(name: &str, values: &'a [CompactString]) -> Cow<'a, str> {
    match values {
        [value] => Cow::Borrowed(value),
        _ if name == "cookie" => values.join("; ").into(),
        _ => values.join(", ").into(),
    }
}

/// Headers as an object of texts.
#[derive(Debug)]
struct HeaderObject<'a>(&'a Headers);

impl Serialize for HeaderObject<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(name, values)| (name, one(name, values))))
    }
}

/// The arguments, each as one plain value: a search server takes no objects among texts and numbers. A list, a map or an
/// object is therefore the text of its JSON.
#[derive(Debug)]
struct Args<'a>(&'a Dubbo);

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut args = s.serialize_seq(None)?;
        for arg in self.0.args.items() {
            match arg.is_plain() {
                true => args.serialize_element(&arg)?,
                false => args.serialize_element(&AsText(arg))?,
            }
        }
        args.end()
    }
}

/// The call as an array: protocol version, service, its version, method, descriptor, arguments, attachments.
#[derive(Debug)]
struct Call<'a>(&'a Dubbo);

impl Serialize for Call<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let dubbo = self.0;
        let mut call = s.serialize_seq(None)?;
        call.serialize_element(&dubbo.protocol_version)?;
        call.serialize_element(&service(dubbo))?;
        call.serialize_element(&dubbo.service_version)?;
        call.serialize_element(&dubbo.method)?;
        call.serialize_element(&descriptor(&dubbo.parameter_types))?;
        for arg in dubbo.args.items() {
            call.serialize_element(&arg)?;
        }
        match dubbo.attachments.is_empty() {
            true => call.serialize_element(&Nothing {})?,
            false => call.serialize_element(&dubbo.attachments)?,
        }
        call.end()
    }
}

/// `{}`.
#[derive(Serialize)]
struct Nothing {}

#[cfg(test)]
mod tests;
