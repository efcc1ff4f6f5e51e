//! `rpc` of a document: what a call's messages were.

use super::messages::Messages;
use weir_records::{Rpc, RpcRequest, RpcResponse, RpcSystem, Timestamp};

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
    fn of(messages: Option<&Messages>) -> Self {
        match messages {
            Some(messages) if messages.is_counted() => Self {
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

/// Describes a call of this method by its messages in both directions and its status.
pub(crate) fn rpc(
    system: &'static str,
    method: Option<String>,
    [asked, answered]: [Option<&Messages>; 2],
    status: Option<String>,
) -> Rpc {
    let (asked, answered) = (Counts::of(asked), Counts::of(answered));
    Rpc {
        system: RpcSystem { name: system },
        method,
        request: asked.messages.map(|_| RpcRequest {
            messages: asked.messages,
            bytes: asked.bytes,
            compressed_messages: asked.compressed,
            first_message: asked.first,
            last_message: asked.last,
        }),
        response: (answered.messages.is_some() || status.is_some()).then_some(RpcResponse {
            status_code: status,
            derived_status_code: None,
            messages: answered.messages,
            bytes: answered.bytes,
            compressed_messages: answered.compressed,
            first_message: answered.first,
            last_message: answered.last,
        }),
    }
}
