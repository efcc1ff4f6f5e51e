//! Two layouts of the same documents in real search servers: none is rejected, each is found as its users look for it, and
//! neither sink knows of the other. And the points of a third, added up.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Tests end where something is not as it should be.

#[path = "layouts/made.rs"]
mod made;
#[path = "layouts/points.rs"]
mod points;

use made::{EACH, START, call, documents, frame, get};
use serde_json::{Value, json};
use std::{sync::OnceLock, time::Duration};
use weir_config::{Elasticsearch, Layout, Period, Sink};
use weir_export::{Pipeline, SinkStats};
use weir_lab::{Lab, skip_unless_root};
use weir_records::Document;
use weir_tests::{
    peer::{converse, listen, pair},
    search::{Kind, Server, request},
    weir::{Sidecar, install, wait_for},
};

/// Longest wait for anything; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// The server, or nothing where it can't be had. In CI nothing is skipped.
fn needed(test: &str, server: anyhow::Result<Server>) -> Option<Server> {
    match server {
        Ok(server) => Some(server),
        Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{test}: {reason:#}"),
        Err(reason) => {
            eprintln!("SKIPPED {test}: {reason:#}");
            None
        }
    }
}

/// The server that the tests of Elasticsearch share.
fn elasticsearch(test: &str) -> Option<&'static Server> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    let server = SHARED.get_or_init(|| needed(test, Server::started(Kind::Elasticsearch7, &[])));
    if server.is_none() {
        eprintln!("SKIPPED {test}");
    }
    server.as_ref()
}

fn settings(server: &Server, layout: Layout, index: Option<&str>) -> Elasticsearch {
    let mut settings = Elasticsearch::at(&server.url()).unwrap();
    settings.layout = layout;
    settings.index = index.map(ToOwned::to_owned);
    settings.flush_interval = Period(Duration::from_millis(20));
    settings
}

/// Everything delivered to these sinks.
fn exported(sinks: impl IntoIterator<Item = Elasticsearch>, documents: &[Document]) -> Vec<SinkStats> {
    let sinks: Vec<_> = sinks.into_iter().map(Sink::Elasticsearch).collect();
    let pipeline = Pipeline::start(&sinks).unwrap();
    let mut producer = pipeline.producer();
    documents.iter().for_each(|document| producer.push(document));
    drop(producer);
    let stats = pipeline.stats();
    pipeline.shutdown(PATIENCE);
    stats.snapshot()
}

fn all_sent(server: &Server, layout: Layout) -> SinkStats {
    let left_out = if layout == Layout::Pipy { EACH } else { 0 };
    SinkStats {
        sink: "elasticsearch".into(),
        target: server.url(),
        layout,
        left_out,
        queued: 3 * EACH - left_out,
        sent: 3 * EACH - left_out,
        ..SinkStats::default()
    }
}

/// How many documents of an index match.
fn hits(server: &Server, index: &str, query: &Value) -> u64 {
    let found = server
        .search(index, &json!({"query": query, "track_total_hits": true}))
        .unwrap();
    found["hits"]["total"]["value"].as_u64().unwrap()
}

/// Every document of an index, by its identity.
fn sources(server: &Server, index: &str) -> Vec<(String, Value)> {
    let all = server.search(index, &json!({"size": 1000})).unwrap();
    let hits = all["hits"]["hits"].as_array().unwrap().iter();
    let mut sources: Vec<_> = hits
        .map(|hit| (hit["_id"].as_str().unwrap().to_owned(), hit["_source"].clone()))
        .collect();
    sources.sort_by(|one, other| one.0.cmp(&other.0));
    sources
}

fn both_layouts_at_one_server(server: &Server) {
    let documents = documents();
    let sinks = || {
        [
            settings(server, Layout::Ecs, Some("both")),
            settings(server, Layout::Pipy, None),
        ]
    };
    let expected = [all_sent(server, Layout::Ecs), all_sent(server, Layout::Pipy)];
    assert_eq!(exported(sinks(), &documents), expected);
    // The same again overwrites itself.
    assert_eq!(exported(sinks(), &documents), expected);
    for (index, count) in [("both", 3 * EACH), ("http", EACH), ("dubbo", EACH)] {
        assert_eq!(server.count(index).unwrap(), count, "{index}");
    }

    let mut whole: Vec<_> = documents
        .iter()
        .map(|document| {
            (
                document.event.id.to_string(),
                serde_json::to_value(document).unwrap(),
            )
        })
        .collect();
    whole.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(
        sources(server, "both") == whole,
        "just as it is without another sink"
    );
    for (index, shapes) in [("http", &documents[..120]), ("dubbo", &documents[120..240])] {
        let mut expected: Vec<_> = shapes
            .iter()
            .map(|document| {
                let shape = weir_records::pipy::shape(document).unwrap();
                (
                    document.event.id.to_string(),
                    serde_json::to_value(shape).unwrap(),
                )
            })
            .collect();
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        let found = sources(server, index);
        assert!(found == expected, "{index}");
        assert!(!format!("{found:?}").contains("hunter2"), "{index}");
    }
    are_found(server, "http", "dubbo");
    let recent = json!({"range": {"time": {"gte": "now-100y/d", "lt": START + 10_000}}});
    assert_eq!(
        hits(server, "http", &recent),
        10,
        "a date for whoever asks for one"
    );
    for index in weir_records::pipy::Index::ALL {
        let name = index.name();
        let mapping = server.get(&format!("/{name}/_mapping")).unwrap().body;
        let fields = |mapping: &Value| -> Vec<String> {
            let properties = mapping["properties"].as_object().unwrap();
            properties.keys().cloned().collect()
        };
        assert_eq!(
            fields(&mapping[name]["mappings"]),
            fields(&weir_records::pipy::mapping(index)),
            "120 different headers and arguments have not grown the mapping"
        );
        let template = server.get(&format!("/_index_template/weir-pipy-{name}")).unwrap();
        assert_eq!(template.status, 200);
    }
}

/// What a dashboard of Pipy's users asks for.
fn are_found(server: &Server, http: &str, dubbo: &str) {
    for (query, count) in [
        (json!({"term": {"host.keyword": "shop1.test:8080"}}), EACH / 2),
        (json!({"term": {"path.keyword": "/items/7?page=2"}}), 1),
        (json!({"match": {"headers": "word42"}}), 1),
        (
            json!({"range": {"time": {"gte": START + 5000, "lt": START + 15_000}}}),
            10,
        ),
    ] {
        assert_eq!(hits(server, http, &query), count, "{query}");
    }
    for (query, count) in [
        (json!({"term": {"interface.keyword": "lab.Demo"}}), EACH),
        (json!({"term": {"method.keyword": "method7"}}), 1),
        (json!({"term": {"dubboVer.keyword": "2.0.2"}}), EACH),
        (json!({"match": {"ver": "1.0.0"}}), EACH),
        (json!({"match": {"args": "needle99"}}), 1),
        (json!({"term": {"args.keyword": (8_u64 << 40).to_string()}}), 1),
        (json!({"match": {"args": "key12"}}), 1),
        (json!({"match": {"raw": "needle7"}}), 1),
        (json!({"match_phrase": {"raw": "group blue"}}), EACH),
        (json!({"range": {"time": {"lt": START + 10_000}}}), 10),
    ] {
        assert_eq!(hits(server, dubbo, &query), count, "{query}");
    }
}

#[test]
fn both_layouts_at_one_elasticsearch() {
    if let Some(server) = elasticsearch("both_layouts_at_one_elasticsearch") {
        both_layouts_at_one_server(server);
    }
}

#[test]
fn both_layouts_at_one_opensearch() {
    let test = "both_layouts_at_one_opensearch";
    if let Some(server) = needed(test, Server::started(Kind::OpenSearch2, &[])) {
        both_layouts_at_one_server(&server);
    }
}

/// Indices that Pipy has filled have types that the server guessed; ours go on in them.
#[test]
fn indices_that_pipy_began_take_more() {
    let Some(server) = elasticsearch("indices_that_pipy_began_take_more") else {
        return;
    };
    let old = [
        (
            "old-http",
            json!({"time": 1_700_000_000_000_u64 - 1000, "host": "old.test", "path": "/", "headers": "{}"}),
        ),
        (
            "old-dubbo",
            json!({
                "time": 1_700_000_000_000_u64 - 1000, "dubboVer": "2.0.2", "interface": "old.Demo", "ver": "v1",
                "method": "getBook", "args": ["Ljava/lang/String;", "1"], "raw": "[\"2.0.2\"]"
            }),
        ),
    ];
    for (index, document) in &old {
        let answer = request(server.port(), "POST", &format!("/{index}/_doc"), Some(document)).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
    }
    let sinks = [settings(server, Layout::Pipy, Some("old"))];
    let expected = [all_sent(server, Layout::Pipy)];
    assert_eq!(exported(sinks, &documents()), expected);
    for (index, _) in &old {
        assert_eq!(server.count(index).unwrap(), EACH + 1);
    }
    let after = |query: Value| json!({"bool": {"filter": [query, {"range": {"time": {"gte": START}}}]}});
    for (index, query) in [
        ("old-http", json!({"term": {"host.keyword": "shop1.test:8080"}})),
        ("old-dubbo", json!({"match": {"args": "needle99"}})),
        (
            "old-dubbo",
            json!({"term": {"args.keyword": (8_u64 << 40).to_string()}}),
        ),
    ] {
        let count = if index == "old-http" { EACH / 2 } else { 1 };
        assert_eq!(hits(server, index, &after(query.clone())), count, "{query}");
    }
}

#[test]
fn the_sidecar_writes_both_layouts() {
    if skip_unless_root("the_sidecar_writes_both_layouts") {
        return;
    }
    let mut lab = Lab::new("layouts").unwrap();
    let (outside, pod) = (lab.node("outside").unwrap(), lab.node("pod").unwrap());
    let link = lab.join(&outside, &pod).unwrap();
    let directory = tempfile::tempdir().unwrap();
    // The sidecar is not root for long.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let path = directory.path().join("pipy.ndjson");
    install(&pod, &[]).unwrap();
    let export = format!("ndjson+pipy:{}", path.display());
    let mut sidecar = Sidecar::start(&pod, &["--export", &export, "--flows", "off"]).unwrap();

    // A call whose body is in a form that is not read has no place in the layout.
    let unread = [frame(0xc8, 0, 1, b"kryo's own"), frame(8, 20, 1, b"kryo's own")];
    for (port, [asked, answered]) in [(8080, get(7)), (20880, call(7)), (20881, unread)] {
        let listener = listen(&pod, link.b.at(port)[0]);
        let (client, server) = pair(&outside, &listener);
        converse(&client, &server, &asked);
        converse(&server, &client, &answered);
    }
    wait_for("every exchange has its document", || {
        sidecar.documents().len() == 3
    });
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    wait_for("the requests are in the other layout too", || lines().len() == 2);
    let mut names: Vec<_> = lines()
        .iter()
        .map(|line| line.get("path").or(line.get("method")).cloned().unwrap())
        .collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["/items/7?page=2", "method7"]);
    for (layout, sent, left_out) in [("ecs", 3, 0), ("pipy", 2, 1)] {
        let label = format!("layout=\"{layout}\"");
        wait_for("what was written is counted", || {
            sidecar.metric("weir_sink_sent_documents_total", &[&label]) == sent
                && sidecar.metric("weir_sink_left_out_documents_total", &[&label]) == left_out
        });
    }
    sidecar.assert_well();
}
