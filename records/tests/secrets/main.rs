//! Secrets as some hundred services transmit them: none leaves, wherever it stands. And what only looks like a secret stays.
//!
//! The secrets are made up, by a generator that always makes the same ones.
// Helpers of tests may fail by panicking.
#![allow(clippy::unwrap_used)]

mod generator;
mod places;
mod ways;

use generator::{Generator, Made};
use places::{PLACES, shown};
use std::collections::HashSet;

/// Secrets of each format.
const OF_EACH: usize = 3;

/// Lines of a table.
fn lines(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(" | ").collect())
}

#[test]
fn no_secret_leaves() {
    let mut generator = Generator::new();
    let (mut services, mut secrets) = (HashSet::new(), 0);
    let mut left = Vec::new();
    for line in lines(include_str!("formats.txt")) {
        let [service, name, format] = line[..] else {
            panic!("{line:?}");
        };
        services.insert(service);
        for _ in 0..OF_EACH {
            secrets += 1;
            let Made { value, secret } = generator.make(format);
            let name = (name != "*").then_some(name);
            for (place, put) in PLACES {
                let Some(put) = put(name, &value) else {
                    continue;
                };
                let document = shown(&put);
                if document.contains(&secret) || document.contains(&places::encoded(&secret)) {
                    left.push(format!("{service} in {place}: {document}"));
                }
            }
        }
    }
    assert!(left.is_empty(), "{} left:\n{}", left.len(), left.join("\n"));
    assert!(
        services.len() >= 60 && secrets >= 300 && PLACES.len() >= 8,
        "{} {secrets}",
        services.len()
    );
}

#[test]
fn what_is_no_secret_stays() {
    let mut generator = Generator::new();
    let (mut count, mut replaced) = (0, Vec::new());
    for line in lines(include_str!("harmless.txt")) {
        let [name, format] = line[..] else {
            panic!("{line:?}");
        };
        let times = if format.contains('{') { OF_EACH } else { 1 };
        for _ in 0..times {
            count += 1;
            let value = generator.make(format).value;
            for (place, put) in PLACES {
                // A header of this name holds a secret whatever it looks like.
                if name == "key" && ["a header", "metadata of gRPC"].contains(place) {
                    continue;
                }
                if let Some(put) = put(Some(name), &value) {
                    let document = shown(&put);
                    if document.contains(weir_records::REDACTED) {
                        replaced.push(format!("{name} in {place}: {value}: {document}"));
                    }
                }
            }
        }
    }
    assert!(
        replaced.is_empty(),
        "{} replaced:\n{}",
        replaced.len(),
        replaced.join("\n")
    );
    assert!(count >= 300, "{count}");
}
