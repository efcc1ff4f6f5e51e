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

/// What became of each document, in the order in which they were sent.
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
    for (verdict, item) in verdicts.iter_mut().zip(answer.items) {
        *verdict = item.index.verdict();
    }
    Ok(())
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
            item(403, "security_exception"),
            item(400, "mapper_parsing_exception"),
            item(404, "index_not_found_exception"),
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
    fn an_answer_that_is_not_one_takes_nothing() {
        for answer in ["", "<html>", "{}", r#"{"errors":false,"items":[]}"#] {
            let mut verdicts = vec![Verdict::Waiting; 2];
            let failure = judge(answer.as_bytes(), &mut verdicts).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Slow, "{answer}");
            assert_eq!(verdicts, vec![Verdict::Waiting; 2]);
        }
    }
}
