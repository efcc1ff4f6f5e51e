//! Header blocks that fourteen encoders wrote for the same lists of fields, out of the package `httlib-hpack`: each comes out
//! of the decoder as its fields, through a connection of HTTP/2 whose tables live as long as an encoder's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: a failure here is a failed test"
)]

#[allow(dead_code, reason = "shared with the tests of HTTP/2")]
#[path = "http2/support.rs"]
mod support;

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use support::{END_HEADERS, END_STREAM, HEADERS, Observer, SETTINGS, frame, get, headers};
use weir_config::Records;
use weir_protocols::Close;

/// SETTINGS_HEADER_TABLE_SIZE, RFC 9113, 6.5.2.
const HEADER_TABLE_SIZE: [u8; 2] = [0, 1];

/// A field's name and its values, in their order.
type Fields = BTreeMap<String, Vec<String>>;

/// The folder of cases, a folder for each encoder.
fn cases() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let package = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["name"] == "httlib-hpack")
        .unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("fixtures")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

fn octets(digits: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(octet).collect()
}

/// The fields that a case says its block has.
fn expected(case: &Value) -> Fields {
    let mut fields = Fields::new();
    for field in case["headers"].as_array().unwrap() {
        for (name, value) in field.as_object().unwrap() {
            let value = value.as_str().unwrap().to_owned();
            fields.entry(name.clone()).or_default().push(value);
        }
    }
    fields
}

/// The fields that a document shows, pseudo-header fields among them.
fn shown(document: &Value, message: &str) -> Fields {
    let http = &document["http"][message];
    let mut fields = Fields::new();
    for (name, values) in http["headers"].as_object().into_iter().flatten() {
        let values = match values {
            Value::Array(values) => values
                .iter()
                .map(|value| value.as_str().unwrap().to_owned())
                .collect(),
            value => vec![value.as_str().unwrap().to_owned()],
        };
        fields.insert(name.clone(), values);
    }
    let mut pseudo = |name: &str, value: &Value| {
        let text = match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        fields.insert(name.to_owned(), vec![text]);
    };
    if message == "request" {
        pseudo(":method", &http["method"]);
        pseudo(":path", &document["url"]["original"]);
        pseudo(":scheme", &document["url"]["scheme"]);
    } else {
        pseudo(":status", &http["status_code"]);
    }
    fields
}

/// A connection on which nothing is cut and nothing is taken for a secret.
fn records() -> Records {
    Records {
        redact: false,
        max_header_value: 1 << 20,
        max_headers: 1000,
        max_url: 1 << 20,
        ..Records::default()
    }
}

/// Shows a story's blocks to one connection, and compares what comes out; says how many were compared.
fn compare(story: &Path) -> usize {
    let text = fs::read_to_string(story).unwrap();
    let story_of: Value = serde_json::from_str(&text).unwrap();
    let cases = story_of["cases"].as_array().unwrap();
    let are_requests = expected(&cases[0]).contains_key(":method");
    let mut seen = Observer::new();
    let mut table_size = 4096;
    for (place, case) in (0_u32..).zip(cases) {
        if let Some(size) = case["header_table_size"]
            .as_u64()
            .filter(|size| *size != table_size)
        {
            table_size = size;
            let value = u32::try_from(size).unwrap().to_be_bytes();
            let settings = frame(SETTINGS, 0, 0, &[&HEADER_TABLE_SIZE[..], &value].concat());
            match are_requests {
                true => seen.server(settings),
                false => seen.client(settings),
            };
        }
        let stream = 2 * place + 1;
        let block = frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &octets(case["wire"].as_str().unwrap()),
        );
        match are_requests {
            true => seen
                .client(block)
                .server(headers(stream, true, &[(":status", "204")])),
            false => seen.client(headers(stream, true, &get("/"))).server(block),
        };
    }
    seen.close(Close::Finished);
    let documents = seen.documents_under(&records());
    assert_eq!(documents.len(), cases.len(), "{}", story.display());
    for (document, case) in documents.iter().zip(cases) {
        let mut expected = expected(case);
        let message = if are_requests { "request" } else { "response" };
        let mut shown = shown(document, message);
        // Told by url.domain and url.port, in lower case.
        expected.remove(":authority");
        // Crumbs of a cookie are one field, RFC 9113, 8.2.3.
        for fields in [&mut expected, &mut shown] {
            if let Some(crumbs) = fields.get_mut("cookie") {
                *crumbs = vec![crumbs.join("; ")];
            }
        }
        assert_eq!(shown, expected, "{} case {}", story.display(), case["seqno"]);
    }
    cases.len()
}

#[test]
fn header_blocks_of_fourteen_encoders_are_read_as_they_were_meant() {
    let mut encoders = entries(&cases());
    encoders.retain(|path| path.is_dir());
    assert_eq!(encoders.len(), 14, "{encoders:?}");
    for encoder in encoders {
        let blocks: usize = entries(&encoder).iter().map(|story| compare(story)).sum();
        println!("{}: {blocks} blocks", encoder.file_name().unwrap().display());
        assert!(blocks > 3000, "{}", encoder.display());
    }
}
