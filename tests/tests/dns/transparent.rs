//! Datagrams that are delivered with their destination in place, as TPROXY and `bpf_sk_assign` do it: the socket tells
//! whom they were sent to, and answers from that address.

use crate::stage::{PATIENCE, Stage, hear};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use weir_lab::skip_unless_root;
use weir_sidecar::{dns::socket::QuerySocket, own::Own};

const PORT: u16 = 15053;

#[test]
fn a_datagram_tells_whom_it_was_sent_to_and_is_answered_from_there() {
    if skip_unless_root("a_datagram_tells_whom_it_was_sent_to_and_is_answered_from_there") {
        return;
    }
    let stage = Stage::new("direct");
    for name in ["all", "lo"] {
        stage
            .pod
            .sysctl(&format!("ipv4/conf/{name}/rp_filter"), "0")
            .unwrap();
    }
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for (server, loopback) in stage.silent().into_iter().zip(loopback) {
        deliver_in_place(&stage, loopback);
        let (socket, client) = stage
            .pod
            .enter(|| {
                let any = if loopback.is_ipv4() { "0.0.0.0" } else { "::" };
                let client = UdpSocket::bind((any, 0)).unwrap();
                (
                    QuerySocket::bind(SocketAddr::new(loopback, PORT), Own::default()).unwrap(),
                    client,
                )
            })
            .unwrap();
        assert!(socket.is_transparent());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"query", (server, 53)).unwrap();
        let mut buffer = [0; 64];
        // On loopback it is there when send_to returns.
        let received = socket.receive(&mut buffer).unwrap();
        assert_eq!(&buffer[..received.length], b"query");
        assert_eq!(received.asked, Some(SocketAddr::new(server, 53)));
        // Only what comes from that address and this port is taken now.
        client.connect((server, PORT)).unwrap();
        socket.send(b"answer", received.client, Some(server)).unwrap();
        assert_eq!(hear(&client), b"answer");
    }
}

fn deliver_in_place(stage: &Stage, loopback: IpAddr) {
    let (family, program) = match loopback {
        IpAddr::V4(_) => ("-4", "iptables"),
        IpAddr::V6(_) => ("-6", "ip6tables"),
    };
    stage
        .pod
        .ip(&format!("{family} rule add fwmark 1337 lookup 133"))
        .unwrap();
    stage
        .pod
        .ip(&format!("{family} route add local default dev lo table 133"))
        .unwrap();
    for rule in [
        "-A OUTPUT -p udp --dport 53 -j MARK --set-mark 1337".to_owned(),
        format!(
            "-A PREROUTING -i lo -p udp --dport 53 -j TPROXY --on-ip {loopback} --on-port {PORT} --tproxy-mark 1337"
        ),
    ] {
        let mut command = stage.pod.command(program);
        command.args(["-t", "mangle"]).args(rule.split_whitespace());
        stage.pod.run(command).unwrap();
    }
}
