//! What passes, and who sees whom.

use crate::{
    engine::Network,
    pod::{CLOSED, PORT, Pod, User, Way},
};
use std::{net::IpAddr, thread};
use weir_tests::{
    peer::connect,
    stage::Direction,
    weir::{LIMIT, Sidecar, wait_for},
};

fn counted(sidecar: &Sidecar) -> [u64; 2] {
    [Direction::Inbound, Direction::Outbound].map(|direction| sidecar.connections(direction))
}

/// In and out, IPv4 and IPv6, closed ports, calls to itself.
pub fn connections_are_relayed_and_seen(way: Way) {
    relay(Pod::new(way), &[User::Own, User::Root]);
}

/// Docker switches IPv6 off in the containers of a network that is not asked to have it.
pub fn without_ipv6_they_are_too(way: Way) {
    relay(Pod::with(way, Network::IPV4, &[]), &[User::Own]);
}

fn relay(mut pod: Pod, users: &[User]) {
    let way = pod.way;
    let said = pod.install(&[]);
    match way {
        Way::Redirect => {}
        Way::AutoWithNetAdmin => {
            let refused = said.lines().find(|line| line.contains("ebpf: not here"));
            assert!(refused.unwrap().contains("CAP_BPF"), "{said}");
            assert!(said.contains("tproxy: works"), "{said}");
        }
        Way::AutoWithSysAdmin => assert!(said.contains("ebpf: works"), "{said}"),
    }
    assert!(
        said.contains(&format!("installed, mode {}", way.mode())),
        "{said}"
    );
    pod.check(&[]);
    for user in users {
        pod.start_sidecar(*user, &[]);
        assert_eq!(pod.sidecar().stats()["mode"], way.mode());
        for (client, app) in pod.pairs() {
            in_and_out(&pod, client, app);
        }
        documents(&pod);
        pod.check(&[]);
        let sidecar = pod.sidecar.as_mut().unwrap();
        sidecar.assert_well();
        // SIGTERM, which Docker passes on.
        let status = sidecar.process.terminate(LIMIT).unwrap();
        assert!(status.success(), "{}", sidecar.process.output());
        pod.sidecar = None;
    }
}

fn in_and_out(pod: &Pod, client: IpAddr, app: IpAddr) {
    let [inbound, outbound] = counted(pod.sidecar());
    pod.assert_seen(pod.client_asks(app), client);
    assert_eq!(counted(pod.sidecar()), [inbound + 1, outbound]);
    assert_eq!(pod.app_asks(client), app);
    assert_eq!(counted(pod.sidecar()), [inbound + 1, outbound + 1]);
    // Its own call to itself is left alone.
    assert_eq!(pod.app_asks(app), app);
    assert_eq!(counted(pod.sidecar()), [inbound + 1, outbound + 1]);
    closed(pod, app, inbound + 1);
}

/// A closed port is what it is without Weir.
fn closed(pod: &Pod, app: IpAddr, inbound: u64) {
    let refused = connect(&pod.client.node, (app, CLOSED).into()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(counted(pod.sidecar())[0], inbound);
}

/// One for each request, with the true addresses.
fn documents(pod: &Pod) {
    let mut expected = Vec::new();
    for (client, app) in pod.pairs() {
        let [client, app] = [client.to_string(), app.to_string()];
        expected.push(["ingress".to_owned(), client.clone(), app.clone()]);
        expected.push(["egress".to_owned(), app, client]);
    }
    let what = format!("{} documents", expected.len());
    wait_for(&what, || pod.sidecar().documents().len() >= expected.len());
    let mut seen: Vec<_> = pod
        .sidecar()
        .documents()
        .iter()
        .map(|document| {
            assert_eq!(document["weir"]["mode"], pod.way.mode(), "{document}");
            assert_eq!(document["http"]["response"]["status_code"], 200, "{document}");
            [
                &document["network"]["direction"],
                &document["source"]["ip"],
                &document["destination"]["ip"],
            ]
            .map(|value| value.as_str().unwrap().to_owned())
        })
        .collect();
    expected.sort();
    seen.sort();
    assert_eq!(seen, expected);
}

/// By eBPF nobody is harmed; TPROXY makes clients wait for the next one; REDIRECT refuses them.
pub fn sidecar_that_is_killed(way: Way) {
    let mut pod = Pod::new(way);
    pod.install(&[]);
    pod.start_sidecar(User::Own, &[]);
    for (_, app) in pod.pairs() {
        pod.client_asks(app);
    }
    pod.kill_sidecar();
    let pairs = pod.pairs();
    match way {
        Way::AutoWithSysAdmin => {
            for (client, app) in &pairs {
                assert_eq!(pod.client_asks(*app), *client);
                assert_eq!(pod.app_asks(*client), *app);
            }
            pod.start_sidecar(User::Own, &[]);
        }
        Way::AutoWithNetAdmin => thread::scope(|scope| {
            let node = pod.client.node.clone();
            let waiting = pairs.iter().map(|(client, app)| {
                let node = node.clone();
                scope.spawn(move || (*client, node.http_get((*app, PORT), "/").unwrap()))
            });
            let waiting: Vec<_> = waiting.collect();
            pod.start_sidecar(User::Own, &[]);
            for asked in waiting {
                let (client, (status, seen)) = asked.join().unwrap();
                assert_eq!((status, seen.trim()), (200, client.to_string().as_str()));
            }
        }),
        Way::Redirect => {
            for (_, app) in &pairs {
                let refused = connect(&pod.client.node, (*app, PORT).into()).unwrap_err();
                assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            }
            pod.start_sidecar(User::Own, &[]);
        }
    }
    for (client, app) in pairs {
        in_and_out(&pod, client, app);
    }
}
