//! Documents for tests.

use crate::{
    batch::{Batch, Doc, Pushed},
    queue::{Next, queue},
    stats::Counters,
};
use std::{net::Ipv4Addr, sync::Arc};
use weir_config::Layout;
use weir_records::{
    Capture, Direction, Document, DocumentId, Endpoint, Event, Http, HttpRequest, HttpResponse, Network,
    Timestamp, Url, Weir,
};

/// The `number`th document: each has its own id, and is a second younger than the one before.
pub(crate) fn document(number: u64) -> Document {
    let endpoint = |last, port| Endpoint {
        ip: Ipv4Addr::new(198, 18, 0, last).into(),
        port,
        bytes: Some(number),
        packets: None,
        domain: None,
    };
    Document {
        timestamp: Timestamp(1_700_000_000_123_456_789 + number * 1_000_000_000),
        event: Event {
            id: DocumentId::of(&number),
            dataset: "weir.http",
            category: &["network", "web"],
            kind: &["connection", "protocol", "access"],
            outcome: None,
            duration: Some(1_234_567),
            start: None,
            end: None,
        },
        network: Network {
            transport: "tcp",
            kind: "ipv4",
            protocol: Some("http"),
            direction: Direction::Ingress,
            bytes: None,
            packets: None,
            vlan: None,
            inner: None,
        },
        source: endpoint(1, 40_000),
        destination: endpoint(2, 80),
        client: None,
        server: None,
        host: None,
        url: Some(Url {
            original: format!("/{number}").into(),
            path: Some(format!("/{number}").into()),
            domain: Some("shop.test".into()),
            ..Url::default()
        }),
        http: Some(Http {
            version: Some("1.1"),
            request: Some(HttpRequest {
                method: Some("GET".into()),
                ..HttpRequest::default()
            }),
            response: Some(HttpResponse {
                status_code: Some(200),
                ..HttpResponse::default()
            }),
        }),
        dns: None,
        tls: None,
        websocket: None,
        rpc: None,
        dubbo: None,
        user_agent: None,
        error: None,
        weir: Weir {
            capture: Capture::Relay,
            mode: Some("redirect"),
            flow_id: DocumentId(number.into()),
            state: None,
            final_id: None,
            late_join: false,
            truncated: false,
            original_sizes: std::collections::BTreeMap::new(),
            anomalies: Vec::new(),
            base64: Vec::new(),
            tunnel: weir_records::Tunnels::default(),
            tunnel_id: Box::default(),
            preface: Vec::new(),
            proxy: None,
            socks: None,
            dns: None,
            dubbo: None,
            flow: None,
            http2: None,
            timing: weir_records::Timing::default(),
        },
    }
}

/// Documents as a sink gets them, `per_batch` in each batch.
pub(crate) fn docs(numbers: std::ops::Range<u64>, per_batch: usize) -> Vec<Doc> {
    docs_in(Layout::Ecs, numbers, per_batch)
}

/// The same in this layout.
pub(crate) fn docs_in(layout: Layout, numbers: std::ops::Range<u64>, per_batch: usize) -> Vec<Doc> {
    let (inlet, outlet) = queue(usize::MAX, Arc::new(Counters::default()));
    let numbers: Vec<u64> = numbers.collect();
    for chunk in numbers.chunks(per_batch) {
        let mut batch = Batch::of(layout);
        for number in chunk {
            assert_eq!(batch.push(&document(*number)), Pushed::Taken);
        }
        inlet.offer(&Arc::new(batch.take()));
    }
    let mut docs = Vec::new();
    while let Next::Batch(lease) = outlet.next_now() {
        docs.extend(Doc::all(lease));
    }
    docs
}

/// All lines as one text.
pub(crate) fn text(docs: &[Doc]) -> Vec<u8> {
    docs.iter().flat_map(|doc| doc.line().iter().copied()).collect()
}

/// Puts a file system of so many KiB there, in a mount namespace of the calling thread's own, which threads that it
/// starts inherit. False without the privilege.
pub(crate) fn tiny_disk(directory: &std::path::Path, kibibytes: u32) -> bool {
    use nix::mount::{MsFlags, mount};
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_err() {
        return false;
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let size = format!("size={kibibytes}k");
    mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(size.as_str()),
    )
    .unwrap();
    true
}
