//! What gRPC and Triple make of an exchange.

use super::exchange::{Exchange, Message};
use super::messages::Messages;
use super::names;
use std::borrow::Cow;
use weir_records::{Error, Policy, Rpc, RpcRequest, RpcResponse, RpcSystem, Timestamp};

/// How a call was answered.
pub(super) struct Answer {
    pub status: Option<Cow<'static, str>>,
    /// What is wrong, if something is.
    pub error: Option<Error>,
}

/// Counts of one direction; of one that was not seen whole only what is certain.
#[derive(Default)]
struct Counts {
    messages: Option<u64>,
    bytes: Option<u64>,
    compressed: Option<u64>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Counts {
    fn of(message: Option<&Message>) -> Self {
        let messages: Option<&Messages> = message.and_then(|message| message.messages.as_deref());
        match messages {
            Some(messages) if !messages.lost => Self {
                messages: Some(messages.count),
                bytes: Some(messages.bytes),
                compressed: Some(messages.compressed).filter(|count| *count > 0),
                first: messages.span.map(|(first, _)| first),
                last: messages.span.map(|(_, last)| last),
            },
            _ => Self::default(),
        }
    }
}

impl Exchange {
    /// `rpc` of a call.
    pub(super) fn rpc(&self, answer: &Answer, policy: &Policy) -> Rpc {
        let head = self.request.as_ref().and_then(|request| request.head.as_ref());
        let path = head.and_then(|head| head.get(b":path"));
        let method = path.and_then(|path| path.strip_prefix(b"/"));
        let method = method.map(|method| policy.url(method).value.into_owned());
        let asked = Counts::of(self.request.as_ref());
        let answered = Counts::of(self.response.as_ref());
        Rpc {
            system: RpcSystem { name: "grpc" },
            method,
            request: asked.messages.map(|_| RpcRequest {
                messages: asked.messages,
                bytes: asked.bytes,
                compressed_messages: asked.compressed,
                first_message: asked.first,
                last_message: asked.last,
            }),
            response: (answered.messages.is_some() || answer.status.is_some()).then(|| RpcResponse {
                status_code: answer.status.clone().map(Cow::into_owned),
                messages: answered.messages,
                bytes: answered.bytes,
                compressed_messages: answered.compressed,
                first_message: answered.first,
                last_message: answered.last,
            }),
        }
    }

    /// A field of the response's trailers, or of its head, where it has no others.
    fn trailer(&self, name: &[u8]) -> Option<&[u8]> {
        let response = self.response.as_ref()?;
        let mut lists = response.trailers.iter().chain(&response.head);
        lists.find_map(|fields| fields.get(name))
    }

    /// The method of a Triple service threw an exception.
    pub(super) fn has_thrown(&self) -> bool {
        self.trailer(b"tri-exception-code")
            .is_some_and(|code| code != b"0")
    }

    /// What status and message say; an exception that a Triple service threw comes with the status OK.
    pub(super) fn answer(&self, policy: &Policy) -> Answer {
        let status = self.trailer(b"grpc-status").and_then(names::grpc_status);
        let thrown = self.has_thrown();
        let failed = status.as_ref().filter(|status| *status != "OK");
        let kind = match failed {
            Some(status) => Some(status.clone()),
            None if thrown => Some("exception".into()),
            None => None,
        };
        let message = self
            .trailer(b"grpc-message")
            .filter(|message| !message.is_empty());
        let message = message.map(|message| policy.text(&percent_decode(message)).value.into_owned());
        Answer {
            error: kind.map(|kind| Error { kind, message }),
            status,
        }
    }
}

/// What a message means; what is wrongly encoded stays as it is.
fn percent_decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::percent_decode;

    #[test]
    fn messages_are_percent_decoded() {
        for (text, meaning) in [
            ("plain", "plain"),
            ("100%25 %E4%BE%8b", "100% \u{4f8b}"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
        ] {
            assert_eq!(percent_decode(text.as_bytes()), meaning.as_bytes());
        }
    }
}
