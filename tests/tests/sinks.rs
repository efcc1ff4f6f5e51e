//! The Elasticsearch sink against real servers: what was queued arrives, once, whatever the server does, and the
//! counters add up.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests end where something is not as it should be.

use serde_json::json;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::OnceLock,
    time::{Duration, Instant},
};
use weir_config::{Bytes, Elasticsearch, Period, Secret, Sink};
use weir_export::{Pipeline, Producer, SinkStats};
use weir_records::{
    Capture, Direction, Document, DocumentId, Endpoint, Event, Http, HttpRequest, HttpResponse, Network,
    Timestamp, Url, Weir,
};
use weir_tests::search::{Certificate, Kind, Proxy, Server};

/// Longest wait for anything; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a test needs, or the name of the test and why it is skipped. In CI nothing is skipped.
macro_rules! need {
    ($test:literal, $made:expr) => {
        match $made {
            Ok(made) => made,
            Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                panic!("{}: {reason:#}", $test)
            }
            Err(reason) => return eprintln!("SKIPPED {}: {reason:#}", $test),
        }
    };
}

/// The server that most tests share, each with an index of its own.
fn shared() -> anyhow::Result<&'static Server> {
    static SHARED: OnceLock<anyhow::Result<Server>> = OnceLock::new();
    let started = SHARED.get_or_init(|| Server::started(Kind::Elasticsearch7, &[]));
    started.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// The `number`th document; those that are answered have a response.
fn document(number: u64, answered: bool) -> Document {
    let endpoint = |last, port| Endpoint {
        ip: Ipv4Addr::new(198, 18, 0, last).into(),
        port,
        bytes: Some(number),
        packets: None,
        domain: None,
    };
    let headers = [(format!("x-number-{number}"), number.to_string())]
        .into_iter()
        .collect();
    Document {
        timestamp: Timestamp(1_700_000_000_123_456_789 + number),
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
            ..Url::default()
        }),
        http: Some(Http {
            version: Some("1.1"),
            request: Some(HttpRequest {
                method: Some("GET".into()),
                headers,
                ..HttpRequest::default()
            }),
            response: answered.then(|| HttpResponse {
                status_code: Some(200 + u16::try_from(number % 2).unwrap()),
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
            flow_id: DocumentId(1),
            state: None,
            final_id: None,
            late_join: false,
            truncated: false,
            original_sizes: BTreeMap::new(),
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

fn settings(url: &str, index: &str) -> Elasticsearch {
    let mut settings = Elasticsearch::at(url).unwrap();
    settings.index = Some(index.into());
    settings.flush_interval = Period(Duration::from_millis(20));
    settings
}

/// A pipeline with one sink.
struct Export {
    pipeline: Pipeline,
    producer: Producer,
}

impl Export {
    fn start(settings: Elasticsearch) -> Self {
        let pipeline = Pipeline::start(&[Sink::Elasticsearch(settings)]).unwrap();
        let producer = pipeline.producer();
        Self { pipeline, producer }
    }

    fn push(&mut self, numbers: std::ops::Range<u64>) {
        numbers.for_each(|number| self.producer.push(&document(number, true)));
        self.producer.flush();
    }

    fn stats(&self) -> SinkStats {
        self.pipeline.stats().snapshot().remove(0)
    }

    fn wait_until(&self, done: impl Fn(&SinkStats) -> bool) -> SinkStats {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.stats();
            if done(&now) {
                return now;
            }
            assert!(Instant::now() < end, "waited in vain: {now:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it. The counters must add up then, with nothing left.
    fn end(self, patience: Duration) -> SinkStats {
        drop(self.producer);
        let stats = self.pipeline.stats();
        self.pipeline.shutdown(patience);
        let end = stats.snapshot().remove(0);
        let lost = end.dropped.get("shutdown").unwrap_or(&0);
        assert_eq!(end.waiting, 0, "{end:?}");
        assert_eq!(end.queued, end.sent + end.rejected + lost, "{end:?}");
        end
    }
}

/// What the counters say where nothing went wrong for good.
fn all_sent(url: &str, documents: u64, retries: u64) -> SinkStats {
    SinkStats {
        sink: "elasticsearch".into(),
        target: url.into(),
        queued: documents,
        sent: documents,
        retries,
        ..SinkStats::default()
    }
}

/// What everybody wants of it, on any server.
fn documents_are_found(server: &Server) {
    let index = "found";
    let mut export = Export::start(settings(&server.url(), index));
    export.push(0..200);
    // Longer than a term may be.
    let mut long = document(200, true);
    long.url.as_mut().unwrap().path = Some("/long".repeat(10_000).into());
    export.producer.push(&long);
    // Bodies as large as they may be: words, and base64, which is one long word.
    let mut bodies = document(201, true);
    let http = bodies.http.as_mut().unwrap();
    let words = format!("{} needle", "some hay ".repeat((1 << 20) / 9));
    http.request.as_mut().unwrap().body.content = Some(words.clone());
    http.response.as_mut().unwrap().body.content = Some("QUJD".repeat((1 << 20) / 3));
    bodies.weir.base64 = vec!["http.response.body.content"];
    export.producer.push(&bodies);
    assert_eq!(export.end(PATIENCE), all_sent(&server.url(), 202, 0));

    let word = json!({"query": {"match": {"http.request.body.content": "needle"}}});
    let found = server.search(index, &word).unwrap();
    assert_eq!(found["hits"]["total"]["value"], 1);
    let source = &found["hits"]["hits"][0]["_source"];
    assert!(
        source["http"]["request"]["body"]["content"] == words,
        "the body was changed"
    );

    let query = json!({"query": {"bool": {"filter": [
        {"term": {"url.path": "/7"}}, {"term": {"http.response.status_code": 201}}, {"term": {"source.ip": "198.18.0.0/15"}},
    ]}}});
    let found = server.search(index, &query).unwrap();
    assert_eq!(found["hits"]["total"]["value"], 1, "{found}");
    let hit = &found["hits"]["hits"][0];
    assert_eq!(
        hit["_source"],
        serde_json::to_value(document(7, true)).unwrap(),
        "just as it was exported"
    );
    assert_eq!(hit["_id"], hit["_source"]["event"]["id"]);

    let newest =
        json!({"size": 1, "sort": [{"@timestamp": "desc"}], "query": {"match": {"url.path.text": "199"}}});
    let newest = server.search(index, &newest).unwrap();
    assert_eq!(
        newest["hits"]["hits"][0]["_source"]["url"]["path"], "/199",
        "{newest}"
    );

    let template = server.get(&format!("/_index_template/{index}")).unwrap().body;
    let installed = &template["index_templates"][0]["index_template"];
    assert_eq!(installed["index_patterns"], json!([index]), "{template}");
    let mapping = server.get(&format!("/{index}/_mapping")).unwrap().body;
    let properties = &mapping[index]["mappings"]["properties"];
    assert_eq!(properties["@timestamp"]["type"], "date_nanos");
    assert_eq!(
        properties["http"]["properties"]["request"]["properties"]["headers"],
        json!({"type": "object", "enabled": false}),
        "200 different headers have not grown the mapping"
    );

    // The same again overwrites itself.
    let mut export = Export::start(settings(&server.url(), index));
    export.push(100..300);
    assert_eq!(export.end(PATIENCE), all_sent(&server.url(), 200, 0));
    assert_eq!(server.count(index).unwrap(), 300);
}

#[test]
fn documents_are_found_in_elasticsearch() {
    documents_are_found(need!("documents_are_found_in_elasticsearch", shared()));
}

#[test]
fn documents_are_found_in_opensearch() {
    let server = need!(
        "documents_are_found_in_opensearch",
        Server::started(Kind::OpenSearch2, &[])
    );
    documents_are_found(&server);
}

#[test]
fn a_field_that_conflicts_rejects_only_its_documents() {
    let server = need!("a_field_that_conflicts_rejects_only_its_documents", shared());
    let status = json!({"properties": {"status_code": {"type": "ip"}}});
    let mapping = json!({"properties": {"http": {"properties": {"response": status}}}});
    server.put("/conflict", &json!({"mappings": mapping})).unwrap();
    let mut export = Export::start(settings(&server.url(), "conflict"));
    for number in 0..90 {
        export.producer.push(&document(number, number % 3 == 0));
    }
    let expected = SinkStats {
        sent: 60,
        rejected: 30,
        ..all_sent(&server.url(), 90, 0)
    };
    assert_eq!(export.end(PATIENCE), expected);
    assert_eq!(server.count("conflict").unwrap(), 60);
}

#[test]
fn an_index_that_is_blocked_holds_documents_until_it_is_writable() {
    let server = need!(
        "an_index_that_is_blocked_holds_documents_until_it_is_writable",
        shared()
    );
    server.put("/blocked", &json!({})).unwrap();
    let mut export = Export::start(settings(&server.url(), "blocked"));
    let mut sent = 0;
    // What a full disk does (429 for each document), and what an administrator does (403).
    for block in ["read_only_allow_delete", "write"] {
        let block = format!("index.blocks.{block}");
        server.put("/blocked/_settings", &json!({&block: true})).unwrap();
        export.push(sent..sent + 50);
        let refused = export.wait_until(|now| now.failing.is_some());
        assert!(
            refused
                .failing
                .as_ref()
                .unwrap()
                .contains("cluster_block_exception"),
            "{refused:?}"
        );
        assert_eq!((refused.sent, refused.waiting, refused.rejected), (sent, 50, 0));
        server.put("/blocked/_settings", &json!({&block: null})).unwrap();
        sent += 50;
        export.wait_until(|now| now.sent == sent);
    }
    let end = export.end(PATIENCE);
    assert!(end.retries >= 2);
    assert_eq!(end, all_sent(&server.url(), 100, end.retries));
    assert_eq!(server.count("blocked").unwrap(), 100);
}

#[test]
fn a_server_that_takes_only_little_at_once_gets_everything() {
    // Each refuses a whole request: with 413 where it is larger, with 429 where its documents take more memory.
    let limits = [
        "http.max_content_length=8kb",
        "indexing_pressure.memory.limit=6kb",
    ];
    let server = need!(
        "a_server_that_takes_only_little_at_once_gets_everything",
        Server::started(Kind::Elasticsearch7, &limits)
    );
    // The template itself is larger than 8 KiB.
    let mut little = settings(&server.url(), "little");
    little.template = false;
    let mut export = Export::start(little);
    export.push(0..150);
    let end = export.end(PATIENCE);
    assert!(end.retries >= 2, "{end:?}");
    assert_eq!(end, all_sent(&server.url(), 150, end.retries));
    assert_eq!(server.count("little").unwrap(), 150);
    let nodes = server.get("/_nodes/stats/indexing_pressure").unwrap().body;
    let node = nodes["nodes"].as_object().unwrap().values().next().unwrap();
    let refused = &node["indexing_pressure"]["memory"]["total"]["coordinating_rejections"];
    assert!(refused.as_u64().unwrap() > 0, "{node}");
}

#[test]
fn nothing_that_is_queued_is_lost_while_the_server_is_down() {
    let mut server = need!(
        "nothing_that_is_queued_is_lost_while_the_server_is_down",
        Server::new(Kind::Elasticsearch7, &[])
    );
    let mut export = Export::start(settings(&server.url(), "down"));
    export.push(0..1000);
    let down = export.wait_until(|now| now.failing.is_some());
    assert!(
        down.failing.as_ref().unwrap().contains("Connection refused"),
        "{down:?}"
    );
    assert_eq!((down.sent, down.waiting), (0, 1000));
    need!(
        "nothing_that_is_queued_is_lost_while_the_server_is_down",
        server.start()
    );
    export.wait_until(|now| now.sent == 1000);
    let template = server.get("/_index_template/down").unwrap();
    assert_eq!(template.status, 200, "installed before the first document");

    // It crashes while documents come and go.
    for start in (1000..3000).step_by(100) {
        export.push(start..start + 100);
        if start == 2000 {
            export.wait_until(|now| now.sent > 1000);
            server.crash().unwrap();
        }
    }
    export.wait_until(|now| now.failing.is_some());
    server.start().unwrap();
    export.wait_until(|now| now.sent == 3000);
    assert_eq!(server.count("down").unwrap(), 3000);
    let end = export.end(PATIENCE);
    assert_eq!(end, all_sent(&server.url(), 3000, end.retries));
}

#[test]
fn what_a_full_queue_refuses_is_counted() {
    // Nobody listens there.
    let url = format!("http://127.0.0.1:{}", weir_tests::search::free_port().unwrap());
    let mut small = settings(&url, "full");
    small.queue_bytes = Bytes(200 << 10);
    let mut export = Export::start(small);
    export.push(0..2000);
    let full = export.stats();
    let refused = full.dropped["queue_full"];
    assert_eq!(full.queued + refused, 2000);
    assert!(full.queued > 100 && refused > 1000, "{full:?}");
    assert_eq!(full.waiting, full.queued);
    let end = export.end(Duration::ZERO);
    assert_eq!((end.sent, end.dropped["shutdown"]), (0, full.queued));
    assert_eq!(end.dropped["queue_full"], refused);
}

#[test]
fn users_are_known_by_their_password() {
    let server = need!("users_are_known_by_their_password", shared());
    // `weir:p@ss:word`
    let proxy = Proxy::start(server.port(), "Basic d2VpcjpwQHNzOndvcmQ=", None);
    let proxy = need!("users_are_known_by_their_password", proxy);
    let mut export = Export::start(settings(
        &format!("http://weir:p%40ss%3Aword@{}", proxy.authority()),
        "password",
    ));
    export.push(0..10);
    let url = format!("http://{}", proxy.authority());
    assert_eq!(
        export.end(PATIENCE),
        all_sent(&url, 10, 0),
        "and the counters show no password"
    );
    assert_eq!(server.count("password").unwrap(), 10);

    let mut export = Export::start(settings(&url.replace("//", "//weir:wrong@"), "password"));
    export.push(10..20);
    let refused = export.wait_until(|now| now.failing.is_some());
    let reason = refused.failing.unwrap();
    assert!(reason.contains("401") && !reason.contains("wrong"), "{reason}");
    let end = export.end(Duration::ZERO);
    assert_eq!((end.queued, end.sent, end.dropped["shutdown"]), (10, 0, 10));
    assert_eq!(server.count("password").unwrap(), 10);
}

#[test]
fn a_server_is_trusted_by_its_certificate_and_trusts_the_key() {
    let server = need!(
        "a_server_is_trusted_by_its_certificate_and_trusts_the_key",
        shared()
    );
    let certificate = need!(
        "a_server_is_trusted_by_its_certificate_and_trusts_the_key",
        Certificate::new()
    );
    let proxy = Proxy::start(server.port(), "ApiKey a2V5OnNlY3JldA==", Some(&certificate));
    let proxy = need!("a_server_is_trusted_by_its_certificate_and_trusts_the_key", proxy);
    let url = format!("https://{}", proxy.authority());
    let mut secure = settings(&url, "secure");
    secure.api_key = Some(Secret("a2V5OnNlY3JldA==".into()));
    secure.ca_file = Some(certificate.authority());
    let mut export = Export::start(secure.clone());
    export.push(0..10);
    assert_eq!(export.end(PATIENCE), all_sent(&url, 10, 0));
    assert_eq!(server.count("secure").unwrap(), 10);

    // Another authority's certificate is none.
    let other = Certificate::new().unwrap();
    secure.ca_file = Some(other.authority());
    let mut export = Export::start(secure);
    export.push(10..20);
    let refused = export.wait_until(|now| now.failing.is_some());
    assert!(
        refused.failing.as_ref().unwrap().contains("certificate"),
        "{refused:?}"
    );
    assert_eq!(export.end(Duration::ZERO).sent, 0);
    assert_eq!(server.count("secure").unwrap(), 10);
}
