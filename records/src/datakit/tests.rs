//! Hand-made documents and the points that they make.

mod bounds;

use super::*;
use crate::{
    Capture, Direction, Event, Flow, FlowEnd, Http, HttpRequest, HttpResponse, Outcome, Party, Progress,
    Reported, Sent, Url, WeirDns,
};
use std::net::SocketAddr;

const AT: Timestamp = Timestamp(1_700_000_060_000_000_000);

fn flow(direction: Direction, client: &str, server: &str) -> Flow {
    let (client, server): (SocketAddr, SocketAddr) = (client.parse().unwrap(), server.parse().unwrap());
    Flow {
        id: Flow::identify(None, client, server, Timestamp(0)),
        capture: Capture::Relay,
        mode: None,
        direction,
        client,
        server,
        opened: Timestamp(0),
        connect: None,
        host: Some("pod-1".into()),
        wrapping: None,
    }
}

fn incoming() -> Flow {
    flow(Direction::Ingress, "10.1.2.3:40000", "198.18.0.2:80")
}

fn outgoing() -> Flow {
    flow(Direction::Egress, "198.18.0.2:40000", "[fd00:198:18::9]:8080")
}

fn event(dataset: &'static str) -> Event {
    Event {
        id: crate::DocumentId(1),
        dataset,
        category: &["network"],
        kind: &["connection"],
        outcome: None,
        duration: Some(5),
        start: None,
        end: None,
    }
}

/// A request of so many bytes, its answer of so many, and its latency.
fn request(flow: &Flow, path: &str, bytes: (u64, u64), latency: u64) -> Document {
    let mut document = Document::of(flow, Timestamp(1), event("weir.http"), "tcp", "http");
    (document.source.bytes, document.destination.bytes) = (Some(bytes.0), Some(bytes.1));
    document.url = Some(Url {
        original: format!("{path}?page=2").into(),
        path: Some(path.into()),
        query: Some("page=2".into()),
        ..Url::default()
    });
    document.http = Some(Http {
        version: Some("1.1"),
        request: Some(HttpRequest {
            method: Some("GET".into()),
            ..HttpRequest::default()
        }),
        response: Some(HttpResponse {
            status_code: Some(200),
            ..HttpResponse::default()
        }),
    });
    document.weir.timing.ttfb = Some(latency);
    document
}

fn query(flow: &Flow, rcode: i32, latency: Option<u64>) -> Document {
    let mut document = Document::of(flow, Timestamp(1), event("weir.dns"), "udp", "dns");
    document.weir.dns = Some(WeirDns {
        rcode,
        ..WeirDns::default()
    });
    document.weir.timing.ttfb = latency;
    document.event.outcome = Some(Outcome::Failure);
    document
}

fn sent(bytes: u64, retransmits: u64, rtt: u64) -> Sent {
    Sent {
        bytes,
        packets: 1,
        retransmits: Some(retransmits),
        rtt: Some(rtt),
        rtt_variation: Some(rtt / 2),
        ..Sent::default()
    }
}

fn progress(source: Sent, destination: Sent) -> Progress {
    Progress {
        established: true,
        handshake: None,
        source,
        destination,
    }
}

fn aggregate<'a>(documents: impl IntoIterator<Item = &'a Document>) -> Aggregate {
    let mut aggregate = Aggregate::new(&Points::default());
    for document in documents {
        assert!(aggregate.add(document), "{document:?}");
    }
    aggregate
}

/// All points of a measurement, a line each.
fn lines(aggregate: &mut Aggregate, measurement: Measurement) -> Vec<String> {
    let mut text = Vec::new();
    for point in aggregate.drain(measurement, AT) {
        point.write(&mut text);
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().map(ToOwned::to_owned).collect()
}

const INCOMING: &str = "client_ip=10.1.2.3,client_ip_type=private,client_port=*,direction=incoming,\
    dst_ip=10.1.2.3,dst_ip_type=private,dst_port=*,family=IPv4,host=pod-1,\
    server_ip=198.18.0.2,server_ip_type=other,server_port=80";
const INCOMING_SRC: &str = "src_ip=198.18.0.2,src_ip_type=other,src_port=80,sub_source=N/A,transport=tcp";

#[test]
fn requests_are_summed_up_by_what_they_asked_and_how_they_were_answered() {
    let asked = incoming();
    let mut other = request(&asked, "/b", (7, 8), 100);
    other.http.as_mut().unwrap().response = None;
    other.weir.timing.ttfb = None;
    let mut aggregate = aggregate([
        &request(&asked, "/a", (10, 1000), 2_000),
        &request(&asked, "/a", (30, 3000), 5_000),
        &other,
    ]);
    assert_eq!(aggregate.documents(), 3);
    assert_eq!(
        lines(&mut aggregate, Measurement::Httpflow),
        [
            format!(
                "httpflow,{INCOMING},source=httpflow,{INCOMING_SRC} bytes_read=40i,bytes_written=4000i,count=2i,\
                 http_version=\"1.1\",latency=3500i,method=\"GET\",path=\"/a\",status_code=200i,truncated=F \
                 1700000060000000000"
            ),
            format!(
                "httpflow,{INCOMING},source=httpflow,{INCOMING_SRC} bytes_read=7i,bytes_written=8i,count=1i,\
                 http_version=\"1.1\",method=\"GET\",path=\"/b\",truncated=F 1700000060000000001"
            )
        ]
    );
    assert!(aggregate.is_empty());
    assert!(lines(&mut aggregate, Measurement::Httpflow).is_empty());
}

#[test]
fn the_observed_side_is_src_and_what_it_sends_is_written() {
    let mut calls = outgoing();
    let mut asked = request(&calls, "/", (10, 1000), 1);
    asked.destination.domain = Some("shop.test".into());
    let line = lines(&mut aggregate([&asked]), Measurement::Httpflow).remove(0);
    assert_eq!(
        line.split(' ').next().unwrap(),
        "httpflow,client_ip=198.18.0.2,client_ip_type=other,client_port=*,direction=outgoing,dst_domain=shop.test,\
         dst_ip=fd00:198:18::9,dst_ip_type=private,dst_port=8080,family=IPv6,host=pod-1,server_domain=shop.test,\
         server_ip=fd00:198:18::9,server_ip_type=private,server_port=8080,source=httpflow,\
         src_ip=198.18.0.2,src_ip_type=other,src_port=*,sub_source=N/A,transport=tcp"
    );
    assert!(line.contains(" bytes_read=1000i,bytes_written=10i,"), "{line}");

    calls.direction = Direction::Unknown;
    let line = lines(
        &mut aggregate([&request(&calls, "/", (10, 1000), 1)]),
        Measurement::Httpflow,
    )
    .remove(0);
    assert!(!line.contains("direction="), "{line}");
    assert!(
        line.contains("src_ip=198.18.0.2,") && line.contains("bytes_written=10i"),
        "{line}"
    );

    let mut served = request(&incoming(), "/", (10, 1000), 1);
    served.destination.domain = Some("shop.test".into());
    let line = lines(&mut aggregate([&served]), Measurement::Httpflow).remove(0);
    assert!(
        line.contains(",server_domain=shop.test,") && !line.contains("dst_domain"),
        "the caller's name is not known: {line}"
    );
}

#[test]
fn connections_are_summed_up_over_their_periods() {
    let flow = incoming();
    let mut reported = Reported::new(Timestamp(0));
    let first = reported.next(
        Timestamp(60),
        progress(sent(100, 9, 1), sent(1000, 2, 4_000)),
        "tcp",
    );
    let mut last = reported.next(
        Timestamp(90),
        progress(sent(150, 9, 1), sent(1001, 5, 8_000)),
        "tcp",
    );
    last.end = Some(FlowEnd::Finished(Some(Party::Source)));
    let documents = [first.document(&flow), last.document(&flow)];
    assert_eq!(
        lines(&mut aggregate(&documents), Measurement::Netflow),
        [format!(
            "netflow,{INCOMING},source=netflow,{INCOMING_SRC} bytes_read=150i,bytes_written=1001i,retransmits=5i,\
             rtt=6i,rtt_var=3i,tcp_closed=1i,tcp_established=1i 1700000060000000000"
        )]
    );
    let mut out = outgoing();
    out.server = "198.18.0.7:80".parse().unwrap();
    let line = lines(&mut aggregate([&last.document(&out)]), Measurement::Netflow).remove(0);
    assert!(
        line.ends_with(
            " bytes_read=1i,bytes_written=50i,retransmits=0i,rtt=0i,rtt_var=0i,tcp_closed=1i,tcp_established=0i \
             1700000060000000000"
        ),
        "of the client's side: {line}"
    );
}

#[test]
fn only_what_was_open_is_closed_and_what_is_not_known_is_left_out() {
    for (end, closed) in [
        (Some(FlowEnd::Finished(None)), 1),
        (Some(FlowEnd::Reset(Party::Source)), 1),
        (Some(FlowEnd::Refused), 0),
        (Some(FlowEnd::Unanswered), 0),
        (Some(FlowEnd::Idle), 0),
        (Some(FlowEnd::Unobserved), 0),
        (None, 0),
    ] {
        let mut reported = Reported::new(Timestamp(0));
        let mut report = reported.next(Timestamp(1), progress(Sent::default(), Sent::default()), "tcp");
        report.end = end;
        report.late = true;
        let line = lines(
            &mut aggregate([&report.document(&incoming())]),
            Measurement::Netflow,
        )
        .remove(0);
        let fields = format!(" bytes_read=0i,bytes_written=0i,tcp_closed={closed}i,tcp_established=0i ");
        assert!(line.contains(&fields), "{end:?}: {line}");
    }
    let mut reported = Reported::new(Timestamp(0));
    let report = reported.next(Timestamp(1), progress(sent(1, 0, 0), sent(2, 0, 0)), "udp");
    let line = lines(
        &mut aggregate([&report.document(&incoming())]),
        Measurement::Netflow,
    )
    .remove(0);
    assert!(
        line.contains(",transport=udp bytes_read=1i,bytes_written=2i 17"),
        "{line}"
    );
}

#[test]
fn queries_are_summed_up_by_their_answer() {
    let asks = flow(Direction::Egress, "198.18.0.2:5353", "224.0.0.251:53");
    let mut unknown = query(&asks, -1, None);
    unknown.event.outcome = Some(Outcome::Unknown);
    let mut aggregate = aggregate([
        &query(&asks, 0, Some(1_000)),
        &query(&asks, 0, Some(4_000)),
        &query(&asks, 3, Some(7)),
        &query(&asks, -1, None),
    ]);
    assert!(!aggregate.add(&unknown), "nobody knows whether an answer came");
    let mut late = query(&asks, 0, None);
    if let Some(dns) = &mut late.weir.dns {
        dns.again = true;
    }
    assert!(!aggregate.add(&late), "the query has been counted");
    let tags = "dnsflow,client_ip=198.18.0.2,client_ip_type=other,client_port=5353,direction=outgoing,\
        dst_ip=224.0.0.251,dst_ip_type=multicast,dst_port=53,family=IPv4,host=pod-1,server_ip=224.0.0.251,\
        server_ip_type=multicast,server_port=53,source=dnsflow,src_ip=198.18.0.2,src_ip_type=other,src_port=5353,\
        sub_source=N/A,transport=udp";
    assert_eq!(
        lines(&mut aggregate, Measurement::Dnsflow),
        [
            format!("{tags} count=1i,rcode=-1i 1700000060000000000"),
            format!("{tags} count=2i,latency=2500i,latency_max=4000i,rcode=0i 1700000060000000001"),
            format!("{tags} count=1i,latency=7i,latency_max=7i,rcode=3i 1700000060000000002"),
        ]
    );
}

#[test]
fn a_bucket_s_first_document_is_read_the_right_way_round() {
    let one = request(&incoming(), "/", (1, 20), 1);
    for count in 1..4_u64 {
        let line = lines(
            &mut aggregate(std::iter::repeat_n(&one, count as usize)),
            Measurement::Httpflow,
        )
        .remove(0);
        let fields = format!("bytes_read={count}i,bytes_written={}i,count={count}i", 20 * count);
        assert!(line.contains(&fields), "{line}");
    }
}

#[test]
fn the_type_of_a_server_that_is_called_is_its_own() {
    for (client, server, types) in [
        ("10.0.0.1:1", "198.18.0.2:80", ["private", "other"]),
        ("198.18.0.1:1", "192.168.0.2:80", ["other", "private"]),
        ("127.0.0.1:1", "172.16.0.1:80", ["loopback", "private"]),
        ("[::1]:1", "[ff02::1]:80", ["loopback", "multicast"]),
        (
            "[::ffff:10.0.0.1]:1",
            "[::ffff:198.18.0.1]:80",
            ["private", "other"],
        ),
    ] {
        let flow = flow(Direction::Ingress, client, server);
        let line = lines(
            &mut aggregate([&request(&flow, "/", (1, 1), 1)]),
            Measurement::Httpflow,
        )
        .remove(0);
        for (tag, kind) in [
            ("client_ip_type", types[0]),
            ("dst_ip_type", types[0]),
            ("server_ip_type", types[1]),
            ("src_ip_type", types[1]),
        ] {
            assert!(line.contains(&format!(",{tag}={kind},")), "{tag} of {line}");
        }
    }
}

#[test]
fn the_longest_latency_of_one_query_is_its_own() {
    let asks = flow(Direction::Egress, "198.18.0.2:5353", "198.18.0.53:53");
    let line = lines(&mut aggregate([&query(&asks, 0, Some(9))]), Measurement::Dnsflow).remove(0);
    assert!(
        line.contains(" count=1i,latency=9i,latency_max=9i,rcode=0i "),
        "{line}"
    );
}

#[test]
fn a_path_that_is_not_all_there_says_so() {
    let long = format!("/{}", "ä".repeat(1000));
    let cut_before = |path: &str| {
        let mut document = request(&incoming(), path, (1, 1), 1);
        document.weir.original_sizes.insert("url.path".into(), 70_000);
        document
    };
    for (document, path, truncated) in [
        (request(&incoming(), "/a", (1, 1), 1), "/a", 'F'),
        (cut_before("/a"), "/a", 'T'),
        (request(&incoming(), &long, (1, 1), 1), &long[..1023], 'T'),
    ] {
        let line = lines(&mut aggregate([&document]), Measurement::Httpflow).remove(0);
        assert!(line.contains(&format!("path=\"{path}\"")), "{line}");
        assert!(line.contains(&format!(",truncated={truncated} ")), "{line}");
    }
}

#[test]
fn what_has_no_place_here_is_left_out() {
    let mut aggregate = aggregate([]);
    let within = flow(Direction::Ingress, "127.0.0.1:40000", "[::1]:80");
    assert!(!aggregate.add(&request(&within, "/", (1, 1), 1)));
    let tls = Document::of(&incoming(), Timestamp(1), event("weir.tls"), "tcp", "tls");
    assert!(!aggregate.add(&tls));
    assert!(aggregate.is_empty());
}

#[test]
fn a_client_s_port_counts_only_below_the_ephemeral_ones() {
    for (port, written) in [(10_000, "10000"), (10_001, "*"), (65_535, "*")] {
        let flow = flow(
            Direction::Egress,
            &format!("198.18.0.1:{port}"),
            "198.18.0.2:20000",
        );
        let line = lines(
            &mut aggregate([&request(&flow, "/", (1, 1), 1)]),
            Measurement::Httpflow,
        )
        .remove(0);
        for tag in [
            format!(",client_port={written},"),
            format!(",src_port={written},"),
            ",server_port=20000,".into(),
        ] {
            assert!(line.contains(&tag), "{tag} in {line}");
        }
    }
}
