use super::*;

/// What the kernel would keep of a packet of this type: the program is run as filter.rst has it.
fn kept(program: &[Instruction], kind: u32, packet: &[u8]) -> u32 {
    let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
    let ancillary = |what: u32| match what {
        _ if what == known(libc::SKF_AD_PROTOCOL) => Some(kind),
        _ if what == known(libc::SKF_AD_IFINDEX) => Some(3),
        _ if what == known(libc::SKF_AD_HATYPE) => Some(1),
        _ if what == known(libc::SKF_AD_PKTTYPE) => Some(0),
        _ => None,
    };
    let load = |place: u32, size: usize| {
        let bytes = packet.get(place as usize..place as usize + size)?;
        Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    };
    loop {
        let (code, yes, no, k) = program[at];
        let mut next = 0;
        let loaded = match code {
            LOAD_WORD => ancillary(k).or_else(|| load(k, 4)),
            LOAD_SHORT => load(k, 2),
            LOAD_BYTE => load(k, 1),
            LOAD_SHORT_BEHIND => load(x + k, 2),
            LOAD_LENGTH => Some(packet.len() as u32),
            SUBTRACT_HEADER => Some(a.wrapping_sub(x)),
            _ => Some(a),
        };
        let Some(loaded) = loaded else { return 0 };
        a = loaded;
        let mut test = |holds: bool| next = usize::from(if holds { yes } else { no });
        match code {
            HEADER_LENGTH => x = load(k, 1).unwrap() % 16 * 4,
            JUMP => next = k as usize,
            JUMP_EQUAL => test(a == k),
            JUMP_GREATER => test(a > k),
            JUMP_AT_LEAST => test(a >= k),
            JUMP_ANY_BIT => test(a & k != 0),
            RETURN => return k,
            _ => {}
        }
        at += 1 + next;
    }
}

const LONG: u32 = 256 << 10;

/// A packet of this protocol, by IPv4 (with an option, too) and by IPv6.
fn packets(protocol: u8, content: &[u8]) -> [(u32, Vec<u8>); 3] {
    let head = [&[0x45, 0, 0, 0, 0, 0, 0, 0, 9, protocol][..], &[0; 10]].concat();
    let options = [&[0x46][..], &head[1..], &[1; 4]].concat();
    let six = [&[0x60, 0, 0, 0, 0, 0, protocol, 9][..], &[0; 32]].concat();
    [(IPV4, head), (IPV4, options), (IPV6, six)].map(|(kind, head)| (kind, [&head, content].concat()))
}

fn udp(source: u16, destination: u16, content: &[u8]) -> Vec<u8> {
    let words = [source, destination, 0, 0].map(u16::to_be_bytes);
    [&words.concat(), content].concat()
}

/// What is kept of each of these packets; the same of all.
fn of(datagrams: Datagrams, ended: &[Ended], shared: bool, protocol: u8, content: &[u8]) -> u32 {
    let selection = Selection {
        ports: Some(vec![(80, 80)]),
        datagrams,
        ..Selection::default()
    };
    let there = InForce {
        ended: ended.to_vec(),
        ..InForce::default()
    };
    let program = program(&selection, &there, shared);
    let all = packets(protocol, content).map(|(kind, packet)| kept(&program, kind, &packet));
    assert!(all.iter().all(|length| *length == all[0]), "{all:?}");
    all[0]
}

const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x04weir\0\0\x01\0\x01";

#[test]
fn segments_are_chosen_by_their_ports() {
    let of = |source, destination| of(Datagrams::None, &[], false, 6, &udp(source, destination, b""));
    assert_eq!([of(80, 5000), of(5000, 80), of(5000, 5001)], [LONG, LONG, 0]);
}

#[test]
fn messages_of_dns_come_through_at_any_port() {
    for (datagrams, others) in [
        (Datagrams::None, 0),
        (Datagrams::Headers, HEADERS),
        (Datagrams::Whole, LONG),
    ] {
        let of = |source, destination, content: &[u8]| {
            of(datagrams, &[], false, 17, &udp(source, destination, content))
        };
        for port in [53, 5353, 5355] {
            assert_eq!([of(port, 5000, b"x"), of(5000, port, b"x")], [LONG; 2]);
        }
        assert_eq!(of(5000, 8053, QUERY), LONG);
        let answer = [&QUERY[..2], &[0x81, 0x83], &QUERY[4..]].concat();
        assert_eq!(of(8053, 5000, &answer), LONG);
        let mut questions = QUERY.to_vec();
        questions[5] = 2;
        let update = [&QUERY[..2], &[0x28, 0], &QUERY[4..]].concat();
        for other in [&QUERY[..11], &questions, &update, b"", &[0x40; 60]] {
            assert_eq!(of(5000, 8053, other), others, "{other:?}");
        }
    }
}

#[test]
fn tunnels_come_through_unless_they_end_here() {
    let of = |ended: &[Ended], shared, protocol, content: &[u8]| {
        let kept = of(Datagrams::None, ended, shared, protocol, content);
        assert_eq!(of(Datagrams::Headers, ended, shared, protocol, content), kept);
        kept
    };
    for (protocol, ended) in [(4, Ended::Ipip), (41, Ended::Ipip), (47, Ended::Gre)] {
        let inside = &[0x45; 40];
        assert_eq!(of(&[], false, protocol, inside), LONG);
        assert_eq!(of(&[], true, protocol, inside), LONG, "shared by what is within");
        assert_eq!(of(&[Ended::Vxlan], false, protocol, inside), LONG);
        assert_eq!(of(&[ended], false, protocol, inside), 0);
    }
    for port in [4789, 8472] {
        let packet = udp(5000, port, &[8; 40]);
        assert_eq!(of(&[], false, 17, &packet), LONG);
        assert_eq!(of(&[Ended::Vxlan], false, 17, &packet), 0);
        assert_eq!(of(&[], true, 17, &packet), 0, "shared by what is around");
    }
    assert_eq!(of(&[Ended::Vxlan], false, 17, &udp(5000, 6081, &[8; 40])), LONG);
    assert_eq!(of(&[], false, 17, &udp(1701, 5000, &[8; 40])), LONG);
    assert_eq!(
        of(&[], true, 17, &udp(1701, 53, QUERY)),
        LONG,
        "DNS from any port"
    );
    // What no decoder reads: ICMP, ESP, SCTP.
    for protocol in [1, 50, 132] {
        assert_eq!(of(&[], false, protocol, &[8; 40]), 0);
    }
}

#[test]
fn of_frames_without_ip_those_that_may_carry_it_come_through() {
    let program = program(&Selection::default(), &InForce::default(), false);
    for kind in WRAPPED {
        assert_eq!(kept(&program, kind, &[0; 20]), LONG);
    }
    assert_eq!(kept(&program, LLC, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), LONG);
    assert_eq!(kept(&program, LLC, &[0x42, 0x42, 3]), 0, "spanning tree");
    assert_eq!(kept(&program, 0x0806, &[0; 28]), 0, "ARP");
}
