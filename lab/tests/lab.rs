//! The lab itself, in real namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::{
    io::Read,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use weir_lab::{Lab, LabError, Quality, skip_unless_root};

const SECONDS: Duration = Duration::from_secs(10);

#[test]
fn joined_nodes_reach_each_other_at_once_over_both_families() {
    if skip_unless_root("joined_nodes_reach_each_other_at_once_over_both_families") {
        return;
    }
    let mut lab = Lab::new("reach").unwrap();
    let (client, pod) = (lab.node("client").unwrap(), lab.node("pod").unwrap());
    let link = lab.join(&client, &pod).unwrap();
    for address in link.b.at(0) {
        let listener = pod.enter(|| TcpListener::bind(address)).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        client.tcp_ready(address, SECONDS).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert!(link.a.at(0).iter().any(|own| own.ip() == peer.ip()), "{peer}");
        // From the machine itself nothing of the lab is to be seen.
        assert!(TcpListener::bind(address).is_err());
    }
}

#[test]
fn a_line_has_the_delay_and_the_loss_that_it_was_given() {
    if skip_unless_root("a_line_has_the_delay_and_the_loss_that_it_was_given") {
        return;
    }
    let mut lab = Lab::new("line").unwrap();
    let (client, pod) = (lab.node("client").unwrap(), lab.node("pod").unwrap());
    let quality = Quality {
        delay: Duration::from_millis(30),
        drop_every: 5,
    };
    let (link, line) = lab.join_by_line(&client, &pod, quality).unwrap();
    for node in [&client, &pod] {
        // Nobody looks for routers: only what is sent here passes, and counts.
        node.sysctl("ipv6/conf/line0/disable_ipv6", "1").unwrap();
    }
    let [server, own] = [(&pod, link.b), (&client, link.a)].map(|(node, at)| {
        let socket = node.enter(|| UdpSocket::bind((at.v4, 7))).unwrap().unwrap();
        socket.set_read_timeout(Some(SECONDS)).unwrap();
        socket
    });
    let mut got = Vec::new();
    let start = Instant::now();
    for n in 0..20 {
        own.send_to(&[n], server.local_addr().unwrap()).unwrap();
    }
    while got.len() < 16 {
        let mut buffer = [0];
        server.recv(&mut buffer).unwrap();
        got.push(buffer[0]);
    }
    assert!(start.elapsed() >= quality.delay);
    server.set_nonblocking(true).unwrap();
    assert!(server.recv(&mut [0]).is_err(), "more than four of five have come");
    assert!(got.is_sorted(), "{got:?}");
    drop(line);
    assert!(
        own.send_to(b"x", server.local_addr().unwrap()).is_err(),
        "it was cut"
    );
}

#[test]
fn every_destination_has_a_route() {
    if skip_unless_root("every_destination_has_a_route") {
        return;
    }
    let mut lab = Lab::new("route").unwrap();
    let (client, pod) = (lab.node("client").unwrap(), lab.node("pod").unwrap());
    let link = lab.join(&client, &pod).unwrap();
    for (family, destination, via) in [
        ("-4", "203.0.113.9", IpAddr::from(link.b.v4)),
        ("-6", "2001:db8::9", IpAddr::from(link.b.v6)),
    ] {
        let route = client.ip(&format!("{family} route get {destination}")).unwrap();
        assert!(route.contains(&format!("via {via} dev eth0")), "{route}");
    }
}

#[test]
fn nothing_is_left_after_a_lab_not_even_processes() {
    if skip_unless_root("nothing_is_left_after_a_lab_not_even_processes") {
        return;
    }
    let mut lab = Lab::new("drop").unwrap();
    let node = lab.node("pod").unwrap();
    let path = node.namespace_path().to_owned();
    let mut command = node.command("sleep");
    command.arg("1000");
    // Not a `Process`: one that nobody ends, like a daemon's child.
    let mut orphan = command.spawn().unwrap();
    while !std::fs::read_to_string(format!("/proc/{}/comm", orphan.id()))
        .unwrap()
        .starts_with("sleep")
    {}
    assert!(path.exists());
    drop((node, lab));
    assert!(!path.exists());
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&orphan.wait().unwrap()),
        Some(9)
    );
}

#[test]
fn a_namespace_of_another_program_is_adopted_and_ends_with_the_lab() {
    if skip_unless_root("a_namespace_of_another_program_is_adopted_and_ends_with_the_lab") {
        return;
    }
    let mut other = Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .spawn()
        .unwrap();
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).unwrap();
    let its = || namespace(&other.id().to_string());
    while its() == namespace("self") {
        std::thread::yield_now();
    }
    let its = its();
    let mut lab = Lab::new("adopt").unwrap();
    let node = lab.adopt("other", other.id()).unwrap();
    let seen = node.enter(|| namespace("thread-self")).unwrap();
    assert_eq!(seen, its);
    node.ip("link set lo up").unwrap();
    let path = node.namespace_path().to_owned();
    drop((node, lab));
    assert!(!path.exists());
    assert!(!other.wait().unwrap().success(), "it was killed");
    let mut lab = Lab::new("adopt").unwrap();
    assert!(lab.adopt("gone", other.id()).is_err());
}

#[test]
fn what_a_killed_run_left_is_swept() {
    if skip_unless_root("what_a_killed_run_left_is_swept") {
        return;
    }
    // What would make another process's first lab: this test's binary again, with a filter that runs one test.
    // The maker's number is beyond the largest that there can be.
    let stale = format!("weir-lab-4194305-1-0-{}", std::process::id());
    let ip = |args: &[&str]| assert!(Command::new("ip").args(args).status().unwrap().success());
    ip(&["netns", "add", &stale]);
    let path = format!("/run/netns/{stale}");
    let mut left = Command::new("nsenter")
        .args([&format!("--net={path}"), "--", "sleep", "1000"])
        .spawn()
        .unwrap();
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "every_destination_has_a_route"])
        .output()
        .unwrap();
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stdout)
    );
    assert!(!Path::new(&path).exists());
    assert!(!left.wait().unwrap().success());
}

#[test]
fn a_program_that_fails_is_heard() {
    if skip_unless_root("a_program_that_fails_is_heard") {
        return;
    }
    let mut lab = Lab::new("fail").unwrap();
    let node = lab.node("pod").unwrap();
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut command = node.command("sh");
    command.args(["-c", "echo out of order >&2; exit 3"]);
    let error = node
        .spawn(command)
        .unwrap()
        .wait_ready(nobody, SECONDS)
        .unwrap_err();
    assert!(matches!(error, LabError::Exited { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("sh ended with exit status: 3") && message.contains("out of order"),
        "{message}"
    );

    let mut command = node.command("sleep");
    command.arg("1000");
    let error = node
        .spawn(command)
        .unwrap()
        .wait_ready(nobody, Duration::ZERO)
        .unwrap_err();
    assert!(matches!(error, LabError::NotReady { .. }), "{error}");
    assert!(matches!(
        node.tcp_ready(nobody, Duration::ZERO),
        Err(LabError::NotReady { .. })
    ));
}

#[test]
fn a_process_runs_in_its_node_under_its_own_number() {
    if skip_unless_root("a_process_runs_in_its_node_under_its_own_number") {
        return;
    }
    let mut lab = Lab::new("process").unwrap();
    let node = lab.node("pod").unwrap();
    let mut command = node.command("sleep");
    command.arg("1000");
    let mut process = node.spawn(command).unwrap();
    let comm = || std::fs::read_to_string(format!("/proc/{}/comm", process.pid())).unwrap();
    while comm() != "sleep\n" {} // nsenter becomes sleep; the number stays.
    let usage = process.usage().unwrap();
    assert!(
        usage.rss > 0 && usage.peak_rss >= usage.rss && usage.descriptors >= 3,
        "{usage:?}"
    );
    assert!(usage.cpu > Duration::ZERO);
    let inside = node
        .enter(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap())
        .unwrap();
    assert_eq!(
        std::fs::read_link(format!("/proc/{}/ns/net", process.pid())).unwrap(),
        inside
    );
    let status = process.terminate(SECONDS).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
}

#[test]
fn an_endpoint_can_be_asked() {
    if skip_unless_root("an_endpoint_can_be_asked") {
        return;
    }
    let mut lab = Lab::new("http").unwrap();
    let node = lab.node("pod").unwrap();
    let listener = node.enter(|| TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for answer in ["HTTP/1.1 503 No\r\nA: b\r\n\r\nnot yet", "SSH-2.0-x\r\n"] {
            let mut stream: TcpStream = listener.accept().unwrap().0;
            let mut head = [0; 16];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"GET /x HTTP/1.0\r");
            std::io::copy(&mut answer.as_bytes(), &mut stream).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        }
    });
    assert_eq!(
        node.http_get(address, "/x").unwrap(),
        (503, "not yet".to_string())
    );
    assert!(matches!(
        node.http_get(address, "/x"),
        Err(LabError::NotHttp { .. })
    ));
    server.join().unwrap();
}

#[test]
fn names_that_could_be_paths_are_refused() {
    if skip_unless_root("names_that_could_be_paths_are_refused") {
        return;
    }
    let mut lab = Lab::new("names").unwrap();
    for name in ["", "../x", "a b", "ü", &"x".repeat(41)] {
        assert!(matches!(Lab::new(name), Err(LabError::Name(_))), "{name}");
        assert!(matches!(lab.node(name), Err(LabError::Name(_))), "{name}");
    }
}
