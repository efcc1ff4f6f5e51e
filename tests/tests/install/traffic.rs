//! Which connections are redirected, and which are not.

use crate::support::{ALL, PATIENCE, Pod, Server, hear, listeners};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
};
use weir_lab::skip_unless_root;
use weir_tests::peer::again;

/// Servers of the peer and of the pod on these ports, which say `direct`.
fn direct(pod: &Pod, ports: &[u16]) -> Vec<Server> {
    let mut servers = Vec::new();
    for port in ports {
        for address in pod.link.b.at(*port) {
            servers.push(Server::new(&pod.peer, address, "direct"));
        }
        for address in pod.link.a.at(*port) {
            servers.push(Server::new(&pod.pod, address, "direct"));
        }
    }
    servers
}

/// What a process of this user and group hears, by a program of its own.
fn hear_as(pod: &Pod, owner: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    pod.sh(&format!(
        "setpriv {owner} --clear-groups bash -c 'exec 3<>/dev/tcp/{ip}/{port}; cat <&3'"
    ))
}

fn assert_heard(pod: &Pod, from_pod: bool, port: u16, expected: &str) {
    let (node, to) = if from_pod {
        (&pod.pod, pod.link.b)
    } else {
        (&pod.peer, pod.link.a)
    };
    for address in to.at(port) {
        assert_eq!(hear(node, address).unwrap(), expected, "{address}");
    }
}

#[test]
fn by_default_everything_is_redirected_both_ways() {
    if skip_unless_root("by_default_everything_is_redirected_both_ways") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("default", setup);
        let _servers = (listeners(&pod), direct(&pod, &[80, 8080, 15021]));
        assert_heard(&pod, true, 80, "direct");
        pod.weir_init("install").succeeded();
        for port in [80, 8080] {
            assert_heard(&pod, true, port, "outbound");
            assert_heard(&pod, false, port, "inbound");
        }
        // The sidecar's health endpoint is asked by others and answers itself.
        assert_heard(&pod, false, 15021, "direct");
        // The application's own address is not outside.
        for own in pod.link.a.at(80) {
            assert_eq!(hear(&pod.pod, own).unwrap(), "direct", "{own}");
        }
        pod.weir_init("remove").succeeded();
        assert_heard(&pod, true, 80, "direct");
        assert_heard(&pod, false, 80, "direct");
    }
}

#[test]
fn a_connection_from_before_goes_on() {
    if skip_unless_root("a_connection_from_before_goes_on") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("before", setup);
        let _sidecar = listeners(&pod);
        for (node, other, addresses) in [
            (&pod.pod, &pod.peer, pod.link.b.at(80)),
            (&pod.peer, &pod.pod, pod.link.a.at(80)),
        ] {
            for address in addresses {
                let _echo = Server::with(other, address, |mut stream| {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
                });
                let mut stream = node.enter(|| TcpStream::connect(address)).unwrap().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut echoed = [0; 6];
                for text in [b"before", b"after."] {
                    stream.write_all(text).unwrap();
                    stream.read_exact(&mut echoed).unwrap();
                    assert_eq!(&echoed, text, "{address}");
                    pod.weir_init("install").succeeded();
                }
                drop(stream);
                pod.weir_init("remove").succeeded();
            }
        }
    }
}

#[test]
fn the_sidecar_itself_reaches_what_it_dials() {
    if skip_unless_root("the_sidecar_itself_reaches_what_it_dials") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("own", setup);
        let _servers = (listeners(&pod), direct(&pod, &[80]));
        pod.weir_init("install --proxy-uid 2001 --proxy-gid 2002")
            .succeeded();
        for address in pod.link.b.at(80) {
            assert_eq!(
                hear_as(&pod, "--reuid 2001 --regid 3", address),
                "direct",
                "by user"
            );
            assert_eq!(
                hear_as(&pod, "--reuid 3 --regid 2002", address),
                "direct",
                "by group"
            );
            assert_eq!(hear_as(&pod, "--reuid 3 --regid 3", address), "outbound");
        }
        for address in pod.link.a.at(80) {
            // From an address that is not a spare one it is a call to its own service, and inbound.
            assert_eq!(
                hear_as(&pod, "--reuid 2001 --regid 3", address),
                "inbound",
                "by user"
            );
            assert_eq!(
                hear_as(&pod, "--reuid 3 --regid 2002", address),
                "inbound",
                "by group"
            );
            assert_eq!(hear_as(&pod, "--reuid 3 --regid 3", address), "direct");
        }
    }
}

#[test]
fn dials_from_a_spare_address_reach_the_application() {
    if skip_unless_root("dials_from_a_spare_address_reach_the_application") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("spare-dial", setup);
        let _servers = (listeners(&pod), direct(&pod, &[80]));
        pod.weir_init("install").succeeded();
        let [v4, v6] = pod.link.a.at(80);
        let spare4 = Ipv4Addr::new(192, 0, 0, 70);
        let spare6 = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 7);
        for (source, destination) in [(IpAddr::from(spare4), v4), (spare6.into(), v6)] {
            assert_eq!(hear_from(&pod, source, destination), "direct", "{source}");
        }
    }
}

fn hear_from(pod: &Pod, source: IpAddr, destination: SocketAddr) -> String {
    use socket2::{Domain, Socket, Type};
    pod.pod
        .enter(|| {
            let mut socket = Socket::new(Domain::for_address(destination), Type::STREAM, None).unwrap();
            if destination.is_ipv6() {
                socket.set_freebind_v6(true).unwrap();
            }
            socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
            socket.connect_timeout(&destination.into(), PATIENCE).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut said = String::new();
            socket.read_to_string(&mut said).unwrap();
            said
        })
        .unwrap()
}

#[test]
fn lists_say_what_is_redirected() {
    if skip_unless_root("lists_say_what_is_redirected") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("lists", setup);
        let _servers = (listeners(&pod), direct(&pod, &[80, 81]));
        let (b4, b6) = (pod.link.b.v4, pod.link.b.v6);
        // Settings, then what is heard from outside on 80 and 81, and from inside on 80 and 81.
        let cases = [
            (
                "--exclude-inbound-ports 81 --exclude-outbound-ports 81",
                ["inbound", "direct", "outbound", "direct"],
            ),
            (
                "--include-inbound-ports 81 --include-outbound-cidrs ''",
                ["direct", "inbound", "direct", "direct"],
            ),
            (
                "--include-inbound-ports ''",
                ["direct", "direct", "outbound", "outbound"],
            ),
            (
                &*format!("--exclude-outbound-cidrs {b4},{b6} --include-outbound-ports 81"),
                ["inbound", "inbound", "direct", "direct"],
            ),
            (
                "--include-outbound-cidrs 203.0.113.0/24 --include-outbound-ports 81",
                ["inbound", "inbound", "direct", "outbound"],
            ),
            (
                "--include-outbound-cidrs 198.18.0.0/15,fd00::/8",
                ["inbound", "inbound", "outbound", "outbound"],
            ),
            ("--exclude-interfaces eth+", ["direct"; 4]),
            (
                "--exclude-interfaces eth7",
                ["inbound", "inbound", "outbound", "outbound"],
            ),
        ];
        for (settings, [in80, in81, out80, out81]) in cases {
            println!("{settings}");
            pod.weir_init(&format!("install {settings}")).succeeded();
            assert_heard(&pod, false, 80, in80);
            assert_heard(&pod, false, 81, in81);
            assert_heard(&pod, true, 80, out80);
            assert_heard(&pod, true, 81, out81);
        }
    }
}

#[test]
fn a_list_of_ipv4_networks_redirects_no_ipv6() {
    if skip_unless_root("a_list_of_ipv4_networks_redirects_no_ipv6") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("v4list", setup);
        let _servers = (listeners(&pod), direct(&pod, &[80]));
        pod.weir_init("install --include-outbound-cidrs 198.18.0.0/15")
            .succeeded();
        let [v4, v6] = pod.link.b.at(80);
        assert_eq!(hear(&pod.pod, v4).unwrap(), "outbound");
        assert_eq!(hear(&pod.pod, v6).unwrap(), "direct");
    }
}

#[test]
fn dns_goes_to_its_listener_and_the_answer_comes_from_the_server_that_was_asked() {
    if skip_unless_root("dns_goes_to_its_listener_and_the_answer_comes_from_the_server_that_was_asked") {
        return;
    }
    for setup in ALL {
        let pod = Pod::with("dns", setup);
        // This process is of group 0, so it can stand for the sidecar; the application is a program of its own.
        let servers = pod.link.b.at(53);
        let list = servers.map(|server| server.ip().to_string()).join(",");
        pod.weir_init(&format!("install --dns --proxy-gid 0 --dns-servers {list}"))
            .succeeded();
        // Each resolver has a port of its own: nothing else would tell which was asked.
        for (port, server) in (15053..).zip(servers) {
            // On the loopback address, where the redirect goes: from the wildcard the kernel would answer from the
            // asker's own address.
            let address = SocketAddr::new(loopback(server), port);
            let listener = pod.pod.enter(|| UdpSocket::bind(address)).unwrap().unwrap();
            listener.set_read_timeout(Some(PATIENCE)).unwrap();
            let answering = std::thread::spawn(move || {
                let mut buffer = [0; 64];
                let (length, asker) = again(|| listener.recv_from(&mut buffer)).unwrap();
                assert_eq!(&buffer[..length], b"question");
                listener.send_to(b"answer", asker).unwrap();
            });
            // A connected socket: it takes nothing but what comes from the address that it asked.
            let ip = server.ip();
            let script = format!("exec 3<>/dev/udp/{ip}/53; printf question >&3; timeout 20 head -c 6 <&3");
            let said = pod.sh(&format!(
                "setpriv --reuid 3 --regid 3 --clear-groups bash -c '{script}'"
            ));
            answering.join().unwrap();
            assert_eq!(said, "answer", "{server}");
        }
    }
}

fn loopback(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}
