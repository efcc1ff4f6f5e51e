//! What documents of every version of HTTP share: how targets, headers and bodies become fields.

mod calls;
mod coding;
mod content;
mod kept;
mod messages;
mod rpc;

use crate::http1::{Field, Target};
pub(crate) use calls::{Ending, Style};
use compact_str::CompactString;
pub(crate) use content::{Seen, body};
pub(crate) use kept::{Kept, TOGETHER};
pub(crate) use messages::Messages;
pub(crate) use rpc::rpc;
use std::{borrow::Cow, collections::BTreeMap};
use weir_records::{Headers, Octets, Policy, Text, Url, UserAgent};

/// What was cut, with the size that it had, and what is no text.
#[derive(Default)]
pub(crate) struct Cuts {
    pub truncated: bool,
    pub sizes: BTreeMap<String, u64>,
    /// Fields that hold the base64 of what is no text.
    pub base64: Vec<&'static str>,
}

impl Cuts {
    pub fn keep<'a, T: From<Cow<'a, str>>>(&mut self, text: Text<'a>, name: impl FnOnce() -> String) -> T {
        self.truncated |= text.is_cut();
        text.keep(&mut self.sizes, name)
    }

    pub fn cut(&mut self, name: String, size: u64) {
        self.truncated = true;
        self.sizes.insert(name, size);
    }
}

/// What a target says by itself; `clean` is all of it, without its secrets.
pub(crate) fn url(clean: &Octets<'_>, target: &Target<'_>, policy: &Policy, cuts: &mut Cuts) -> Url {
    let original = cuts.keep(policy.url_part(clean), || "url.original".to_owned());
    Url {
        original,
        path: target
            .path
            .as_ref()
            .map(|path| cuts.keep(policy.url_part(path), || "url.path".to_owned())),
        query: target
            .query
            .as_ref()
            .map(|query| cuts.keep(policy.url_part(query), || "url.query".to_owned())),
        scheme: target.scheme.clone(),
        ..Url::default()
    }
}

/// What the client says it is in its first header of this name that is whole; `headers` are those of the document.
pub(crate) fn user_agent(
    sent: &Octets<'_>,
    headers: Option<&Headers>,
    policy: &Policy,
    cuts: &mut Cuts,
) -> UserAgent {
    let header = headers.and_then(|headers| headers.get("user-agent")?.first());
    let original = match header {
        // Nothing of it was replaced or cut.
        Some(header) if header.as_bytes() == &**sent => header.clone(),
        _ => {
            let agent = policy.header("user-agent", sent);
            cuts.keep(agent, || "user_agent.original".to_owned())
        }
    };
    UserAgent { original }
}

/// The fields of a message, of which there were `all`, within the policy's bounds. `place` is where they stand in the
/// document.
pub(crate) fn headers<'a>(
    sent: impl Iterator<Item = &'a Field<'a>> + Clone,
    all: u64,
    place: &str,
    policy: &Policy,
    cuts: &mut Cuts,
) -> Headers {
    let settings = policy.settings();
    if !settings.headers {
        return Headers::default();
    }
    let count = sent.clone().count();
    if count > settings.max_headers {
        cuts.cut(format!("{place}.header_count"), all);
    }
    let mut headers = Headers::with_capacity(count.min(settings.max_headers));
    for field in sent.take(settings.max_headers) {
        let key = lower_name(&field.name, settings.max_header_value);
        let value: CompactString = cuts.keep(policy.header(&key, &field.value), || {
            format!("{place}.headers.{key}")
        });
        headers.push(key, value);
    }
    headers
}

/// The names of a message's trailers that its document has.
pub(crate) fn trailer_names<'a>(
    head: usize,
    trailers: impl Iterator<Item = &'a Field<'a>>,
    policy: &Policy,
) -> Vec<CompactString> {
    let settings = policy.settings();
    let room = if settings.headers {
        settings.max_headers.saturating_sub(head)
    } else {
        0
    };
    let names = trailers.map(|field| lower_name(&field.name, settings.max_header_value));
    names.take(room).collect()
}

/// A header's name in lower case, within the bound for values.
fn lower_name(name: &Octets<'_>, max: usize) -> CompactString {
    let mut lower = match name {
        Octets::Text(text) if text.len() <= max => CompactString::new(text),
        _ => name.part(0..name.len().min(max)).into_text().into(),
    };
    lower.make_ascii_lowercase();
    lower
}
