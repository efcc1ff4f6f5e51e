//! Where the programs meet what is not an ordinary application or an ordinary sidecar.

use super::*;
use socket2::{Domain, Socket, Type};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Somebody's transparent listener at the sidecar's port for outbound connections, whose queue is full: the kernel drops
/// every further SYN.
fn listener_that_takes_nothing(stage: &Stage) -> (Socket, Vec<TcpStream>) {
    let any = stage.pick(Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    let loopback = stage.pick(Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let open = || {
        let address = SocketAddr::new(any, 15001);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if stage.family == Family::V6 {
            socket.set_only_v6(true).unwrap();
        }
        socket.set_ip_transparent_v4(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(0).unwrap();
        let fill =
            || TcpStream::connect_timeout(&SocketAddr::new(loopback, 15001), Duration::from_millis(300));
        // One more than there is room for fails.
        let waiting: Vec<_> = std::iter::from_fn(|| fill().ok()).collect();
        assert!(!waiting.is_empty() && waiting.len() < 10);
        (socket, waiting)
    };
    stage.pod.enter(open).unwrap()
}

pub fn a_sidecar_that_takes_no_connection_is_passed_by(stage: &Stage) {
    install(&stage.pod, &["--mode", "ebpf"]).unwrap();
    let _full = listener_that_takes_nothing(stage);
    let [v4, v6] = stage.link.a.at(PORT);
    let listener = listen(&stage.client, stage.pick(v4, v6));
    let (client, server) = pair(&stage.pod, &listener);
    converse(&client, &server, b"straight on, with the second SYN");
    converse(&server, &client, b"and back");
}

/// The kernel refuses to assign a connection to a listener with `SO_REUSEPORT` before Linux 6.6, and assigns it from then
/// on. Whichever it does, the connection is not lost.
pub fn a_connection_that_can_not_be_assigned_reaches_its_server(stage: &Stage) {
    install(&stage.pod, &["--mode", "ebpf"]).unwrap();
    let any = stage.pick(Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    let open = || {
        let address = SocketAddr::new(any, 15001);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if stage.family == Family::V6 {
            socket.set_only_v6(true).unwrap();
        }
        socket.set_reuse_port(true).unwrap();
        socket.set_ip_transparent_v4(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(16).unwrap();
        std::net::TcpListener::from(socket)
    };
    let sidecar = stage.pod.enter(open).unwrap();
    let [v4, v6] = stage.link.a.at(PORT);
    let listener = listen(&stage.client, stage.pick(v4, v6));
    let client = connect(&stage.pod, listener.local_addr().unwrap()).unwrap();
    sidecar.set_nonblocking(true).unwrap();
    let (server, by) = match sidecar.accept() {
        Ok((server, _)) => (server, "assigned"),
        Err(_) => (accept(&listener), "passed by"),
    };
    println!("{by}");
    converse(&client, &server, b"not lost");
    converse(&server, &client, b"nor its answer");
}

/// Sends a SYN as a packet socket does, whose packets may belong to any number of connections, and prints the flags of
/// what comes back for it by the same interface.
const RAW_SYN: &str = r#"
import socket, struct, sys
mine, theirs, mac_mine, mac_theirs, port = sys.argv[1:5] + [int(sys.argv[5])]
def csum(b):
    s = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    s = (s >> 16) + (s & 0xffff); s += s >> 16
    return ~s & 0xffff
mac = lambda m: bytes.fromhex(m.replace(":", ""))
tcp = struct.pack("!HHIIBBHHH", 4000, port, 7, 0, 0x50, 2, 65535, 0, 0)
if ":" in mine:
    a = socket.inet_pton(socket.AF_INET6, mine) + socket.inet_pton(socket.AF_INET6, theirs)
    pseudo, ip, kind, at = a + struct.pack("!II", len(tcp), 6), struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + a, 0x86dd, 40
else:
    a = socket.inet_aton(mine) + socket.inet_aton(theirs)
    pseudo = a + struct.pack("!HH", 6, len(tcp))
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + a
    ip, kind, at = ip[:10] + struct.pack("!H", csum(ip)) + ip[12:], 0x0800, 20
tcp = tcp[:16] + struct.pack("!H", csum(pseudo + tcp)) + tcp[18:]
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
s.bind(("eth0", kind)); s.settimeout(10)
s.send(mac(mac_theirs) + mac(mac_mine) + struct.pack("!H", kind) + ip + tcp)
while True:
    frame, where = s.recvfrom(2048)
    t = frame[14 + at:]
    if where[2] != socket.PACKET_OUTGOING and t[:4] == struct.pack("!HH", port, 4000):
        print("flags", t[13]); break
"#;

pub fn frames_of_a_packet_socket_are_left_alone(stage: &Stage) {
    install(&stage.pod, &["--mode", "ebpf"]).unwrap();
    let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let [v4, v6] = stage.link.a.at(PORT);
    let there = stage.pick(v4, v6);
    let [v4, v6] = stage.link.b.at(PORT);
    let here = stage.pick(v4, v6);
    let _listener = listen(&stage.client, there);
    let mac = |node: &Node| {
        let shown = node.ip("-br link show eth0").unwrap();
        shown.split_whitespace().nth(2).unwrap().to_owned()
    };
    let mut command = stage.pod.command("python3");
    command.args(["-c", RAW_SYN, &here.ip().to_string(), &there.ip().to_string()]);
    command.args([mac(&stage.pod), mac(&stage.client), PORT.to_string()]);
    let said = stage.pod.run(command).unwrap();
    // A SYN with its acknowledgement, from the server itself.
    assert_eq!(said.trim(), "flags 18");
    assert_eq!(sidecar.connections(Direction::Outbound), 0);
}

/// What a loopback network in the list of destinations means, in every mode: its addresses are redirected, and 127.0.0.1
/// is not.
#[test]
fn a_loopback_network_that_is_named_is_redirected_but_for_the_loopback_address() {
    on_stage("loopback", Family::V4, |stage| {
        for mode in ["redirect", "tproxy", "ebpf"] {
            let flags = ["--mode", mode, "--include-outbound-cidrs", "127.0.0.0/8"];
            install(&stage.pod, &flags).unwrap();
            let sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
            for (address, seen) in [("127.0.0.1:8080", 0), ("127.0.0.2:8080", 1)] {
                let listener = listen(&stage.pod, address.parse().unwrap());
                let (client, server) = pair(&stage.pod, &listener);
                converse(&client, &server, b"to this machine");
                converse(&server, &client, b"and back");
                assert_eq!(sidecar.connections(Direction::Outbound), seen, "{mode} {address}");
            }
        }
    });
}

/// The sidecar's end of an outbound connection has the server's address, and stays in TIME_WAIT after the sidecar.
pub fn what_a_sidecar_left_in_time_wait_takes_nothing(stage: &Stage) {
    install(&stage.pod, &["--mode", "ebpf"]).unwrap();
    let ends = stage.link.a.at(PORT);
    let (pods, theirs) = (stage.link.b.at(0), stage.pick(ends[0], ends[1]));
    let server = listen(&stage.client, theirs);
    let from = |port: u16| {
        let own = SocketAddr::new(stage.pick(pods[0], pods[1]).ip(), port);
        let dial = || {
            let socket = Socket::new(Domain::for_address(own), Type::STREAM, None).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket.bind(&own.into()).unwrap();
            socket.connect(&theirs.into()).unwrap();
            TcpStream::from(socket)
        };
        stage.pod.enter(dial).unwrap()
    };
    let mut sidecar = Sidecar::start(&stage.pod, &[]).unwrap();
    let client = from(0);
    let port = client.local_addr().unwrap().port();
    // Whoever closes first has TIME_WAIT: behind the server that is the sidecar.
    drop(accept(&server));
    assert_end(&client);
    drop(client);
    assert_eq!(sidecar.connections(Direction::Outbound), 1);
    wait_for("the connection's end", || {
        sidecar.metric("weir_connections_active", &[]) == 0
    });
    sidecar.process.kill().unwrap();
    let client = from(port);
    converse(&client, &accept(&server), b"straight on");
}
