//! DNS, by Docker's own server at 127.0.0.11 and by one outside.

use crate::pod::{Pod, User, Way};
use std::fs;
use weir_tests::weir::{LIMIT, wait_for};

/// Docker's server passes on to it what it does not know.
const RESOLVER: [&str; 2] = ["198.18.40.53", "fd00:198:18:40::53"];
const EMBEDDED: &str = "127.0.0.11";

pub fn queries_are_answered_and_seen(way: Way) {
    let mut pod = Pod::with(way, &["--dns", RESOLVER[0]]);
    start_resolver(&mut pod);
    assert_answers(&pod, EMBEDDED);
    pod.install(&["--dns"]);
    if way == Way::AutoWithSysAdmin {
        // Also where there is no sidecar.
        assert_answers(&pod, EMBEDDED);
    }
    pod.start_sidecar(User::Own, &[]);
    assert_answers(&pod, EMBEDDED);
    let seen = questions(&pod, 3);
    let has = |server: &str, transport: &str, name: &str| {
        let wanted = [server, transport, name].map(String::from);
        assert!(seen.contains(&wanted), "{wanted:?} is not in {seen:#?}");
    };
    match way {
        Way::Redirect | Way::AutoWithNetAdmin => {
            has(EMBEDDED, "udp", "who.weir.test");
            has(EMBEDDED, "tcp", "who.weir.test");
            has(EMBEDDED, "udp", "client");
        }
        // Docker's NAT has hidden them by then; seen is what Docker's server asks on.
        Way::AutoWithSysAdmin => {
            has(RESOLVER[0], "udp", "who.weir.test");
            has(RESOLVER[0], "tcp", "who.weir.test");
        }
    }
    pod.sidecar = None;

    let servers = RESOLVER.join(",");
    let flags = ["--dns-servers", &servers];
    pod.install(&["--dns", flags[0], flags[1]]);
    pod.start_sidecar(User::Own, &flags);
    for server in RESOLVER {
        assert_eq!(ask(&pod, server, "+notcp"), "\"outside\"");
        assert_eq!(ask(&pod, server, "+tcp"), "\"outside\"");
    }
    let seen = questions(&pod, 4);
    for server in RESOLVER {
        for transport in ["udp", "tcp"] {
            let wanted = [server, transport, "who.weir.test"].map(String::from);
            assert!(seen.contains(&wanted), "{wanted:?} is not in {seen:#?}");
        }
    }
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

/// Server, transport and name of each DNS document, once there are so many.
fn questions(pod: &Pod, at_least: usize) -> Vec<[String; 3]> {
    let all = || -> Vec<[String; 3]> {
        let documents = pod.sidecar().documents();
        let dns = documents
            .iter()
            .filter(|document| document["event"]["dataset"] == "weir.dns");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        dns.map(|document| {
            assert_eq!(document["dns"]["response_code"], "NOERROR", "{document}");
            [
                text(&document["destination"]["ip"]),
                text(&document["network"]["transport"]),
                text(&document["dns"]["question"]["name"]),
            ]
        })
        .collect()
    };
    wait_for(&format!("{at_least} DNS documents"), || all().len() >= at_least);
    all()
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
