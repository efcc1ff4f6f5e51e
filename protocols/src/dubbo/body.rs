//! What is in the bodies of requests and responses.

use super::header::{Header, OK};
use super::items::{Items, Place};
use super::names;
use crate::hessian2::{Fault, Read};
use std::collections::BTreeMap;
use weir_records::{Bounds, Builder, Json, Policy};

/// Lists and maps within each other that are told. A level becomes three of JSON at most, and readers of JSON bear 128.
const DEPTH: usize = 40;
/// All texts of a value together, in multiples of the longest.
const TEXTS: usize = 16;

/// The parameters of a generic call: the method's name, its types, its arguments.
const GENERIC: &str = "Ljava/lang/String;[Ljava/lang/String;[Ljava/lang/Object;";

/// Where the size of an exception's message is, if it was cut.
pub(super) const EXCEPTION_MESSAGE: &str = "dubbo.exception.message";

/// The attachments that tell how long a consumer waits.
const TIMEOUTS: [&str; 2] = ["timeout", "_TO"];

/// How a body is read: under which policy, and where sizes of what is cut go.
pub(super) struct Reading<'p> {
    pub policy: &'p Policy,
    pub sizes: BTreeMap<String, u64>,
}

/// A request's body, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub protocol_version: Option<String>,
    pub path: Option<String>,
    pub service_version: Option<String>,
    pub method: Option<String>,
    pub parameter_types: Vec<String>,
    pub generic: bool,
    pub args: Json,
    pub attachments: Json,
    /// How long the consumer waits for the answer, in milliseconds.
    pub timeout: Option<u64>,
}

/// A response's body, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub result: Option<Json>,
    pub exception: Option<(String, Option<String>)>,
    /// What the provider says of a status that is not OK.
    pub message: Option<String>,
    pub attachments: Json,
    /// The body says how the method ended.
    pub understood: bool,
}

/// The timeout at this key, in milliseconds. A client for Node.js writes seconds there, as a small number; Java writes a text
/// or a number of milliseconds. So a small number is no timeout that is known.
fn timeout(attachments: &Json, key: &str) -> Option<u64> {
    const CLEAR: u64 = 100;
    let timeout = u64::try_from(attachments.whole(key)?).ok()?;
    let known = attachments.get(Some(key)).is_some() || timeout >= CLEAR;
    (known && timeout > 0).then_some(timeout)
}

/// A body begins as one does behind such a header: good enough where nothing else says that it is one. False where that
/// can't be told of its serialization.
pub(super) fn begins_well(header: &Header, body: &[u8]) -> bool {
    const LONGEST_EVENT: u32 = 64;
    const LONGEST_VERSION: usize = 32;
    if header.is_event() {
        return header.length <= LONGEST_EVENT;
    }
    let Some(mut items) = Items::new(header.serialization(), body) else {
        return false;
    };
    if !header.is_request() && header.status == OK {
        return items.int().is_ok_and(|kind| (0..=5).contains(&kind));
    }
    let first = items.text().ok().flatten();
    let is_version =
        |text: &str| text.len() <= LONGEST_VERSION && text.bytes().all(|byte| byte.is_ascii_graphic());
    first.is_some_and(|text| !header.is_request() || is_version(&text))
}

impl<'p> Reading<'p> {
    pub fn new(policy: &'p Policy) -> Self {
        Self {
            policy,
            sizes: BTreeMap::new(),
        }
    }

    pub fn bounds(&self) -> Bounds {
        let settings = self.policy.settings();
        Bounds {
            values: settings.max_values,
            text: settings.max_value.saturating_mul(TEXTS),
            one_text: settings.max_value,
            depth: DEPTH,
        }
    }

    /// A text, cut at the bound.
    pub fn text(&mut self, items: &mut Items<'_>, field: &str) -> Read<Option<String>> {
        Ok(items.text()?.map(|mut text| {
            self.cut(&mut text, field);
            text
        }))
    }

    fn cut(&mut self, text: &mut String, field: &str) {
        let max = self.policy.settings().max_value;
        if text.len() > max {
            self.sizes.insert(field.to_owned(), text.len() as u64);
            text.truncate(text.floor_char_boundary(max));
            text.shrink_to_fit();
        }
    }

    fn types(&mut self, call: &mut Call, count: usize, mut types: Vec<String>) {
        if count > types.len() {
            self.sizes
                .insert("dubbo.parameter_types.count".to_owned(), count as u64);
        }
        for kind in &mut types {
            self.cut(kind, "dubbo.parameter_types");
        }
        call.parameter_types = types;
    }

    /// Reads one value that will stand at this field. What came before a fault is kept.
    pub fn value(&mut self, items: &mut Items<'_>, field: &str, pointer: &'static str) -> (Json, Read<()>) {
        let mut builder = Builder::for_bytes(self.policy, self.bounds(), items.left());
        items.another();
        let read = items.value(&mut builder, Place(pointer, None));
        (builder.finish(field, &mut self.sizes), read)
    }

    /// Reads a request's body.
    pub fn call(&mut self, items: &mut Items<'_>) -> (Call, Read<()>) {
        let mut call = Call::default();
        let read = self.fill(&mut call, items);
        (call, read)
    }

    fn fill(&mut self, call: &mut Call, items: &mut Items<'_>) -> Read<()> {
        call.protocol_version = self.text(items, "dubbo.protocol_version")?;
        call.path = self.text(items, "dubbo.interface")?;
        call.service_version = self.text(items, "dubbo.service_version")?;
        call.method = self.text(items, "dubbo.method")?;
        // Dubbox, a dialect, has the number of arguments in place of their types, or -1 before these.
        let count = if items.is_int() { items.int()? } else { -1 };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => {
                let descriptor = items.text()?.unwrap_or_default();
                let generic = matches!(call.method.as_deref(), Some("$invoke" | "$invokeAsync"));
                if generic && descriptor == GENERIC {
                    call.generic = true;
                    return self.fill_generic(call, items);
                }
                let max = self.policy.settings().max_values;
                let (count, types) = names::parameter_types(&descriptor, max)
                    .ok_or(Fault::Malformed("the parameter types are no descriptor"))?;
                self.types(call, count, types);
                count
            }
        };
        let mut builder = Builder::for_bytes(self.policy, self.bounds(), items.left());
        items.another();
        builder.begin_list();
        let read = (0..count).try_for_each(|at| items.value(&mut builder, Place("/dubbo/args", Some(at))));
        call.args = builder.finish("dubbo.args", &mut self.sizes);
        read?;
        self.fill_attachments(call, items)
    }

    fn fill_generic(&mut self, call: &mut Call, items: &mut Items<'_>) -> Read<()> {
        call.method = self.text(items, "dubbo.method")?.or(call.method.take());
        let mut builder = Builder::for_bytes(self.policy, self.bounds(), items.left());
        items.another();
        items.value(&mut builder, Place("", None))?;
        let types = builder.finish("dubbo.parameter_types", &mut self.sizes);
        let types: Vec<_> = types.texts().map(names::readable_type).collect();
        self.types(call, types.len(), types);
        let read;
        (call.args, read) = self.value(items, "dubbo.args", "/dubbo/args");
        read?;
        self.fill_attachments(call, items)
    }

    fn fill_attachments(&mut self, call: &mut Call, items: &mut Items<'_>) -> Read<()> {
        let read;
        (call.attachments, read) = self.value(items, "dubbo.attachments", "/dubbo/attachments");
        call.timeout = TIMEOUTS.iter().find_map(|key| timeout(&call.attachments, key));
        call.attachments.drop_hollow();
        read
    }

    /// Reads a response's body.
    pub fn reply(&mut self, items: &mut Items<'_>, status: u8) -> (Reply, Read<()>) {
        let mut reply = Reply::default();
        let read = if status == OK {
            self.fill_reply(&mut reply, items)
        } else {
            let read;
            (reply.message, read) = items.last_text();
            read
        };
        (reply, read)
    }

    fn fill_reply(&mut self, reply: &mut Reply, items: &mut Items<'_>) -> Read<()> {
        let kind = items.int()?;
        reply.understood = (0..=5).contains(&kind);
        match kind {
            0 | 3 => {
                let read = self.exception(reply, items);
                read?;
            }
            1 | 4 => {
                let (result, read) = self.value(items, "dubbo.result", "/dubbo/result");
                reply.result = Some(result);
                read?;
            }
            2 | 5 => reply.result = Some(Json::null()),
            _ => return Err(Fault::Malformed("an unknown kind of response")),
        }
        if kind >= 3 {
            let read;
            (reply.attachments, read) =
                self.value(items, "dubbo.response_attachments", "/dubbo/response_attachments");
            reply.attachments.drop_hollow();
            read?;
        }
        Ok(())
    }

    /// An exception is an object, of which class and message are told.
    pub fn exception(&mut self, reply: &mut Reply, items: &mut Items<'_>) -> Read<()> {
        let bounds = Bounds {
            depth: 1,
            ..self.bounds()
        };
        let mut builder = Builder::new(self.policy, bounds);
        items.another();
        let read = items.value(&mut builder, Place("", None));
        let mut sizes = BTreeMap::new();
        let thrown = builder.finish("", &mut sizes);
        let message = ["detailMessage", "message", "localizedMessage"];
        let message = message
            .iter()
            .find_map(|key| Some((*key, thrown.get(Some(key))?)));
        let (key, message) = message.map_or(("", thrown.get(None)), |(key, text)| (key, Some(text)));
        let size = if key.is_empty() {
            sizes.get("")
        } else {
            sizes.get(&format!(".{key}"))
        };
        if let Some(size) = size {
            self.sizes.insert(EXCEPTION_MESSAGE.to_owned(), *size);
        }
        let class = thrown.type_name().unwrap_or("java.lang.Throwable");
        reply.exception = Some((class.to_owned(), message.map(ToOwned::to_owned)));
        read
    }
}
