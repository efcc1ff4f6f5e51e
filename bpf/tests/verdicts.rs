//! What every program decides about every kind of packet, by BPF_PROG_TEST_RUN in a namespace with real sockets.
//!
//! The kernel refuses `bpf_sk_assign` in such a run, which is counted as failed: here that says that a packet would have
//! been given to the sidecar. That it then arrives is what the tests with real connections show.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "verdicts/packet.rs"]
mod packet;

use aya::programs::{TestRun as _, TestRunOptions};
use packet::{ACK, Packet, RST, SYN, checksum_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use weir_bpf::{Kind, Networks, PortSet, Redirect, Settings, Side, program};
use weir_lab::{Lab, Node};

const MARK: u32 = 0x539;
const SELF: u32 = MARK + 2;
const RETRY_DIVERTED: u32 = MARK + 3;
const RETRY_INBOUND: u32 = MARK + 4;
/// TC_ACT_UNSPEC, TC_ACT_SHOT, TC_ACT_REDIRECT (include/uapi/linux/pkt_cls.h).
const PASS: u32 = u32::MAX;
const DROP: u32 = 2;
const REDIRECT: u32 = 7;
/// Positions of the counters in c/settings.h.
const DIVERTED: usize = 1;
const NO_PROXY: usize = 5;
const TIME_WAIT_ENDED: usize = 6;
const UNSEEN: usize = 7;
const ASSIGNED: usize = 8;
/// User of packets in a test run, and one that they don't have.
const ROOT: u32 = 0;
const SOMEBODY: u32 = 1337;

const APP: u16 = 8080;
const CLOSED: u16 = 8081;
const INBOUND: u16 = 15006;
const OUTBOUND: u16 = 15001;
const DNS: u16 = 15053;

fn settings() -> Settings {
    Settings {
        proxy_uid: SOMEBODY,
        mark: MARK,
        inbound_port: INBOUND,
        outbound_port: OUTBOUND,
        dns_port: DNS,
        dns: false,
        hold: false,
        inbound: PortSet::ALL.without(&[INBOUND, OUTBOUND, 22]),
        outbound: PortSet::NONE,
        excluded: PortSet::of(&[25]),
        all_outbound: true,
        networks: Networks::default(),
        probe_port: 15002,
        outbound_probe: (
            Ipv4Addr::new(198, 19, 255, 254),
            "2001:db8::1337".parse().unwrap(),
        ),
        inbound_probe: (Ipv4Addr::new(192, 0, 0, 126), "100::ff".parse().unwrap()),
    }
}

/// A namespace of its own, in which the test runs.
fn inside(name: &str, test: impl FnOnce() + Send) {
    if weir_lab::skip_unless_root(name) {
        return;
    }
    let mut lab = Lab::new("verdicts").unwrap();
    let node: Node = lab.node("pod").unwrap();
    node.enter(test).unwrap();
}

/// What came of one packet.
#[derive(Debug)]
struct Outcome {
    verdict: u32,
    mark: u32,
    bytes: Vec<u8>,
    /// By how much every counter rose.
    counted: Vec<u64>,
}

impl Outcome {
    fn is_untouched(&self) -> bool {
        self.verdict == PASS && self.mark == 0 && self.counted.iter().all(|n| *n == 0)
    }

    fn is_assigned(&self) -> bool {
        self.counted[ASSIGNED] == 1
    }

    fn is_diverted(&self) -> bool {
        self.verdict == REDIRECT && self.mark == MARK && self.counted[DIVERTED] == 1
    }
}

fn run(programs: &mut Redirect, kind: Kind, side: Side, bytes: &[u8], mark: u32) -> Outcome {
    const CONTEXT: usize = 192;
    const MARK_AT: usize = 8;
    let before = programs.counters().unwrap();
    let mut context = vec![0; CONTEXT];
    context[MARK_AT..MARK_AT + 4].copy_from_slice(&mark.to_ne_bytes());
    let (mut out, mut context_out) = (vec![0; bytes.len() + 64], vec![0; CONTEXT]);
    let result = programs
        .program(program(kind, side))
        .unwrap()
        .test_run(TestRunOptions {
            data_in: Some(bytes),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::new()
        })
        .unwrap();
    let after = programs.counters().unwrap();
    out.truncate(result.data_size_out as usize);
    Outcome {
        verdict: result.return_value,
        mark: u32::from_ne_bytes(context_out[MARK_AT..MARK_AT + 4].try_into().unwrap()),
        bytes: out,
        counted: after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect(),
    }
}

fn from_outside(programs: &mut Redirect, packet: &Packet) -> Outcome {
    run(programs, Kind::Ethernet, Side::Ingress, &packet.bytes(), 0)
}

fn to_outside(programs: &mut Redirect, packet: &Packet) -> Outcome {
    run(programs, Kind::Ethernet, Side::Egress, &packet.bytes(), 0)
}

fn load(edit: impl FnOnce(&mut Settings)) -> Redirect {
    let mut settings = settings();
    edit(&mut settings);
    Redirect::load(&settings).unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A client elsewhere and the application here.
fn callers(port: u16) -> [(SocketAddr, SocketAddr); 2] {
    [
        (at("198.18.0.9:40000"), (Ipv4Addr::LOCALHOST, port).into()),
        (at("[fd00:198:18::9]:40000"), (Ipv6Addr::LOCALHOST, port).into()),
    ]
}

/// The application here and a server elsewhere.
fn calls(port: u16) -> [(SocketAddr, SocketAddr); 2] {
    [
        (
            at("198.18.0.2:40000"),
            (Ipv4Addr::new(198, 18, 0, 9), port).into(),
        ),
        (
            at("[fd00:198:18::2]:40000"),
            ("fd00:198:18::9".parse::<Ipv6Addr>().unwrap(), port).into(),
        ),
    ]
}

/// Listeners of both families.
fn listen(port: u16) -> [TcpListener; 2] {
    let v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
    v6.set_only_v6(true).unwrap();
    v6.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())
        .unwrap();
    v6.listen(16).unwrap();
    [
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap(),
        v6.into(),
    ]
}

#[test]
fn new_connections_are_taken_where_the_application_listens() {
    inside("new_connections_are_taken_where_the_application_listens", || {
        let mut programs = load(|_| {});
        let (_app, sidecar) = (listen(APP), listen(INBOUND));
        for (client, app) in callers(APP) {
            let syn = Packet::tcp(client, app, SYN);
            assert!(from_outside(&mut programs, &syn).is_assigned(), "{app}");
            // The end of a handshake by SYN cookie, for which there is no socket yet.
            let ack = Packet::tcp(client, app, ACK);
            assert!(from_outside(&mut programs, &ack).is_assigned(), "{app}");
            // The same on an interface without a header of its own.
            let bare = run(&mut programs, Kind::Bare, Side::Egress, &syn.bytes(), 0);
            assert!(!bare.is_assigned());
        }
        for (client, app) in callers(CLOSED) {
            let syn = Packet::tcp(client, app, SYN);
            assert!(
                from_outside(&mut programs, &syn).is_untouched(),
                "nobody listens at {app}"
            );
        }
        drop(sidecar);
        for (client, app) in callers(APP) {
            let passed = from_outside(&mut programs, &Packet::tcp(client, app, SYN));
            assert_eq!((passed.verdict, passed.counted[NO_PROXY]), (PASS, 1), "{app}");
        }
    });
}

#[test]
fn excluded_ports_other_protocols_and_what_can_not_be_read_pass() {
    inside(
        "excluded_ports_other_protocols_and_what_can_not_be_read_pass",
        || {
            let mut programs = load(|settings| settings.inbound = PortSet::of(&[APP]));
            let _listeners = (listen(APP), listen(CLOSED), listen(INBOUND));
            for (client, app) in callers(CLOSED) {
                assert!(from_outside(&mut programs, &Packet::tcp(client, app, SYN)).is_untouched());
            }
            for (client, app) in callers(APP) {
                assert!(from_outside(&mut programs, &Packet::tcp(client, app, SYN)).is_assigned());
                assert!(from_outside(&mut programs, &Packet::udp(client, app)).is_untouched());
                let tagged = Packet {
                    vlan: Some(7),
                    ..Packet::tcp(client, app, SYN)
                };
                assert!(from_outside(&mut programs, &tagged).is_untouched());
                // The kernel itself refuses to run a program on less than an IP header.
                let syn = Packet::tcp(client, app, SYN);
                let whole = syn.bytes();
                for length in syn.l4()..whole.len() - 6 {
                    let cut = run(&mut programs, Kind::Ethernet, Side::Ingress, &whole[..length], 0);
                    assert!(cut.is_untouched(), "{length} bytes");
                }
            }
            let [(client, app), (client6, _)] = callers(APP);
            for fragment in [0x2000, 0x2001, 0x0010] {
                let fragment = Packet {
                    fragment,
                    ..Packet::tcp(client, app, SYN)
                };
                assert!(from_outside(&mut programs, &fragment).is_untouched());
            }
            let local = Packet::tcp(client6, at("[fe80::1]:8080"), SYN);
            assert!(from_outside(&mut programs, &local).is_untouched());
            // Arp, and a frame without anything in it.
            let mut arp = vec![0; 42];
            arp[12..14].copy_from_slice(&0x0806_u16.to_be_bytes());
            assert!(run(&mut programs, Kind::Ethernet, Side::Ingress, &arp, 0).is_untouched());
        },
    );
}

#[test]
fn options_and_extension_headers_hide_nothing() {
    inside("options_and_extension_headers_hide_nothing", || {
        let mut programs = load(|_| {});
        let _listeners = (listen(APP), listen(INBOUND));
        let [(client, app), (client6, app6)] = callers(APP);
        let options = Packet {
            options: vec![1; 40],
            ..Packet::tcp(client, app, SYN)
        };
        assert!(from_outside(&mut programs, &options).is_assigned());
        let (hop_by_hop, destination) = ((0, vec![0; 8]), (60, [&[0, 1][..], &[0; 14]].concat()));
        for extensions in [vec![hop_by_hop.clone()], vec![hop_by_hop, destination]] {
            let extended = Packet {
                extensions,
                ..Packet::tcp(client6, app6, SYN)
            };
            assert!(from_outside(&mut programs, &extended).is_assigned());
        }
        let fragment = Packet {
            extensions: vec![(44, vec![0; 8])],
            ..Packet::tcp(client6, app6, SYN)
        };
        assert!(from_outside(&mut programs, &fragment).is_untouched());
        // More headers than anybody sends, of the longest kind: it gives up and lets the packet pass.
        let endless = Packet {
            extensions: vec![(60, vec![0; 8]); 12],
            ..Packet::tcp(client6, app6, SYN)
        };
        assert!(from_outside(&mut programs, &endless).is_untouched());
    });
}

#[test]
fn connections_that_are_open_are_left_to_their_sockets() {
    inside("connections_that_are_open_are_left_to_their_sockets", || {
        let mut programs = load(|_| {});
        let ([app, app6], _sidecar) = (listen(APP), listen(INBOUND));
        for (listener, ip) in [
            (app, Ipv4Addr::LOCALHOST.into()),
            (app6, Ipv6Addr::LOCALHOST.into()),
        ] {
            let address = SocketAddr::new(ip, APP);
            let client = TcpStream::connect(address).unwrap();
            let _server = listener.accept().unwrap();
            let from = client.local_addr().unwrap();
            for flags in [ACK, SYN, RST] {
                let packet = Packet::tcp(from, address, flags);
                assert!(
                    from_outside(&mut programs, &packet).is_untouched(),
                    "{address} {flags}"
                );
            }
        }
    });
}

#[test]
fn without_a_sidecar_hold_drops_what_begins_and_nothing_else() {
    inside(
        "without_a_sidecar_hold_drops_what_begins_and_nothing_else",
        || {
            let mut programs = load(|settings| settings.hold = true);
            let _app = listen(APP);
            for (client, app) in callers(APP) {
                assert_eq!(
                    from_outside(&mut programs, &Packet::tcp(client, app, SYN)).verdict,
                    DROP
                );
                assert_eq!(
                    from_outside(&mut programs, &Packet::tcp(client, app, ACK)).verdict,
                    PASS
                );
            }
            for (client, app) in callers(CLOSED) {
                assert!(from_outside(&mut programs, &Packet::tcp(client, app, SYN)).is_untouched());
            }
            for (app, server) in calls(80) {
                // To lo, where it is dropped.
                assert!(to_outside(&mut programs, &Packet::tcp(app, server, SYN)).is_diverted());
                let packet = Packet::tcp(app, server, SYN).bytes();
                let dropped = run(&mut programs, Kind::Loopback, Side::Ingress, &packet, MARK);
                assert_eq!(dropped.verdict, DROP);
            }
        },
    );
}

#[test]
fn outbound_connections_are_taken_as_the_lists_say() {
    inside("outbound_connections_are_taken_as_the_lists_say", || {
        let _sidecar = listen(OUTBOUND);
        let nets = |list: &[&str]| -> Vec<_> { list.iter().map(|net| net.parse().unwrap()).collect() };
        let verdicts = |edit: &dyn Fn(&mut Settings), port: u16| {
            let mut programs = load(edit);
            calls(port)
                .map(|(app, server)| to_outside(&mut programs, &Packet::tcp(app, server, SYN)).is_diverted())
        };
        assert_eq!(verdicts(&|_| {}, 80), [true, true]);
        assert_eq!(verdicts(&|_| {}, 25), [false, false], "an excluded port");
        assert_eq!(
            verdicts(&|s| s.proxy_uid = ROOT, 80),
            [false, false],
            "the sidecar's own"
        );
        assert_eq!(verdicts(&|s| s.all_outbound = false, 80), [false, false]);
        let ports = |s: &mut Settings| {
            s.all_outbound = false;
            s.outbound = PortSet::of(&[80]);
        };
        assert_eq!(verdicts(&ports, 80), [true, true]);
        assert_eq!(verdicts(&ports, 81), [false, false]);
        let included = |s: &mut Settings| {
            s.all_outbound = false;
            s.networks = Networks::new(&nets(&["198.18.0.0/24", "fd00:198:19::/48"]), &[]);
        };
        assert_eq!(verdicts(&included, 80), [true, false]);
        let excluded =
            |s: &mut Settings| s.networks = Networks::new(&[], &nets(&["198.19.0.0/24", "fd00:198:18::/48"]));
        assert_eq!(verdicts(&excluded, 80), [true, false]);
        let both = |s: &mut Settings| {
            s.all_outbound = false;
            s.outbound = PortSet::of(&[80]);
            s.networks = Networks::new(&nets(&["198.18.0.0/16"]), &nets(&["198.18.0.0/24"]));
        };
        assert_eq!(
            verdicts(&both, 80),
            [false, true],
            "an excluded network wins over a port"
        );
        let probe = [at("198.18.0.2:40000"), at("198.19.255.254:15002")];
        let mut programs = load(|s| {
            s.all_outbound = false;
            s.excluded = PortSet::ALL;
        });
        assert!(to_outside(&mut programs, &Packet::tcp(probe[0], probe[1], SYN)).is_diverted());
    });
}

#[test]
fn outbound_connections_go_straight_where_the_sidecar_may_not_answer_for_others() {
    inside(
        "outbound_connections_go_straight_where_the_sidecar_may_not_answer_for_others",
        || {
            let mut programs = load(|_| {});
            let _sidecar = [
                TcpListener::bind((Ipv4Addr::LOCALHOST, OUTBOUND)).unwrap(),
                TcpListener::bind((Ipv6Addr::LOCALHOST, OUTBOUND)).unwrap(),
            ];
            for (app, server) in calls(80) {
                assert!(to_outside(&mut programs, &Packet::tcp(app, server, SYN)).is_untouched());
            }
        },
    );
}

#[test]
fn outbound_connections_go_straight_where_no_sidecar_listens() {
    inside(
        "outbound_connections_go_straight_where_no_sidecar_listens",
        || {
            let mut programs = load(|_| {});
            for (app, server) in calls(80) {
                assert!(to_outside(&mut programs, &Packet::tcp(app, server, SYN)).is_untouched());
                assert!(to_outside(&mut programs, &Packet::tcp(app, server, ACK)).is_untouched());
            }
        },
    );
}

#[test]
fn answers_to_an_address_that_the_sidecar_has_borrowed_come_back() {
    inside(
        "answers_to_an_address_that_the_sidecar_has_borrowed_come_back",
        || {
            let mut programs = load(|_| {});
            let ([app, _], _sidecar) = (listen(APP), listen(OUTBOUND));
            let borrowed = TcpStream::connect((Ipv4Addr::LOCALHOST, APP)).unwrap();
            let _server = app.accept().unwrap();
            let (from, to) = (at("127.0.0.1:8080"), borrowed.local_addr().unwrap());
            assert!(to_outside(&mut programs, &Packet::tcp(from, to, SYN | ACK)).is_diverted());
            let other = SocketAddr::new(to.ip(), to.port() ^ 1);
            assert!(to_outside(&mut programs, &Packet::tcp(from, other, ACK)).is_untouched());
            // Back on lo it finds its socket.
            let packet = Packet::tcp(from, to, ACK).bytes();
            let arrived = run(&mut programs, Kind::Loopback, Side::Ingress, &packet, MARK);
            assert_eq!((arrived.verdict, arrived.counted[ASSIGNED]), (PASS, 0));
        },
    );
}

#[test]
fn lo_takes_only_what_is_marked() {
    inside("lo_takes_only_what_is_marked", || {
        let mut programs = load(|settings| settings.dns = true);
        let _listeners = (listen(OUTBOUND), listen(INBOUND), listen(DNS), listen(80));
        for (app, server) in calls(80) {
            // That the application itself listens on port 80, on the wildcard address, does not matter.
            let packet = Packet::tcp(app, server, SYN).bytes();
            for (mark, taken) in [
                (0, false),
                (MARK, true),
                (SELF, true),
                (MARK + 1, false),
                (7, false),
            ] {
                let outcome = run(&mut programs, Kind::Loopback, Side::Ingress, &packet, mark);
                assert_eq!(outcome.is_assigned(), taken, "{mark:#x}");
                if mark == MARK {
                    assert_eq!(outcome.mark, MARK, "the mark routes it");
                }
            }
            let again = run(
                &mut programs,
                Kind::Loopback,
                Side::Ingress,
                &packet,
                RETRY_DIVERTED,
            );
            assert!(again.is_assigned() && again.mark == MARK, "{again:?}");
        }
    });
}

#[test]
fn dns_is_taken_if_asked_for() {
    inside("dns_is_taken_if_asked_for", || {
        let _sockets = [
            UdpSocket::bind((Ipv4Addr::LOCALHOST, DNS)).unwrap(),
            UdpSocket::bind((Ipv6Addr::LOCALHOST, DNS)).unwrap(),
        ];
        let _tcp = listen(DNS);
        let mut without = load(|_| {});
        let mut with = load(|settings| {
            settings.dns = true;
            settings.all_outbound = false;
        });
        let mut excluded = load(|settings| {
            settings.dns = true;
            settings.excluded = PortSet::of(&[53]);
        });
        for (app, server) in calls(53) {
            let queries = [Packet::udp(app, server), Packet::tcp(app, server, SYN)];
            for query in &queries {
                assert!(to_outside(&mut with, query).is_diverted());
                assert!(to_outside(&mut excluded, query).is_untouched());
                let packet = query.bytes();
                assert!(run(&mut with, Kind::Loopback, Side::Ingress, &packet, MARK).is_assigned());
                // A resolver on this machine.
                let local = run(&mut with, Kind::Loopback, Side::Egress, &packet, 0);
                assert_eq!((local.verdict, local.mark), (PASS, MARK));
            }
            assert!(to_outside(&mut without, &queries[0]).is_untouched());
        }
        for (app, server) in calls(54) {
            assert!(to_outside(&mut with, &Packet::udp(app, server)).is_untouched());
        }
    });
}

#[test]
fn dns_answers_come_from_the_port_that_was_asked() {
    inside("dns_answers_come_from_the_port_that_was_asked", || {
        let mut programs = load(|settings| {
            settings.dns = true;
            settings.proxy_uid = ROOT;
        });
        for (app, server) in calls(DNS) {
            let answer = Packet::udp(server, app);
            let sent = run(&mut programs, Kind::Loopback, Side::Egress, &answer.bytes(), 0);
            let l4 = &sent.bytes[answer.l4()..];
            assert_eq!(u16::from_be_bytes([l4[0], l4[1]]), 53);
            assert_eq!(
                checksum_of(server.ip(), app.ip(), 17, l4),
                0,
                "the checksum is right"
            );
        }
    });
}

#[test]
fn the_sidecars_calls_to_this_namespace_itself_are_marked() {
    inside("the_sidecars_calls_to_this_namespace_itself_are_marked", || {
        let _sidecar = listen(INBOUND);
        let mut own = load(|settings| settings.proxy_uid = ROOT);
        let mut others = load(|_| {});
        let mark = |programs: &mut Redirect, from: &str, to: &str| {
            let packet = Packet::tcp(at(from), at(to), SYN).bytes();
            run(programs, Kind::Loopback, Side::Egress, &packet, 0).mark
        };
        for (ip, other) in [
            ("198.18.0.2", "198.18.0.9"),
            ("[fd00:198:18::2]", "[fd00:198:18::9]"),
        ] {
            let (itself, app) = (format!("{ip}:40000"), format!("{ip}:8080"));
            assert_eq!(mark(&mut own, &itself, &app), SELF);
            assert_eq!(mark(&mut others, &itself, &app), 0, "the application's own call");
            assert_eq!(
                mark(&mut own, &format!("{other}:40000"), &app),
                0,
                "from the client's address"
            );
            assert_eq!(
                mark(&mut own, &itself, &format!("{ip}:22")),
                0,
                "an excluded port"
            );
        }
        assert_eq!(mark(&mut own, "127.0.0.1:40000", "127.0.0.1:8080"), 0);
        assert_eq!(mark(&mut own, "[::1]:40000", "[::1]:8080"), 0);
        assert_eq!(
            mark(&mut own, "127.0.0.1:40000", "192.0.0.126:15002"),
            SELF,
            "the probe"
        );
    });
}

#[test]
fn time_wait_is_ended_for_a_later_connection_and_for_no_other() {
    inside(
        "time_wait_is_ended_for_a_later_connection_and_for_no_other",
        || {
            let mut programs = load(|_| {});
            assert!(programs.loss().is_none(), "{}", programs.loss().unwrap());
            let ([app, _], _sidecar) = (listen(APP), listen(INBOUND));
            let (mut ended, mut kept) = (0, 0);
            // Half of all numbers are later than the one that the ended connection has come to.
            for _ in 0..64 {
                let client = TcpStream::connect((Ipv4Addr::LOCALHOST, APP)).unwrap();
                let from = client.local_addr().unwrap();
                // The server closes first, and so has the socket in TIME_WAIT once the client has closed, too.
                drop(app.accept().unwrap());
                drop(client);
                let syn = Packet::tcp(from, at("127.0.0.1:8080"), SYN);
                let outcome = from_outside(&mut programs, &syn);
                if outcome.counted[TIME_WAIT_ENDED] == 1 {
                    ended += 1;
                    let l4 = &outcome.bytes[syn.l4()..];
                    assert_eq!((outcome.verdict, l4[13]), (PASS, RST));
                    assert_eq!(
                        checksum_of(from.ip(), syn.to.ip(), 6, l4),
                        0,
                        "the checksum is right"
                    );
                    continue;
                }
                kept += 1;
                assert_eq!(
                    (outcome.verdict, outcome.counted[UNSEEN]),
                    (PASS, 1),
                    "{outcome:?}"
                );
                assert_eq!(outcome.bytes, syn.bytes());
                let again = run(
                    &mut programs,
                    Kind::Ethernet,
                    Side::Ingress,
                    &syn.bytes(),
                    RETRY_INBOUND,
                );
                assert_eq!(
                    (again.verdict, again.mark, again.counted[UNSEEN]),
                    (PASS, 0, 1),
                    "not twice"
                );
            }
            assert!(ended > 8 && kept > 8, "{ended} ended, {kept} kept");
        },
    );
}
