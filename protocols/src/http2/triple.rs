//! A call of Triple whose arguments are wrapped: its part of the document.

use super::exchange::{Exchange, Message};
use super::parts::first_line;
use crate::dubbo::triple;
use crate::http::Cuts;
use crate::http1::note;
use weir_records::{Dubbo, DubboException, Policy};

impl Exchange {
    /// `dubbo` of a call, if anything in it was wrapped.
    pub(super) fn dubbo(
        &self,
        policy: &Policy,
        cuts: &mut Cuts,
        anomalies: &mut Vec<String>,
    ) -> Option<Dubbo> {
        let call =
            first(self.request.as_ref()).and_then(|(message, whole)| triple::call(message, whole, policy));
        let thrown = self.has_thrown();
        let answer =
            first(self.response.as_ref()).and_then(|(message, _)| triple::answer(message, thrown, policy));
        if call.is_none() && answer.is_none() {
            return None;
        }
        for (message, field) in [(&self.request, "dubbo.args"), (&self.response, "dubbo.result")] {
            let messages = message.as_ref().and_then(|message| message.messages.as_ref());
            if let Some(messages) = messages.filter(|messages| !messages.has_first()) {
                cuts.cut(field.to_owned(), messages.first_size);
            }
        }
        let mut dubbo = Dubbo::default();
        self.name(&mut dubbo, policy, cuts);
        if let Some(call) = call {
            if let Some(why) = call.malformed {
                note(anomalies, "malformed_request", why);
            }
            call.sizes
                .into_iter()
                .for_each(|(name, size)| cuts.cut(name, size));
            dubbo.serialization = call.serialization.into();
            dubbo.generic = call.method.is_some();
            dubbo.method = call.method.or(dubbo.method);
            dubbo.parameter_types = call.parameter_types;
            if policy.settings().arguments {
                dubbo.args_text = call.args.words(usize::MAX);
                dubbo.args = call.args;
            }
        }
        if let Some(answer) = answer {
            answer
                .sizes
                .into_iter()
                .for_each(|(name, size)| cuts.cut(name, size));
            dubbo.result = answer.result.filter(|_| policy.settings().arguments);
            dubbo.exception = answer
                .exception
                .map(|(class, message)| DubboException { class, message });
        }
        Some(dubbo)
    }

    /// What is called, by the request's headers.
    fn name(&self, dubbo: &mut Dubbo, policy: &Policy, cuts: &mut Cuts) {
        let Some(head) = self.request.as_ref().and_then(|request| request.head.as_ref()) else {
            return;
        };
        let mut text = |value: &[u8], name: &str| cuts.keep(policy.text(value), || name.to_owned());
        let path = head.get(b":path").map(|path| first_line(path, policy));
        let path = path.as_ref().and_then(|path| path.strip_prefix(b"/"));
        if let Some((path, slash)) = path.and_then(|path| Some((path, memchr::memrchr(b'/', path)?))) {
            dubbo.interface = Some(text(&path[..slash], "dubbo.interface"));
            dubbo.method = Some(text(&path[slash + 1..], "dubbo.method"));
        }
        let group = head.get(b"tri-service-group");
        dubbo.group = group.map(|group| text(group, "dubbo.group"));
        let version = head.get(b"tri-service-version");
        dubbo.service_version = version.map(|version| text(version, "dubbo.service_version"));
    }
}

/// What was kept of a message's first message, and whether that is all.
fn first(message: Option<&Message>) -> Option<(&[u8], bool)> {
    let messages = message?.messages.as_ref()?;
    let kept = !messages.first.is_empty();
    kept.then_some((&messages.first, messages.has_first()))
}
