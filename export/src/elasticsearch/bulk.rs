//! The bulk request and what its answer says of each document.

use super::indices::Indices;
use crate::{
    batch::Doc,
    http::excerpt,
    runner::{Failure, FailureKind, Verdict},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use std::io::Write;

/// The documents, each after its action, compressed. The lowest level takes a tenth of the time of the default and
/// leaves such text at a few hundredths more.
pub(super) fn body(documents: &[Doc], indices: &Indices) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for document in documents {
        // Writing into memory can't fail.
        let _ = indices.write_action(document, &mut encoder);
        let _ = encoder.write_all(document.line());
    }
    encoder.finish().unwrap_or_default().into()
}

#[derive(Deserialize)]
struct Answer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    #[serde(default)]
    error: Option<Cause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(rename = "type")]
    kind: String,
    reason: String,
}

/// What became of each document, in the order in which they were sent. Where the index, or the right to write there, is
/// missing, somebody has to mend that, and so the documents wait.
pub(super) fn judge(body: &[u8], verdicts: &mut [Verdict]) -> Result<(), Failure> {
    let unreadable = |what: String| {
        let reason = format!("the server's answer to a bulk request makes no sense: {what}");
        Failure::new(FailureKind::Slow, reason)
    };
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| unreadable(format!("{error}: {}", excerpt(body))))?;
    if answer.items.len() != verdicts.len() {
        let count = answer.items.len();
        return Err(unreadable(format!(
            "{count} items for {} documents",
            verdicts.len()
        )));
    }
    if !answer.errors {
        verdicts.fill(Verdict::Taken);
        return Ok(());
    }
    let mut held = None;
    for (verdict, item) in verdicts.iter_mut().zip(answer.items) {
        let help = item.index.error.as_ref().and_then(Cause::help);
        *verdict = item.index.verdict();
        if let (Verdict::Again(reason), Some(help)) = (&*verdict, help) {
            held.get_or_insert_with(|| format!("{reason}; {help}"));
        }
    }
    match held {
        Some(reason) => Err(Failure::new(FailureKind::Slow, reason)),
        None => Ok(()),
    }
}

impl Cause {
    /// What is to be done, where the error is not about the document: every document would meet it until that is done.
    fn help(&self) -> Option<&'static str> {
        match &*self.kind {
            "security_exception" => Some("give this user the right to write to the index"),
            "index_not_found_exception" => Some("make the index, or allow this user to"),
            "index_closed_exception" => Some("open the index"),
            "validation_exception" if self.reason.contains("shards") => {
                Some("the cluster has no room for another index's shards")
            }
            "illegal_argument_exception" if self.reason.starts_with("no write index is defined") => {
                Some("give the alias an index to write to")
            }
            _ => None,
        }
    }
}

impl Outcome {
    fn verdict(self) -> Verdict {
        let cause = self.error.unwrap_or_default();
        let reason = || format!("{} {}: {}", self.status, cause.kind, cause.reason);
        match self.status {
            // A version conflict: it is there already.
            200..=299 | 409 => Verdict::Taken,
            429 | 500.. => Verdict::Again(reason()),
            // Somebody has set the index to read-only, and may unset it.
            403 if cause.kind == "cluster_block_exception" => Verdict::Again(reason()),
            _ if cause.kind == "es_rejected_execution_exception" => Verdict::Again(reason()),
            _ if cause.help().is_some() => Verdict::Again(reason()),
            _ => Verdict::Rejected(reason()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::docs;
    use std::io::Read;

    #[test]
    fn a_body_is_an_action_and_a_document_each() {
        let documents = docs(0..3, 2);
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body(&documents, &Indices::One("weir".into()))[..])
            .read_to_string(&mut text)
            .unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 6);
        assert!(text.ends_with('\n'));
        for pair in lines.chunks(2) {
            assert_eq!(pair[0]["index"]["_id"], pair[1]["event"]["id"]);
        }
    }

    #[test]
    fn each_document_gets_its_own_verdict() {
        let item = |status: u16, kind: &str| {
            format!(r#"{{"index":{{"status":{status},"error":{{"type":"{kind}","reason":"r"}}}}}}"#)
        };
        let items = [
            r#"{"index":{"status":201}}"#.to_string(),
            item(409, "version_conflict_engine_exception"),
            item(429, "es_rejected_execution_exception"),
            item(503, "unavailable_shards_exception"),
            item(403, "cluster_block_exception"),
            item(400, "illegal_argument_exception"),
            item(400, "mapper_parsing_exception"),
            item(400, "validation_exception"),
        ];
        let answer = format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","));
        let mut verdicts = vec![Verdict::Waiting; items.len()];
        judge(answer.as_bytes(), &mut verdicts).unwrap();
        let short: Vec<_> = verdicts
            .iter()
            .map(|verdict| match verdict {
                Verdict::Waiting => 'w',
                Verdict::Taken => 't',
                Verdict::Again(_) => 'a',
                Verdict::Rejected(_) => 'r',
            })
            .collect();
        assert_eq!(short, ['t', 't', 'a', 'a', 'a', 'r', 'r', 'r']);
        assert_eq!(
            verdicts[6],
            Verdict::Rejected("400 mapper_parsing_exception: r".into())
        );
    }

    #[test]
    fn what_is_wrong_with_the_index_keeps_documents_until_it_is_mended() {
        for (status, kind, reason) in [
            (
                403,
                "security_exception",
                "action [indices:data/write/bulk[s]] is unauthorized",
            ),
            (404, "index_not_found_exception", "no such index [weir]"),
            (400, "index_closed_exception", "closed"),
            (
                400,
                "validation_exception",
                "this cluster currently has [1000]/[1000] maximum normal shards open",
            ),
            (
                400,
                "illegal_argument_exception",
                "no write index is defined for alias [weir]",
            ),
        ] {
            let error = serde_json::json!({"type": kind, "reason": reason});
            let items = serde_json::json!([
                {"index": {"status": 201}},
                {"index": {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "r"}}},
                {"index": {"status": status, "error": error}},
            ]);
            let answer = serde_json::json!({"errors": true, "items": items}).to_string();
            let mut verdicts = vec![Verdict::Waiting; 3];
            let failure = judge(answer.as_bytes(), &mut verdicts).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Slow, "{kind}");
            assert!(failure.reason.contains(reason), "{}", failure.reason);
            assert_eq!(verdicts[0], Verdict::Taken);
            assert!(matches!(verdicts[1], Verdict::Rejected(_)));
            assert!(matches!(verdicts[2], Verdict::Again(_)));
        }
    }

    #[test]
    fn an_answer_that_is_not_one_takes_nothing() {
        for answer in ["", "<html>", "{}", r#"{"errors":false,"items":[]}"#] {
            let mut verdicts = vec![Verdict::Waiting; 2];
            let failure = judge(answer.as_bytes(), &mut verdicts).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Slow, "{answer}");
            assert_eq!(verdicts, vec![Verdict::Waiting; 2]);
        }
    }
}
