//! What the sidecar's answers mean for people.

use super::ask::Answer;
use serde_json::{Map, Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Well,
    /// Good to know, and nothing wrong with it.
    Note,
    /// Something does not work, or was lost.
    Wrong,
}

impl Level {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Note => "note",
            Self::Wrong => "wrong",
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    fn well(what: impl Into<String>) -> Self {
        Self {
            level: Level::Well,
            what: what.into(),
            advice: None,
        }
    }

    fn note(what: impl Into<String>) -> Self {
        Self {
            level: Level::Note,
            ..Self::well(what)
        }
    }

    /// Something wrong, and what to do.
    pub fn wrong(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level: Level::Wrong,
            what: what.into(),
            advice: Some(advice.into()),
        }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({"level": self.level.name(), "what": self.what, "advice": self.advice})
    }
}

const REPORT: &str = "this is a bug: please report it, with the sidecar's log";

/// What the health endpoint says.
pub fn readiness(answer: &Answer) -> Finding {
    let said = answer.body.trim();
    match answer.status {
        200 if said.starts_with("degraded") => Finding::wrong(
            said,
            "traffic is not held up, and less is done than was asked for: mend what is missing, then start the sidecar again",
        ),
        200 => Finding::well("ready"),
        503 => Finding::wrong(
            said,
            "the sidecar's log says what is missing; one that drains ends once its connections have",
        ),
        status => Finding::wrong(
            format!("the health endpoint answers {status}"),
            "is that port the sidecar's? Name it by --health-port",
        ),
    }
}

/// Everything that the counters tell.
pub fn of(stats: &Value) -> Vec<Finding> {
    let mut findings = vec![mode(stats)];
    findings.push(seen(stats));
    findings.extend(restarts(stats));
    findings.extend(decoding(stats));
    findings.extend(capture(stats));
    findings.extend(dns(stats));
    findings.extend(sinks(stats));
    let is_wrong = |finding: &Finding| finding.level == Level::Wrong;
    if !findings.iter().any(is_wrong) {
        findings.push(Finding::well("nothing was lost"));
    }
    findings
}

fn mode(stats: &Value) -> Finding {
    match stats["mode"].as_str() {
        Some(mode) if mode != "unknown" => Finding::well(format!("mode {mode}")),
        _ => Finding::wrong(
            "nothing is redirected in this network namespace, so this sidecar sees nothing new",
            "run weir-init install here, or start the sidecar with --mode tap",
        ),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The names with their counts, of those that are not 0.
fn counts(value: &Value) -> impl Iterator<Item = (&str, u64)> {
    let all = value.as_object().into_iter().flat_map(Map::iter);
    all.map(|(name, count)| (name.as_str(), number(count)))
        .filter(|(_, count)| *count > 0)
}

fn seen(stats: &Value) -> Finding {
    let opened = |direction: &str| number(&stats["connections"][direction]["opened"]);
    // Relayed ones, and those that are looked at.
    let connections = opened("ingress") + opened("egress") + number(&stats["capture"]["connections"]);
    let exchanges = number(&stats["exchanges"]);
    Finding::well(format!(
        "connections seen: {connections}, requests decoded: {exchanges}"
    ))
}

/// Workers that did not end as they should. What a sidecar does without is told by its readiness.
fn restarts(stats: &Value) -> Vec<Finding> {
    let advice = |reason: &str| match reason {
        "out_of_memory" => {
            "give the sidecar more memory, or have it decode less (--protocols, a smaller queue)"
        }
        "killed" => "somebody killed it, or the node was short of memory",
        _ => REPORT,
    };
    let finding = |(reason, count): (&str, u64)| match reason {
        "mode_changed" => Finding::note(format!(
            "times that an installation made a relay of a tap: {count}"
        )),
        _ => Finding::wrong(
            format!(
                "times that the sidecar had to be started anew ({reason}), each with its open connections: {count}"
            ),
            advice(reason),
        ),
    };
    counts(&stats["restarts"]).map(finding).collect()
}

fn decoding(stats: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let panics = number(&stats["decoder_panics"]);
    if panics > 0 {
        let what = format!("decoders failed, each with the rest of a connection: {panics}");
        findings.push(Finding::wrong(what, REPORT));
    }
    for (reason, count) in counts(&stats["decoders_dropped"]) {
        findings.push(Finding::wrong(
            format!("connections that are no longer decoded because all decoders together kept too much ({reason}): {count}"),
            "raise decoding.memory in the sidecar's file, and its container's memory with it; or lower decoding.max_head",
        ));
    }
    let accept = number(&stats["accept_errors"]);
    if accept > 0 {
        findings.push(Finding::wrong(
            format!("connections that could not be accepted: {accept}"),
            "the sidecar is out of descriptors or memory: raise its limit of open files (ulimit -n), or its memory",
        ));
    }
    for (reason, count) in counts(&stats["opaque_connections"]) {
        findings.push(Finding::note(format!(
            "connections that are not decoded (any further), {reason}: {count}"
        )));
    }
    for (reason, count) in counts(&stats["source_not_kept"]) {
        findings.push(Finding::note(format!(
            "connections for which the application saw a spare address and not its client's ({reason}): {count}"
        )));
    }
    findings
}

/// What was lost between the wire and the decoders, in mode tap.
fn capture(stats: &Value) -> Vec<Finding> {
    const MEMORY: &str = "more was under way than there is room for: look at fewer ports or interfaces";
    let losses = &stats["capture"]["losses"];
    let is_cut = number(&losses["cut_packets"]) > 0;
    let finding = |(reason, count): (&str, u64)| match reason {
        "ring_full" => Finding::wrong(
            format!("packets lost for want of room in the ring: {count}"),
            "make it larger (capture.ring in the sidecar's file), keep less of each packet (capture.snaplen), or give the \
             sidecar more CPU",
        ),
        "evicted" => Finding::wrong(
            format!("connections given up because there were too many: {count}"),
            MEMORY,
        ),
        "bound_reached" => Finding::wrong(
            format!("times that a bound of memory ended the wait for missing bytes: {count}"),
            MEMORY,
        ),
        // Told by the decoders' own counter.
        "decoder_panics" => Finding::note(format!("decoders failed: {count}")),
        "decoders_dropped" => Finding::note(format!("decoders given up: {count}")),
        "gaps" if !is_cut => Finding::wrong(
            format!("gaps in connections: {count}"),
            "packets are missing: lost by the ring, or sent past the interfaces that are looked at",
        ),
        "incomplete_fragments" => Finding::wrong(
            format!("fragmented packets that were never complete: {count}"),
            "fragments are missing: lost by the ring or on the network",
        ),
        "malformed" => Finding::wrong(
            format!("packets with damaged or cut headers: {count}"),
            "keep more of each packet (capture.snaplen)",
        ),
        "gaps" => Finding::note(format!(
            "gaps in connections: {count}; packets are cut (capture.snaplen)"
        )),
        "gap_bytes" => Finding::note(format!("bytes that are known to be missing: {count}")),
        "cut_packets" => Finding::note(format!(
            "packets of which a part was not kept (capture.snaplen): {count}"
        )),
        "refused_segments" => Finding::note(format!(
            "segments that their receiver does not take (wrong numbers): {count}"
        )),
        "late_connections" => Finding::note(format!("connections joined late: {count}")),
        "not_decoded" => Finding::note(format!("connections of no protocol that is decoded: {count}")),
        "other_datagrams" => Finding::note(format!("UDP datagrams that are not DNS: {count}")),
        other => Finding::note(format!("{other}: {count}")),
    };
    counts(losses).map(finding).collect()
}

fn dns(stats: &Value) -> Vec<Finding> {
    let advice = |reason: &str| match reason {
        "no_resolver" => {
            "the installer and the sidecar mean different resolvers: give both the same --dns-servers"
        }
        "evicted" => "more queries wait than there is room for: is the first resolver dead?",
        "no_socket" => "more clients ask at once than there are descriptors: raise the limit of open files",
        _ => "the resolver can't be reached from here, or the machine is overloaded",
    };
    let lost = counts(&stats["dns"]["dropped"]);
    lost.map(|(reason, count)| {
        let what = match reason {
            "evicted" => "DNS queries whose answers are no longer waited for",
            _ => "DNS datagrams that were not passed on",
        };
        Finding::wrong(format!("{what} ({reason}): {count}"), advice(reason))
    })
    .collect()
}

fn sinks(stats: &Value) -> Vec<Finding> {
    let all = stats["sinks"].as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return vec![Finding::note(
            "documents go nowhere: no sink is configured (--export)",
        )];
    }
    all.iter().flat_map(sink).collect()
}

fn sink(stats: &Value) -> Vec<Finding> {
    let text = |name: &str| stats[name].as_str().unwrap_or_default();
    let name = format!("{} {}", text("sink"), text("target"));
    let mut findings = Vec::new();
    if let Some(reason) = stats["failing"].as_str() {
        findings.push(Finding::wrong(
            format!("{name} fails: {reason}"),
            format!(
                "documents wait ({}) and are lost once the queue is full: mend it soon",
                number(&stats["waiting"])
            ),
        ));
    }
    for (reason, count) in counts(&stats["dropped"]) {
        findings.push(Finding::wrong(
            format!("{name} lost documents ({reason}): {count}"),
            match reason {
                "queue_full" => "the sink is too slow or was gone: give it more, or a larger queue",
                "closed" => "whoever read them has gone: start the sidecar anew with somebody who reads",
                "shutdown" => "the sink was too slow at the end",
                _ => REPORT,
            },
        ));
    }
    let rejected = number(&stats["rejected"]);
    if rejected > 0 {
        findings.push(Finding::wrong(
            format!("{name} refused documents: {rejected}"),
            "the sidecar's log says why (a mapping of the index that they don't fit, mostly)",
        ));
    }
    if findings.is_empty() {
        let retries = match number(&stats["retries"]) {
            0 => String::new(),
            n => format!(", attempts made again: {n}"),
        };
        findings.push(Finding::well(format!(
            "{name}: documents taken: {}{retries}",
            number(&stats["sent"])
        )));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Value {
        json!({
            "mode": "tap",
            "connections": {"ingress": {"opened": 0}, "egress": {"opened": 0}},
            "exchanges": 5, "decoder_panics": 0, "accept_errors": 0, "opaque_connections": { "upgraded": 1, "bound": 0 },
            "source_not_kept": {"no_port": 0}, "restarts": {"killed": 0, "mode_changed": 1},
            "capture": {"packets": 9, "connections": 2, "losses": {"ring_full": 0, "late_connections": 3, "gaps": 0}},
            "dns": {"dropped": {"evicted": 0}},
            "sinks": [{"sink": "ndjson", "target": "/x", "sent": 5, "rejected": 0, "waiting": 0, "retries": 0,
                "dropped": {"queue_full": 0}}],
        })
    }

    fn wrong(stats: &Value) -> Vec<Finding> {
        let all = of(stats).into_iter();
        all.filter(|finding| finding.level == Level::Wrong).collect()
    }

    #[test]
    fn all_is_well_where_nothing_was_lost() {
        let findings = of(&well());
        assert_eq!(wrong(&well()), []);
        let said: Vec<_> = findings.iter().map(|finding| finding.what.as_str()).collect();
        assert!(
            said.contains(&"nothing was lost") && said.contains(&"mode tap"),
            "{said:?}"
        );
        assert!(
            said.contains(&"connections seen: 2, requests decoded: 5"),
            "{said:?}"
        );
    }

    #[test]
    fn every_loss_is_said_with_its_count_and_what_to_do() {
        for (place, value, said) in [
            ("/mode", json!("unknown"), "nothing is redirected"),
            ("/decoder_panics", json!(77), "77"),
            ("/accept_errors", json!(77), "77"),
            ("/restarts/killed", json!(77), "(killed)"),
            ("/capture/losses/ring_full", json!(77), "in the ring: 77"),
            ("/capture/losses/gaps", json!(77), "gaps in connections: 77"),
            ("/dns/dropped/evicted", json!(77), "(evicted): 77"),
            (
                "/sinks/0/dropped/queue_full",
                json!(77),
                "ndjson /x lost documents (queue_full): 77",
            ),
            ("/sinks/0/rejected", json!(77), "refused documents: 77"),
        ] {
            let mut stats = well();
            *stats.pointer_mut(place).unwrap() = value;
            let findings = wrong(&stats);
            assert_eq!(findings.len(), 1, "{place}: {findings:?}");
            assert!(findings[0].what.contains(said), "{findings:?}");
            assert!(findings[0].advice.is_some());
            assert!(
                !of(&stats)
                    .iter()
                    .any(|finding| finding.what == "nothing was lost")
            );
        }
        let mut stats = well();
        stats["sinks"][0]["failing"] = "refused".into();
        assert_eq!(wrong(&stats)[0].what, "ndjson /x fails: refused");
    }

    #[test]
    fn what_a_snaplen_leaves_out_is_no_loss() {
        let mut stats = well();
        stats["capture"]["losses"]["gaps"] = 7.into();
        stats["capture"]["losses"]["cut_packets"] = 9.into();
        assert_eq!(wrong(&stats), []);
    }

    #[test]
    fn a_sidecar_that_is_not_ready_says_why() {
        let answer = |status, body: &str| Answer {
            status,
            body: body.into(),
        };
        assert_eq!(readiness(&answer(200, "ready\n")), Finding::well("ready"));
        let finding = readiness(&answer(503, "not ready: draining\n"));
        assert_eq!(
            (finding.level, &*finding.what),
            (Level::Wrong, "not ready: draining")
        );
        let finding = readiness(&answer(200, "degraded: relay only\n"));
        assert_eq!(
            (finding.level, &*finding.what),
            (Level::Wrong, "degraded: relay only")
        );
        assert_eq!(readiness(&answer(404, "")).level, Level::Wrong);
    }
}
