//! DNS over UDP at any port, and names among the hosts of a link.

use crate::{support::*, tunnels::frame, wraps::dns};
use serde_json::{Value, json};
use weir_capture::{Counters, Settings};

const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x04weir\x07example\0\0\x01\0\x01";
const RECORD: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 9, 9];

fn answer() -> Vec<u8> {
    let mut bytes = QUERY.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80]);
    bytes[7] = 1;
    [&bytes[..], RECORD].concat()
}

/// What comes of these datagrams: from, to, message. Flows as a whole are not asked for.
fn of(datagrams: &[(&str, &str, &[u8])]) -> (Vec<Value>, Counters) {
    let frames = datagrams.iter().zip(0..);
    let frames: Vec<_> = frames
        .map(|((from, to, message), at)| frame(at, dns(from, to, message)))
        .collect();
    let (seen, counters) = track_with(without_flows(), &frames);
    (seen.documents, counters)
}

fn without_flows() -> Settings {
    Settings {
        flows: None,
        ..settings()
    }
}

const A: &str = "198.18.0.2:40000";
const B: &str = "198.18.0.1:8053";

#[test]
fn a_query_and_its_answer_at_any_port_are_paired() {
    for (a, b) in [
        (A, B),
        ("[fd00::2]:40000", "[fd00::1]:53000"),
        ("198.18.0.2:53000", "198.18.0.1:500"),
    ] {
        let (documents, counters) = of(&[(a, b, QUERY), (b, a, &answer())]);
        assert_eq!(documents.len(), 1);
        let document = &documents[0];
        assert_eq!(document["network"]["protocol"], "dns");
        assert_eq!(document["dns"]["question"]["name"], "weir.example");
        assert_eq!(document["dns"]["resolved_ip"], json!(["198.18.9.9"]));
        assert_eq!(document["event"]["outcome"], "success");
        assert_eq!(document["event"]["duration"], MS);
        assert_eq!(
            document["destination"]["port"],
            b.rsplit(':').next().unwrap().parse::<u16>().unwrap()
        );
        assert_eq!(counters.losses().count(), 0);
    }
}

#[test]
fn an_answer_without_its_query_and_one_that_is_damaged() {
    let (documents, _) = of(&[(B, A, &answer()), (A, B, QUERY), (B, A, &answer()[..40])]);
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0]["weir"]["late_join"], true);
    assert_eq!(documents[0]["source"]["ip"], "198.18.0.2");
    assert_eq!(
        documents[1]["weir"]["anomalies"],
        json!(["malformed_response: answer"])
    );
}

#[test]
fn what_only_looks_like_dns_is_another_datagram() {
    let with = |place: usize, byte: u8| {
        let mut bytes = QUERY.to_vec();
        bytes[place] = byte;
        bytes
    };
    let others = [
        QUERY[..QUERY.len() - 1].to_vec(),
        [QUERY, &[0]].concat(),
        with(2, 0x29),  // an update
        with(2, 0x05),  // authoritative
        with(3, 0x03),  // a query with a failure
        with(3, 0x40),  // a bit that is always 0
        with(5, 2),     // two questions, and one is there
        with(7, 1),     // an answer, and none is there
        with(12, 0xc0), // a compressed name
        with(27, 0),    // no type
        with(29, 9),    // no class
        vec![0; 40],
        b"SIP/2.0 200 OK\r\n\r\n".to_vec(),
        vec![],
    ];
    for other in &others {
        let (documents, counters) = of(&[(A, B, other)]);
        assert_eq!((documents.len(), counters.other_datagrams), (0, 1), "{other:?}");
    }
    // NetBIOS has the same form, at its own port; and a port may be pinned to something else.
    let (documents, counters) = of(&[(A, "198.18.0.1:137", QUERY)]);
    assert_eq!((documents.len(), counters.other_datagrams), (0, 1));
}

#[test]
fn other_datagrams_on_a_flow_with_a_query_are_counted() {
    let (documents, counters) = of(&[
        (A, B, b"hello"),
        (A, B, QUERY),
        (B, A, &[7; 80]),
        (B, A, &answer()),
        (A, B, b"bye"),
    ]);
    assert_eq!((documents.len(), counters.other_datagrams), (1, 3));
    assert_eq!(documents[0]["event"]["outcome"], "success");
    // The same where the flow as a whole is told.
    let frames: Vec<_> = [(A, B, &b"hello"[..]), (A, B, QUERY), (B, A, &answer())]
        .iter()
        .zip(0..)
        .map(|((from, to, message), at)| frame(at, dns(from, to, message)))
        .collect();
    let (seen, _) = track(&frames);
    assert_eq!((seen.documents.len(), seen.flows.len()), (1, 1));
    assert_eq!(seen.flows[0]["network"]["protocol"], "dns");
    assert_eq!(seen.flows[0]["network"]["packets"], 3);
}

const GROUP: &str = "224.0.0.251:5353";

/// A question for the services of a kind; its class has the bit that wants an answer to the asker.
const SERVICES: &[u8] = b"\0\0\0\0\0\x01\0\x01\0\0\0\0\x05_http\x04_tcp\x05local\0\0\x0c\x80\x01\
    \xc0\x0c\0\x0c\0\x01\0\0\x11\x94\0\x04\x01x\xc0\x0c";
/// An answer; its class has the bit that puts it in the place of earlier ones.
const SERVICE: &[u8] = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x05_http\x04_tcp\x05local\0\0\x0c\x80\x01\
    \0\0\x11\x94\0\x04\x01y\xc0\x0c";

#[test]
fn multicast_dns_is_told_message_by_message() {
    let (documents, counters) = of(&[
        ("198.18.1.2:5353", GROUP, SERVICES),
        ("198.18.1.3:5353", GROUP, SERVICE),
        ("198.18.1.4:5353", GROUP, SERVICE),
        ("198.18.1.5:5353", "198.18.1.2:5353", SERVICE),
    ]);
    assert_eq!((documents.len(), counters.losses().count()), (4, 0));
    let query = &documents[0];
    assert_eq!(query["network"]["protocol"], "mdns");
    assert_eq!(query["event"]["outcome"], "unknown", "nobody must answer");
    assert_eq!(query.get("error"), None);
    assert_eq!(query["dns"]["type"], "query");
    let question = json!({"name": "_http._tcp.local", "type": "PTR", "class": "IN"});
    assert_eq!(query["dns"]["question"], question);
    assert_eq!(
        query["dns"].get("answers"),
        None,
        "what the asker knows is no answer"
    );
    assert_eq!(query["source"]["bytes"], SERVICES.len());
    for (place, sender) in ["198.18.1.3", "198.18.1.4", "198.18.1.5"].iter().enumerate() {
        let answer = &documents[place + 1];
        assert_eq!(answer["dns"]["type"], "answer");
        assert_eq!(answer["event"]["outcome"], "success");
        assert_eq!(answer["event"].get("duration"), None);
        assert_eq!(answer["source"]["ip"], *sender);
        assert_eq!(answer["source"]["bytes"], SERVICE.len());
        assert_eq!(answer["destination"].get("bytes"), None);
        assert_eq!(answer["dns"]["answers"][0]["class"], "IN");
        assert_eq!(answer["dns"]["header_flags"], json!(["AA"]));
        assert_eq!(answer["weir"].get("late_join"), None);
    }
}

#[test]
fn several_questions_of_multicast_dns_are_counted() {
    let mut two = SERVICES.to_vec();
    two[5] = 2;
    two[7] = 0;
    two.truncate(34);
    two.extend(b"\xc0\x0c\0\x10\0\x01");
    let (documents, _) = of(&[("[fe80::1]:5353", "[ff02::fb]:5353", &two)]);
    assert_eq!(
        documents[0]["weir"]["anomalies"],
        json!(["several_questions: 2, of which one at most is told"])
    );
}

#[test]
fn a_resolver_at_the_port_of_multicast_dns_is_one() {
    let server = "198.18.0.1:5353";
    let (documents, _) = of(&[(A, server, QUERY), (server, A, &answer())]);
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0]["network"]["protocol"], "dns");
    assert_eq!(documents[0]["event"]["outcome"], "success");
}

#[test]
fn link_local_names_have_flags_of_their_own() {
    let name = b"\0\x09\x01\0\0\x01\0\0\0\0\0\0\x02pc\0\0\x01\0\x01";
    let mut told = name.to_vec();
    told[2] = 0x84;
    told[7] = 1;
    told.extend(RECORD);
    let (documents, _) = of(&[
        ("198.18.1.2:50000", "224.0.0.252:5355", name),
        ("198.18.1.3:5355", "198.18.1.2:50000", &told),
    ]);
    assert_eq!(documents.len(), 2);
    let [query, answer] = &documents[..] else {
        unreachable!()
    };
    assert_eq!(query["network"]["protocol"], "llmnr");
    assert_eq!(query["event"]["outcome"], "unknown");
    assert_eq!(query["dns"]["header_flags"], json!(["T"]));
    assert_eq!(answer["dns"]["header_flags"], json!(["C"]));
    assert_eq!(answer["source"]["ip"], "198.18.1.3");
    assert_eq!(answer["dns"]["resolved_ip"], json!(["198.18.9.9"]));
}

#[test]
fn captures_of_names() {
    let documents = |name: &str| {
        let (seen, counters) = repro_counted(name);
        assert_eq!(counters.losses().count(), 0);
        seen.documents
    };
    let unicast = documents("dns-udp-8053.pcap");
    assert_eq!(unicast.len(), 1);
    assert_eq!(unicast[0]["destination"]["port"], 8053);
    assert_eq!(unicast[0]["dns"]["answers"][0]["data"], "198.18.9.9");
    let multicast = documents("mdns.pcap");
    let kinds: Vec<_> = multicast
        .iter()
        .map(|d| d["dns"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["query", "answer"]);
}
