//! What Triple wraps: arguments and results of Java interfaces in the serializations of Dubbo, within a message of protobuf
//! (`TripleRequestWrapper`, `TripleResponseWrapper`). Methods that were defined in protobuf wrap nothing.

use super::body::{Reading, Reply};
use super::items::{Items, Place};
use super::names;
use crate::hessian2::{Fault, Read};
use std::borrow::Cow;
use std::collections::BTreeMap;
use weir_records::{Builder, Json, Policy};

/// The parameters of a generic call.
const GENERIC: [&[u8]; 3] = [
    b"java.lang.String",
    b"[Ljava.lang.String;",
    b"[Ljava.lang.Object;",
];

/// A wrapped call.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// As Dubbo's configuration names it.
    pub serialization: &'static str,
    /// Of a generic call, the method that it names.
    pub method: Option<String>,
    pub parameter_types: Vec<String>,
    pub args: Json,
    /// Sizes of what was cut.
    pub sizes: BTreeMap<String, u64>,
    /// What is wrong with it.
    pub malformed: Option<&'static str>,
}

/// A wrapped answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub result: Option<Json>,
    /// Class and message.
    pub exception: Option<(String, Option<String>)>,
    pub sizes: BTreeMap<String, u64>,
}

/// Both wrappers have the serialization in field 1, bytes in field 2 and types in field 3.
#[derive(Debug)]
struct Wrapper<'a> {
    serialization: u8,
    values: Vec<&'a [u8]>,
    types: Vec<&'a [u8]>,
}

impl<'a> Wrapper<'a> {
    /// `None` if the message is something else.
    fn read(mut message: &'a [u8]) -> Option<Self> {
        let mut wrapper = Self {
            serialization: 0,
            values: Vec::new(),
            types: Vec::new(),
        };
        while let Some((key, rest)) = message.split_first() {
            message = rest;
            let length = length(&mut message)?;
            // The message may be cut in its last field.
            let (field, rest) = message.split_at(length.min(message.len()));
            message = rest;
            match key {
                0x0a => wrapper.serialization = serialization(field)?,
                0x12 => wrapper.values.push(field),
                0x1a => wrapper.types.push(field),
                _ => return None,
            }
        }
        (wrapper.serialization != 0).then_some(wrapper)
    }

    /// As many of the types as are told.
    fn types(&self, reading: &mut Reading<'_>) -> Vec<String> {
        let policy = reading.policy;
        let told = self.types.iter().take(policy.settings().max_values);
        told.map(|name| {
            let name: Cow<'_, str> = policy
                .text(*name)
                .keep(&mut reading.sizes, || "dubbo.parameter_types".to_owned());
            names::readable_type(&name)
        })
        .collect()
    }
}

/// A number of protobuf.
fn length(message: &mut &[u8]) -> Option<usize> {
    let mut length = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

/// Those that are read.
fn serialization(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"hessian4" | b"hessian2" => names::HESSIAN2,
        b"fastjson2" => names::FASTJSON2,
        b"fastjson" => names::FASTJSON,
        _ => return None,
    })
}

/// The call that is wrapped in a message, or the beginning of one.
pub(crate) fn call(message: &[u8], whole: bool, policy: &Policy) -> Option<Call> {
    let wrapper = Wrapper::read(message)?;
    let mut reading = Reading::new(policy);
    let mut call = Call {
        serialization: names::serialization(wrapper.serialization)?,
        parameter_types: wrapper.types(&mut reading),
        ..Call::default()
    };
    let read = if wrapper.types == GENERIC {
        generic(&mut call, &wrapper, &mut reading)
    } else {
        let read;
        (call.args, read) = arguments(&wrapper, &mut reading);
        read
    };
    if whole {
        call.malformed = read.err().map(|fault| match fault {
            Fault::End => "an argument ends too early",
            Fault::Malformed(why) => why,
        });
    }
    call.sizes = reading.sizes;
    Some(call)
}

fn arguments(wrapper: &Wrapper<'_>, reading: &mut Reading<'_>) -> (Json, Read<()>) {
    let mut builder = Builder::new(reading.policy, reading.bounds());
    builder.begin_list();
    let read = wrapper.values.iter().enumerate().try_for_each(|(at, value)| {
        let mut items = Items::new(wrapper.serialization, value).ok_or(Fault::End)?;
        items.value(&mut builder, Place("/dubbo/args", Some(at)))
    });
    (builder.finish("dubbo.args", &mut reading.sizes), read)
}

/// Method, types and arguments are the three arguments.
fn generic(call: &mut Call, wrapper: &Wrapper<'_>, reading: &mut Reading<'_>) -> Read<()> {
    let [method, types, args] = *wrapper.values else {
        return Err(Fault::End);
    };
    let items = |value| Items::new(wrapper.serialization, value).ok_or(Fault::End);
    call.method = reading.text(&mut items(method)?, "dubbo.method")?;
    let (types, read) = reading.value(&mut items(types)?, "dubbo.parameter_types", "");
    call.parameter_types = types.texts().map(names::readable_type).collect();
    read?;
    let read;
    (call.args, read) = reading.value(&mut items(args)?, "dubbo.args", "/dubbo/args");
    read
}

/// The answer that is wrapped in a message, or the beginning of one: a result, or what the method threw.
pub(crate) fn answer(message: &[u8], thrown: bool, policy: &Policy) -> Option<Answer> {
    let wrapper = Wrapper::read(message)?;
    let value = wrapper.values.first().copied().unwrap_or_default();
    let mut items = Items::new(wrapper.serialization, value)?;
    let mut reading = Reading::new(policy);
    let mut answer = Answer::default();
    if thrown {
        let mut reply = Reply::default();
        // Class and message stand at the beginning of what may be cut.
        let _ = reading.exception(&mut reply, &mut items);
        answer.exception = reply.exception;
    } else if value.is_empty() {
        answer.result = Some(Json::null());
    } else {
        let (result, _) = reading.value(&mut items, "dubbo.result", "/dubbo/result");
        answer.result = Some(result);
    }
    answer.sizes = reading.sizes;
    Some(answer)
}
