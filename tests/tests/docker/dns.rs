//! DNS, by Docker's own server at 127.0.0.11 and by one outside.

use crate::{
    engine::Network,
    pod::{Pod, User, Way},
};
use std::fs;
use weir_tests::weir::{LIMIT, wait_for};

/// Docker's server passes on to it what it does not know.
const RESOLVER: [&str; 2] = ["198.18.40.53", "fd00:198:18:40::53"];
const EMBEDDED: &str = "127.0.0.11";

pub fn queries_are_answered_and_seen(way: Way) {
    let mut pod = Pod::with(way, Network::DUAL, &["--dns", RESOLVER[0]]);
    start_resolver(&mut pod);
    assert_answers(&pod, EMBEDDED);
    pod.install(&["--dns"]);
    if way == Way::AutoWithSysAdmin {
        // Also where there is no sidecar.
        assert_answers(&pod, EMBEDDED);
    }
    pod.start_sidecar(User::Own, &[]);
    assert_answers(&pod, EMBEDDED);
    let outside = RESOLVER[0];
    let expected = match way {
        Way::Redirect | Way::AutoWithNetAdmin => vec![
            [EMBEDDED, "udp", "who.weir.test"],
            [EMBEDDED, "tcp", "who.weir.test"],
            // Docker's server asks on as it was asked. Over UDP that is left alone: it is no resolver of resolv.conf.
            [outside, "tcp", "who.weir.test"],
            [EMBEDDED, "udp", "client"],
        ],
        // Docker's NAT has hidden them by then: only what its server asks on is seen.
        Way::AutoWithSysAdmin => vec![
            [outside, "udp", "who.weir.test"],
            [outside, "tcp", "who.weir.test"],
        ],
    };
    assert_seen(&pod, &expected);
    pod.sidecar = None;

    let servers = RESOLVER.join(",");
    let flags = ["--dns-servers", &servers];
    pod.install(&["--dns", flags[0], flags[1]]);
    pod.start_sidecar(User::Own, &flags);
    for server in RESOLVER {
        assert_eq!(ask(&pod, server, "+notcp"), "\"outside\"");
        assert_eq!(ask(&pod, server, "+tcp"), "\"outside\"");
    }
    let [v4, v6] = RESOLVER;
    let of = |server| ["udp", "tcp"].map(|transport| [server, transport, "who.weir.test"]);
    assert_seen(&pod, &[of(v4), of(v6)].concat());
    assert_answers(&pod, EMBEDDED);
    pod.init(&["remove"]);
    pod.sidecar = None;
    assert_answers(&pod, EMBEDDED);
}

fn ask(pod: &Pod, server: &str, flag: &str) -> String {
    let server = format!("@{server}");
    let query = ["+short", "+tries=1", "+time=20", flag, "who.weir.test", "TXT"];
    pod.in_app(&[&["dig", &server], &query[..]].concat())
        .trim()
        .to_owned()
}

/// The application resolves names of others and of Docker's.
fn assert_answers(pod: &Pod, server: &str) {
    assert_eq!(ask(pod, server, "+notcp"), "\"outside\"");
    assert_eq!(ask(pod, server, "+tcp"), "\"outside\"");
    let client = pod.in_app(&[
        "dig",
        &format!("@{server}"),
        "+short",
        "+tries=1",
        "+time=20",
        "client",
    ]);
    assert_eq!(client.trim(), pod.client.ips[0].to_string());
}

/// That there is one document for each of these: server, transport, name.
fn assert_seen(pod: &Pod, expected: &[[&str; 3]]) {
    let dns = || -> Vec<serde_json::Value> {
        let mut documents = pod.sidecar().documents();
        documents.retain(|document| document["event"]["dataset"] == "weir.dns");
        documents
    };
    let what = format!("{} DNS documents", expected.len());
    wait_for(&what, || dns().len() >= expected.len());
    let documents = dns();
    let mut seen: Vec<_> = documents
        .iter()
        .map(|document| {
            assert_eq!(document["dns"]["response_code"], "NOERROR", "{document}");
            [
                &document["destination"]["ip"],
                &document["network"]["transport"],
                &document["dns"]["question"]["name"],
            ]
            .map(|value| value.as_str().unwrap())
        })
        .collect();
    let mut expected = expected.to_vec();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

fn start_resolver(pod: &mut Pod) {
    let directory = pod.engine.directory().to_owned();
    let at = directory.display();
    fs::write(
        directory.join("nsd.conf"),
        format!(
            "server:\n  ip-address: 0.0.0.0\n  ip-address: ::0\n  server-count: 1\n  zonesdir: {at}\n  \
             zonelistfile: /tmp/zones\n  xfrdfile: \"\"\n  database: \"\"\n  pidfile: \"\"\n  username: \"\"\n  \
             chroot: \"\"\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n\
             zone:\n  name: weir.test\n  zonefile: weir.test.zone\n"
        ),
    )
    .unwrap();
    fs::write(
        directory.join("weir.test.zone"),
        "$ORIGIN weir.test.\n$TTL 60\n@ IN SOA ns hostmaster 1 60 60 60 60\n@ IN NS ns\nns IN A 198.18.40.53\n\
         who IN TXT \"outside\"\n",
    )
    .unwrap();
    let file = directory.join("nsd.conf").display().to_string();
    let resolver = pod
        .engine
        .container("resolver", 53, &[], &["nsd", "-d", "-c", &file]);
    for ip in resolver.ips {
        resolver.node.tcp_ready((ip, 53), LIMIT).unwrap();
    }
}
