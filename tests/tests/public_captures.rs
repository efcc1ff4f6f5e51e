//! Captures that other projects test with, through `weir decode`: messages are as many as tshark counts
//! (`tests/captures/counts.tsv`), but for the differences that `tests/captures/differences.tsv` names, each with its reason.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use weir_lab::{binary, skip};

const TEST: &str = "messages_are_as_many_as_tshark_counts";
/// Kinds of messages, in the order of the columns of `counts.tsv`.
const KINDS: [&str; 7] = [
    "http1_requests",
    "http1_responses",
    "http2_requests",
    "http2_responses",
    "dns_queries",
    "dns_responses",
    "tls_hellos",
];

type Counts = [u64; KINDS.len()];

/// A capture as `counts.tsv` has it.
struct Listed {
    sha256: String,
    tshark: Counts,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

/// Rows of a file of tab-separated values, without comments.
fn rows(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn listed() -> BTreeMap<String, Listed> {
    let mut rows = rows("counts.tsv").into_iter();
    assert_eq!(rows.next().unwrap()[2..], KINDS, "columns of counts.tsv");
    rows.map(|row| {
        let mut tshark = Counts::default();
        for (count, value) in tshark.iter_mut().zip(&row[2..]) {
            *count = value.parse().unwrap();
        }
        let sha256 = row[1].clone();
        (row[0].clone(), Listed { sha256, tshark })
    })
    .collect()
}

/// What Weir counts where it differs from tshark, by capture and kind.
fn named() -> BTreeMap<(String, String), u64> {
    rows("differences.tsv")
        .into_iter()
        .map(|row| {
            assert!(
                row.len() == 4 && row[3].len() > 10,
                "a difference without its reason: {row:?}"
            );
            ((row[0].clone(), row[1].clone()), row[2].parse().unwrap())
        })
        .collect()
}

/// The folder of captures, fetched if need be.
fn fetched() -> Option<PathBuf> {
    let output = Command::new(folder().join("fetch")).output().unwrap();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        skip(
            TEST,
            &format!("captures of others are not to be had: {}", said.trim()),
        );
        return None;
    }
    let said = String::from_utf8(output.stdout).unwrap();
    Some(PathBuf::from(said.lines().last().unwrap()))
}

fn is_listed_content(path: &Path, listed: &Listed) -> bool {
    fs::read(path).is_ok_and(|bytes| {
        let digest = Sha256::digest(&bytes);
        let digits: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        digits == listed.sha256
    })
}

/// How many messages of each kind the documents of a capture tell of; an error is a program that did not end well.
fn decoded(path: &Path) -> Result<Counts, String> {
    let output = Command::new(binary("weir").unwrap())
        .arg("decode")
        .arg(path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code().is_none() || said.contains("panicked") {
        return Err(format!("{}: {said}", output.status));
    }
    let mut counts = Counts::default();
    for line in output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        count(&serde_json::from_slice(line).unwrap(), &mut counts);
    }
    Ok(counts)
}

fn count(document: &Value, counts: &mut Counts) {
    // Of what lasts, another document follows.
    if !document["weir"]["state"].is_null() {
        return;
    }
    let http = &document["http"];
    if !http.is_null() {
        let first = if http["version"] == "2" { 2 } else { 0 };
        counts[first] += u64::from(!http["request"]["method"].is_null());
        counts[first + 1] += u64::from(!http["response"]["status_code"].is_null());
    }
    match document["event"]["dataset"].as_str() {
        Some("weir.dns") => {
            let repeats = document["weir"]["dns"]["repeats"].as_u64().unwrap_or(0);
            let [sent, answered] = ["source", "destination"].map(|end| !document[end]["bytes"].is_null());
            // An answer that nobody asked for by itself, as those of multicast DNS are.
            let is_announced = sent && !answered && document["dns"]["type"] == "answer";
            counts[4] += if sent && !is_announced { 1 + repeats } else { 0 };
            counts[5] += u64::from(answered || is_announced);
        }
        Some("weir.tls") => counts[6] += 1,
        _ => {}
    }
}

#[test]
fn messages_are_as_many_as_tshark_counts() {
    let Some(directory) = fetched() else { return };
    let (listed, mut named) = (listed(), named());
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, capture) in &listed {
        let path = directory.join(name);
        // A package may have been replaced by another version of it.
        if !is_listed_content(&path, capture) {
            println!("not compared, since it is not there as it was: {name}");
            named.retain(|(of, _), _| of != name);
            continue;
        }
        compared += 1;
        let weir = match decoded(&path) {
            Ok(weir) => weir,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        for ((kind, weir), tshark) in KINDS.iter().zip(weir).zip(capture.tshark) {
            let expected = named.remove(&(name.clone(), (*kind).to_owned()));
            if weir != expected.unwrap_or(tshark) {
                wrong.push(format!(
                    "{name}\t{kind}\t{weir}\t(tshark {tshark}, expected {expected:?})"
                ));
            } else if expected == Some(tshark) {
                wrong.push(format!("{name}\t{kind}: is no difference any more"));
            }
        }
    }
    println!("{compared} of {} captures compared", listed.len());
    wrong.extend(
        named
            .keys()
            .map(|(name, kind)| format!("{name}\t{kind}: named, and not listed in counts.tsv")),
    );
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        compared * 10 >= listed.len() * 9,
        "too few of the listed captures were to be had"
    );
}
