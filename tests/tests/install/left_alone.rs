//! What is not for the sidecar: packets that only pass through, ports that nobody listens on, answers without a translation.

use crate::support::{ALL, PATIENCE, Pod, Server, Variant, hear, listeners, replace};
use socket2::{Domain, Socket, Type};
use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};
use weir_lab::{Node, skip_unless_root};

#[test]
fn what_is_only_forwarded_is_left_alone() {
    if skip_unless_root("what_is_only_forwarded_is_left_alone") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("forwarded", setup);
        let (behind, link) = pod.behind();
        let _sidecar = listeners(&pod);
        pod.weir_init("install").succeeded();
        for masquerade in [false, true] {
            if masquerade {
                pod.foreign("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n");
            }
            for (server, [own, pods]) in pod.link.b.at(80).into_iter().zip([
                [link.a.v4.into(), pod.link.a.v4.into()],
                [IpAddr::from(link.a.v6), pod.link.a.v6.into()],
            ]) {
                let seen = if masquerade { pods } else { own };
                let server = Server::with(&pod.peer, server, |mut stream| {
                    let client = stream.peer_addr().unwrap().ip().to_string();
                    drop(stream.write_all(client.as_bytes()));
                });
                // Also where the pod itself serves that port.
                for own in pod.link.a.at(80) {
                    let _application = Server::new(&pod.pod, own, "the pod");
                    assert_eq!(hear(&behind, server.address()).unwrap(), seen.to_string());
                }
            }
        }
        // What is addressed to the pod is taken, from behind as from anywhere.
        for address in link.b.at(8080) {
            let _application = Server::new(&pod.pod, address, "direct");
            assert_eq!(hear(&behind, address).unwrap(), "inbound");
        }
    }
}

/// A socket that listens at this address, with so many places for connections that wait.
fn listen(node: &Node, address: SocketAddr, backlog: i32, only_v6: bool, shared: bool) -> TcpListener {
    node.enter(|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if address.is_ipv6() {
            socket.set_only_v6(only_v6).unwrap();
        }
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(shared).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(backlog).unwrap();
        socket.into()
    })
    .unwrap()
}

/// Connects from this port of the node; gives what was said, or how it failed.
fn hear_from_port(node: &Node, port: u16, address: SocketAddr) -> Result<String, ErrorKind> {
    node.enter(|| {
        let mut socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        socket.bind(&SocketAddr::new(any, port).into()).unwrap();
        socket
            .connect_timeout(&address.into(), PATIENCE)
            .map_err(|error| error.kind())?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut said = String::new();
        socket.read_to_string(&mut said).map_err(|error| error.kind())?;
        Ok(said)
    })
    .unwrap()
}

#[test]
fn a_port_is_open_exactly_where_somebody_listens() {
    if skip_unless_root("a_port_is_open_exactly_where_somebody_listens") {
        return;
    }
    let refused = Err(ErrorKind::ConnectionRefused);
    for setup in ALL {
        let pod = Pod::with("closed", setup);
        let _sidecar = listeners(&pod);
        pod.weir_init("install").succeeded();
        let mut port = 20_000;
        let mut hear = |address| {
            port += 1;
            hear_from_port(&pod.peer, port, address)
        };
        let inbound = || Ok("inbound".to_owned());
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let every = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
        for (i, address) in pod.link.a.at(81).into_iter().enumerate() {
            assert_eq!(hear(address), refused, "{address}");
            {
                let _application = listen(&pod.pod, SocketAddr::new(loopback[i], 81), 16, true, false);
                assert_eq!(hear(address), refused, "on the loopback address alone");
            }
            {
                let _application = listen(&pod.pod, address, 16, true, false);
                assert_eq!(hear(address), inbound(), "on this address alone");
            }
            {
                let any = SocketAddr::new(every[i], 81);
                let _both = [(); 2].map(|()| listen(&pod.pod, any, 16, true, true));
                assert_eq!(hear(address), inbound(), "on every address, with SO_REUSEPORT");
            }
            {
                let _application = listen(&pod.pod, SocketAddr::new(every[1], 81), 16, false, false);
                assert_eq!(hear(address), inbound(), "one socket for both families");
            }
            {
                // Linux takes one more than was asked for.
                let full = listen(&pod.pod, address, 0, true, false);
                let _waiting = pod.pod.enter(|| TcpStream::connect(address)).unwrap().unwrap();
                assert_eq!(hear(address), inbound(), "with a full backlog");
                drop(full);
            }
            assert_eq!(hear(address), refused, "closed again: {address}");
            // A refusal is not remembered: the same addresses and ports are taken as soon as somebody listens.
            assert_eq!(hear_from_port(&pod.peer, 19_999, address), refused);
            let _application = listen(&pod.pod, address, 16, true, false);
            assert_eq!(hear_from_port(&pod.peer, 19_999, address), inbound());
        }
    }
}

/// Does without the `socket` match, as a kernel without xt_socket does.
const NO_SOCKET_MATCH: &str = "\
[ \"$1\" = --version ] && exec REAL --version
input=$(cat)
case \"$input\" in *'-m socket'*) echo \"line 3: RULE_APPEND failed: can't find match socket\" >&2; exit 1;; esac
printf '%s\\n' \"$input\" | exec REAL \"$@\"
";

#[test]
fn a_kernel_that_cannot_tell_who_listens_is_redirected_all_the_same_and_told_so() {
    if skip_unless_root("a_kernel_that_cannot_tell_who_listens_is_redirected_all_the_same_and_told_so") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("no-match", setup);
        let empty = pod.state();
        let program = format!("ip6tables{}-restore", setup.0.suffix());
        replace(&pod, &program, NO_SOCKET_MATCH);
        let sidecar = listeners(&pod);
        let run = pod.weir_init("install").succeeded();
        let said: Vec<_> = run
            .stderr
            .lines()
            .filter(|line| line.contains("xt_socket"))
            .collect();
        assert!(
            said.len() == 1 && said[0].contains("looks open"),
            "{}",
            run.stderr
        );
        for address in pod.link.a.at(81) {
            assert_eq!(hear(&pod.peer, address).unwrap(), "inbound");
        }
        let again = pod.weir_init("install").succeeded();
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        drop(sidecar);
        let check = pod.weir_init("check").succeeded();
        assert!(check.stdout.contains("xt_socket"), "{}", check.stdout);
        pod.weir_init("remove").succeeded();
        assert_eq!(pod.state(), empty);
    }
}

#[test]
fn an_answer_that_connection_tracking_does_not_know_is_sent_again_and_resets_nothing() {
    if skip_unless_root("an_answer_that_connection_tracking_does_not_know_is_sent_again_and_resets_nothing") {
        return;
    }
    for (variant, mode) in ALL {
        let pod = Pod::with("untracked", (variant, mode));
        pod.weir_init("install").succeeded();
        let inbound = (&pod.peer, pod.link.a.at(80), 15006);
        let outbound = (&pod.pod, pod.link.b.at(80), 15001);
        let ways = match mode {
            "redirect" => vec![inbound, outbound],
            _ => vec![outbound],
        };
        for (client, addresses, port) in ways {
            for (i, address) in addresses.into_iter().enumerate() {
                let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
                let _application = listen(&pod.pod, SocketAddr::new(any[i], 80), 16, true, false);
                let sidecar = listen(&pod.pod, SocketAddr::new(any[i], port), 16, true, false);
                let mut stream = client.enter(|| TcpStream::connect(address)).unwrap().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let (mut answering, _) = sidecar.accept().unwrap();
                answering.write_all(b"one").unwrap();
                let mut answer = [0; 3];
                stream.read_exact(&mut answer).unwrap();

                let program = ["iptables", "ip6tables"][i].to_owned() + variant.suffix();
                let rule = format!("OUTPUT -p tcp --sport {port} -j CT --notrack");
                pod.sh(&format!("{program} -t raw -A {rule}"));
                answering.write_all(b"two").unwrap();
                let passed = || {
                    pod.sh(&format!("{program}-save -c -t raw"))
                        .contains("[0:0] -A OUTPUT")
                };
                while passed() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                pod.sh(&format!("{program} -t raw -D {rule}"));
                stream
                    .read_exact(&mut answer)
                    .unwrap_or_else(|error| panic!("{address}, port {port}: {error}"));
                assert_eq!(&answer, b"two");
                stream.write_all(b"thanks").unwrap();
                let mut thanks = [0; 6];
                answering.set_read_timeout(Some(PATIENCE)).unwrap();
                answering.read_exact(&mut thanks).unwrap();
            }
        }
    }
}

#[test]
fn a_family_without_its_table_is_told_with_the_modules_that_it_needs() {
    if skip_unless_root("a_family_without_its_table_is_told_with_the_modules_that_it_needs") {
        return;
    }
    for (variant, mode) in ALL {
        let pod = Pod::with("family", (variant, mode));
        let before = pod.state();
        let program = format!("ip6tables{}-restore", variant.suffix());
        replace(
            &pod,
            &program,
            "[ \"$1\" = --version ] && exec REAL --version\ncat >/dev/null\n\
             echo \"ip6tables-restore: unable to initialize table 'nat'\" >&2\nexit 3\n",
        );
        let chain = match variant {
            Variant::Nft => "nft_compat",
            Variant::Legacy => "ip6table_",
        };
        pod.weir_init("install").failed_saying(&[
            "IPv6",
            "unable to initialize",
            chain,
            "ipv6.disable=1",
            "--mode ebpf",
        ]);
        assert_eq!(pod.state(), before);
    }
}
