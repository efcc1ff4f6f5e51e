//! Requests in layout `datakit`.

use crate::support::*;
use weir_config::{Points, Records};
use weir_records::{
    Policy, Timestamp,
    datakit::{Aggregate, Measurement},
};

/// What follows the tags of each point.
fn points(seen: &Observer) -> Vec<String> {
    let policy = Policy::new(&Records::default());
    let mut sums = Aggregate::new(&Points::default());
    for exchange in &seen.exchanges {
        assert!(sums.add(&exchange.document(&flow(), &policy)));
    }
    let line = |point: &weir_records::datakit::Point| {
        let mut line = Vec::new();
        point.write(&mut line);
        let line = String::from_utf8(line).unwrap();
        line.split_once(' ').unwrap().1.trim_end().to_owned()
    };
    let points = sums.drain(Measurement::Httpflow, Timestamp(60));
    points.iter().map(line).collect()
}

#[test]
fn pipelined_requests_count_each() {
    let asked =
        ["/a?1", "/b", "/a?2", "/a?3"].map(|target| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
    let answered =
        [200, 404, 200, 200].map(|status| format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
    let bytes = |texts: &[&String]| texts.iter().map(|text| text.len()).sum::<usize>();
    // All in one segment, and all the answers in one.
    let seen = Observer::new().steps(&[client(asked.concat()), server(answered.concat())]);
    let latency = |point: &str| -> u64 {
        let value = point.split_once("latency=").unwrap().1;
        value.split_once('i').unwrap().0.parse().unwrap()
    };
    let found = points(&seen);
    let expected = [
        (
            "/a",
            200,
            3,
            bytes(&[&asked[0], &asked[2], &asked[3]]),
            bytes(&[&answered[0], &answered[2], &answered[3]]),
            60,
        ),
        ("/b", 404, 1, asked[1].len(), answered[1].len(), 61),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (point, (path, status, count, read, written, time)) in found.iter().zip(expected) {
        let latency = latency(point);
        assert_eq!(
            *point,
            format!(
                "bytes_read={read}i,bytes_written={written}i,count={count}i,http_version=\"1.1\",latency={latency}i,\
                 method=\"GET\",path=\"{path}\",status_code={status}i,truncated=F {time}"
            )
        );
    }
}
