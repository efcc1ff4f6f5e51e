//! Packets within packets: each wrapping around the same exchange, in both families.

use crate::{support::*, wraps::*};
use serde_json::{Value, json};
use weir_capture::{Counters, LinkType, Packet, Tracker};
use weir_records::Timestamp;

pub const GET: &str = "GET /a HTTP/1.1\r\n\r\n";
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A connection with one exchange.
pub fn talk(is_v4: bool) -> Vec<Frame> {
    let mut conversation = match is_v4 {
        true => Conversation::default(),
        false => Conversation::new("[fd00:198:18::2]:40000", "[fd00:198:18::1]:8080"),
    };
    conversation.handshake().client(GET).server(OK).finish();
    conversation.frames
}

/// Shows packets, wrapped, to a tracker.
pub fn shown(link: LinkType, frames: &[Frame], wrap: impl Fn(&[u8]) -> Vec<u8>) -> (Seen, Counters) {
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    for frame in frames {
        let bytes = wrap(&frame.bytes);
        tracker.packet(
            &Packet::new(Timestamp(frame.at), link, &bytes, bytes.len()),
            &mut seen,
        );
    }
    tracker.finish(&mut seen);
    assert_eq!(tracker.flows(), 0);
    (seen, tracker.counters().clone())
}

/// The exchange within this wrapping, of both families: the tunnels that the documents name, and their numbers.
pub fn through(what: &str, link: LinkType, wrap: impl Fn(&[u8]) -> Vec<u8>) -> (Value, Value) {
    let mut told = Vec::new();
    for is_v4 in [true, false] {
        let (seen, counters) = shown(link, &talk(is_v4), &wrap);
        assert_eq!(seen.summary(), ["GET /a 200"], "{what} {is_v4} {counters:?}");
        assert_eq!(counters.losses().count(), 0, "{what} {is_v4} {counters:?}");
        assert_eq!(seen.anomalies(), [""], "{what}");
        assert_eq!(seen.documents[0]["source"]["port"], 40000);
        assert_eq!(
            seen.flows[0]["weir"]["tunnel"],
            seen.documents[0]["weir"]["tunnel"]
        );
        let weir = &seen.documents[0]["weir"];
        told.push((weir["tunnel"].clone(), weir["tunnel_id"].clone()));
    }
    assert_eq!(told[0], told[1], "{what}");
    told.remove(0)
}

fn within(what: &str, wrap: impl Fn(&[u8]) -> Vec<u8>) -> (Value, Value) {
    through(what, LinkType::RAW, wrap)
}

#[test]
fn ip_in_ip_of_each_version_in_each() {
    let inner = |packet: &[u8]| if packet[0] >> 4 == 4 { 4 } else { 41 };
    let expected = (json!(["ipip"]), Value::Null);
    assert_eq!(within("4", |packet| v4(inner(packet), packet)), expected);
    assert_eq!(within("6", |packet| v6(inner(packet), packet)), expected);
    // Behind an authentication header.
    let signed = |packet: &[u8]| [&[inner(packet), 4][..], &[0; 22], packet].concat();
    assert_eq!(within("4", |packet| v4(51, &signed(packet))), expected);
    assert_eq!(within("6", |packet| v6(51, &signed(packet))), expected);
    let deep = |packet: &[u8]| v4(41, &v6(4, &v4(inner(packet), packet)));
    assert_eq!(within("deep", deep).0, json!(["ipip", "ipip", "ipip"]));
}

#[test]
fn an_authentication_header_alone_is_no_tunnel() {
    let signed = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        let (at, head) = if packet[0] >> 4 == 4 { (9, 20) } else { (6, 40) };
        let header = [&[packet[at], 4][..], &[0; 22]].concat();
        packet[at] = 51;
        packet.splice(head..head, header);
        let length = packet.len() as u16;
        match head {
            20 => packet[2..4].copy_from_slice(&length.to_be_bytes()),
            _ => packet[4..6].copy_from_slice(&(length - 40).to_be_bytes()),
        }
        packet
    };
    assert_eq!(within("AH", signed), (Value::Null, Value::Null));
}

#[test]
fn gre_with_each_of_its_fields() {
    let of = |flags: u16, fields: &'static [u8]| {
        within("GRE", move |packet| {
            v4(47, &gre(flags, kind(packet), fields, packet))
        })
    };
    let expected = |id: Value| (json!(["gre"]), id);
    assert_eq!(of(0, &[]), expected(Value::Null));
    assert_eq!(of(0x8000, &[1; 4]), expected(Value::Null));
    assert_eq!(of(0x1000, &[1; 4]), expected(Value::Null));
    assert_eq!(of(0x2000, &[0, 0, 0, 7]), expected(json!([7])));
    let all = &[1, 1, 0, 0, 0, 0, 0, 9, 2, 2, 2, 2];
    assert_eq!(of(0xb000, all), expected(json!([9])));
    // A source route, and the end of routes.
    let routed = &[1, 1, 0, 0, 8, 0, 0, 4, 198, 18, 0, 1, 0, 0, 0, 0];
    assert_eq!(of(0x4000, routed), expected(Value::Null));
    let tagged = |packet: &[u8]| v6(47, &gre(0, 0x8100, &[], &tagged(5, kind(packet), packet)));
    assert_eq!(within("a VLAN in GRE", tagged), expected(Value::Null));
}

#[test]
fn gre_with_other_things_than_ip() {
    let of = |what: &str, wrap: &dyn Fn(&[u8]) -> Vec<u8>| within(what, |packet| v4(47, &wrap(packet)));
    let bridged = |packet: &[u8]| gre(0, 0x6558, &[], &ethernet(packet));
    assert_eq!(of("TEB", &bridged).0, json!(["gre"]));
    let subnet = |packet: &[u8]| gre(0x2000, 0x6558, &[0, 0x20, 1, 77], &ethernet(packet));
    assert_eq!(of("NVGRE", &subnet), (json!(["gre"]), json!([0x2001])));
    let labelled = |packet: &[u8]| gre(0, 0x8847, &[], &mpls(&[16, 17], packet));
    assert_eq!(of("MPLS", &labelled).0, json!(["gre", "mpls"]));
    let redirected = |packet: &[u8]| gre(0, 0x883e, &[0, 1, 2, 3], packet);
    assert_eq!(of("WCCP 2", &redirected).0, json!(["gre"]));
    let grouped = |packet: &[u8]| {
        let group = [&kind(packet).to_be_bytes()[..], &[1, 1, 0, 1, 0, 9]].concat();
        gre(0, 0x8909, &group, packet)
    };
    assert_eq!(of("CMD", &grouped).0, json!(["gre"]));
    let ppp_data = |packet: &[u8]| {
        let frame = [&[0xff, 3][..], &ppp(packet)].concat();
        let length = (frame.len() as u16).to_be_bytes();
        let fields = [&length[..], &[0, 5], &[0, 0, 0, 1], &[0, 0, 0, 2]].concat();
        gre(0x3081, 0x880b, &fields, &frame)
    };
    assert_eq!(of("PPTP", &ppp_data), (json!(["pptp"]), Value::Null));
}

#[test]
fn erspan_of_each_type() {
    let of = |flags, kind, header: &'static [u8]| {
        within("ERSPAN", move |packet| {
            v4(47, &gre(flags, kind, header, &ethernet(packet)))
        })
    };
    let expected = (json!(["erspan"]), Value::Null);
    assert_eq!(of(0, 0x88be, &[]), expected);
    let second = &[0, 0, 0, 1, 0x10, 7, 0, 9, 0, 0, 0, 0];
    assert_eq!(of(0x1000, 0x88be, second), expected);
    let third = &[0, 0, 0, 1, 0x20, 7, 0, 9, 1, 2, 3, 4, 0, 0, 0, 0];
    assert_eq!(of(0x1000, 0x22eb, third), expected);
    let optional = &[
        0, 0, 0, 1, 0x20, 7, 0, 9, 1, 2, 3, 4, 0, 0, 0, 1, 0xc, 0, 0, 0, 5, 5, 5, 5,
    ];
    assert_eq!(of(0x1000, 0x22eb, optional), expected);
    let padded = |packet: &[u8]| {
        let frame = [ethernet(packet), vec![0x55; 20]].concat();
        v4(47, &gre(0x1000, 0x88be, second, &frame))
    };
    assert_eq!(within("a padded frame", padded), expected);
}

#[test]
fn tunnels_over_udp() {
    let of = |port: u16, wrap: &dyn Fn(&[u8]) -> Vec<u8>| {
        let v6_too = within("by IPv6", |packet| v6(17, &udp_header(5555, port, &wrap(packet))));
        let told = within("by IPv4", |packet| datagram(5555, port, &wrap(packet)));
        assert_eq!(told, v6_too, "{port}");
        told
    };
    let frame = |packet: &[u8]| vxlan(77, &ethernet(packet));
    let expected = (json!(["vxlan"]), json!([77]));
    assert_eq!(of(4789, &frame), expected);
    assert_eq!(of(8472, &frame), expected);
    let policy = |packet: &[u8]| [&[0x88, 8, 1, 2][..], &vxlan(77, &ethernet(packet))[4..]].concat();
    assert_eq!(of(4789, &policy), expected);
    let generic = |packet: &[u8]| {
        let next = if packet[0] >> 4 == 4 { 1 } else { 2 };
        [&[0x0c, 0, 0, next][..], &[0, 0, 77, 0], packet].concat()
    };
    assert_eq!(of(4790, &generic), expected);
    let tag = |packet: &[u8]| vxlan(77, &typed(0x8100, &tagged(5, kind(packet), packet)));
    assert_eq!(of(4789, &tag), expected);
    let expected = (json!(["geneve"]), json!([5]));
    assert_eq!(of(6081, &|packet| geneve(5, 0x6558, &ethernet(packet))), expected);
    assert_eq!(of(6081, &|packet| geneve(5, kind(packet), packet)), expected);
    assert_eq!(of(2152, &|packet| gtp(9, packet)), (json!(["gtp"]), Value::Null));
    let plain = |packet: &[u8]| {
        let length = (packet.len() as u16).to_be_bytes();
        [&[0x30, 255][..], &length, &[0, 0, 0, 9], packet].concat()
    };
    assert_eq!(of(2152, &plain), (json!(["gtp"]), Value::Null));
    let framed = |packet: &[u8]| l2tp(&[&[0xff, 3][..], &ppp(packet)].concat());
    assert_eq!(of(1701, &framed), (json!(["l2tp"]), Value::Null));
    assert_eq!(of(1701, &|packet| l2tp(&ppp(packet)[1..])).0, json!(["l2tp"]));
    assert_eq!(
        of(6635, &|packet| mpls(&[3], packet)),
        (json!(["mpls"]), Value::Null)
    );
    let gre = |packet: &[u8]| gre(0x2000, kind(packet), &[0, 0, 0, 8], packet);
    assert_eq!(of(4754, &gre), (json!(["gre"]), json!([8])));
}

#[test]
fn teredo_carries_ipv6_of_its_own_addresses() {
    let mut conversation = Conversation::new("[2001:0:1:2::3]:40000", "[2001:db8::1]:80");
    conversation.handshake().client(GET).server(OK);
    for prefix in [&[][..], &[0, 0, 1, 2, 3, 4, 5, 6]] {
        let wrap = |packet: &[u8]| datagram(50000, 3544, &[prefix, packet].concat());
        let (seen, _) = shown(LinkType::RAW, &conversation.frames, wrap);
        assert_eq!(seen.summary(), ["GET /a 200"]);
        assert_eq!(seen.documents[0]["weir"]["tunnel"], json!(["teredo"]));
    }
    let (seen, counters) = shown(LinkType::RAW, &talk(false), |packet| {
        datagram(50000, 3544, packet)
    });
    assert_eq!((seen.documents.len(), counters.connections), (0, 0));
}

#[test]
fn a_port_alone_is_no_tunnel() {
    type Wrap = fn(&[u8]) -> Vec<u8>;
    let wraps: [(u16, Wrap); 6] = [
        // Reserved bits, a type that does not fit, no sound packet within, a wrong length, control messages.
        (4789, |packet| {
            [&[9, 0, 0, 0, 0, 0, 77, 0][..], &ethernet(packet)].concat()
        }),
        (4789, |packet| vxlan(77, &typed(0x1234, packet))),
        (8472, |packet| vxlan(77, &typed(0x0800, &packet[8..]))),
        (2152, |packet| {
            [&[0x30, 255, 0, 9, 0, 0, 0, 9][..], packet].concat()
        }),
        (6081, |packet| [&[0, 0x80, 8, 0, 0, 0, 5, 1][..], packet].concat()),
        (1701, |packet| [&[0xc8, 2][..], &l2tp(&ppp(packet))[2..]].concat()),
    ];
    for (port, wrap) in wraps {
        let mut tracker = Tracker::new(weir_capture::Settings {
            flows: None,
            ..settings()
        });
        let mut seen = Seen::default();
        let frames = talk(true);
        for frame in &frames {
            let bytes = datagram(5555, port, &wrap(&frame.bytes));
            let packet = Packet::new(Timestamp(frame.at), LinkType::RAW, &bytes, bytes.len());
            tracker.packet(&packet, &mut seen);
        }
        assert_eq!(tracker.counters().other_datagrams, frames.len() as u64, "{port}");
    }
}

#[test]
fn labels_and_what_they_carry() {
    let of = |what: &str, wrap: &dyn Fn(&[u8]) -> Vec<u8>| {
        through(what, LinkType::ETHERNET, |packet| typed(0x8847, &wrap(packet)))
    };
    let expected = (json!(["mpls"]), Value::Null);
    assert_eq!(of("one", &|packet| mpls(&[100], packet)), expected);
    assert_eq!(of("three", &|packet| mpls(&[100, 200, 300], packet)), expected);
    assert_eq!(
        of("a pseudowire", &|packet| mpls(&[100], &ethernet(packet))),
        expected
    );
    let controlled = |packet: &[u8]| mpls(&[100, 7], &[&[0, 0, 0, 9][..], &ethernet(packet)].concat());
    assert_eq!(of("its control word", &controlled), expected);
    let addressed = |packet: &[u8]| {
        let mut frame = ethernet(packet);
        frame[0] = 0x45; // an address that looks like IP
        mpls(&[100], &frame)
    };
    assert_eq!(of("an address", &addressed), expected);
    let told = through("link type", LinkType::MPLS, |packet| mpls(&[1, 2], packet));
    assert_eq!(told, expected);
    let told = within("in IP", |packet| v4(137, &mpls(&[1], packet)));
    assert_eq!(told, expected);
}

#[test]
fn ppp_over_ethernet() {
    let of = |wrap: &dyn Fn(&[u8]) -> Vec<u8>| {
        through("PPPoE", LinkType::ETHERNET, |packet| {
            typed(0x8864, &pppoe(&wrap(packet)))
        })
    };
    let expected = (json!(["pppoe"]), Value::Null);
    assert_eq!(of(&ppp), expected);
    assert_eq!(of(&|packet| ppp(packet)[1..].to_vec()), expected, "one byte");
    let tag = |packet: &[u8]| typed(0x8100, &tagged(7, 0x8864, &pppoe(&ppp(packet))));
    assert_eq!(through("tagged", LinkType::ETHERNET, tag), expected);
    // A short frame's padding behind the session's length.
    let padded = |packet: &[u8]| [typed(0x8864, &pppoe(&ppp(packet))), vec![0x55; 30]].concat();
    assert_eq!(through("padded", LinkType::ETHERNET, padded), expected);
}

#[test]
fn what_stands_between_ethernet_and_ip() {
    let of = |what: &str, wrap: &dyn Fn(&[u8]) -> Vec<u8>| {
        let told = through(what, LinkType::ETHERNET, wrap);
        assert_eq!(told, (Value::Null, Value::Null), "{what}");
    };
    of("SNAP", &|packet| measured(&snap([0; 3], kind(packet), packet)));
    of("SNAP of Cisco", &|packet| {
        measured(&snap([0, 0, 0xf8], kind(packet), packet))
    });
    of("SNAP of somebody", &|packet| {
        measured(&snap([1, 2, 3], kind(packet), packet))
    });
    of("SNAP, bridged", &|packet| {
        measured(&snap([0, 0x80, 0xc2], 7, &ethernet(packet)))
    });
    of("LLC of IP", &|packet| {
        measured(&[&[6, 6, 3][..], packet].concat())
    });
    of("CMD", &|packet| {
        let tag = [&[1, 1, 0, 1, 0, 9][..], &kind(packet).to_be_bytes(), packet].concat();
        typed(0x8909, &tag)
    });
    let four = |packet: &[u8]| [&[1, 2, 3, 4][..], &kind(packet).to_be_bytes(), packet].concat();
    of("VN-Tag", &|packet| typed(0x8926, &four(packet)));
    of("signed by MACsec", &|packet| {
        let tag = [
            &[0x20, 0, 0, 0, 0, 1][..],
            &[9; 8],
            &kind(packet).to_be_bytes(),
            packet,
            &[3; 16],
        ];
        typed(0x88e5, &tag.concat())
    });
    of("FabricPath", &|packet| {
        typed(0x8903, &[&[0, 1][..], &ethernet(packet)].concat())
    });
    let backbone = |packet: &[u8]| typed(0x88e7, &[&[0, 0, 1, 2][..], &ethernet(packet)].concat());
    let told = through("802.1ah", LinkType::ETHERNET, backbone);
    assert_eq!(told, (json!(["pbb"]), json!([258])));
}

#[test]
fn vlans_are_named() {
    let vlans = |wrap: &dyn Fn(&[u8]) -> Vec<u8>| {
        let (seen, _) = shown(LinkType::ETHERNET, &talk(true), wrap);
        assert_eq!(seen.summary(), ["GET /a 200"]);
        let network = &seen.documents[0]["network"];
        (
            network["vlan"]["id"].clone(),
            network["inner"]["vlan"]["id"].clone(),
        )
    };
    let one = |packet: &[u8]| typed(0x8100, &tagged(0x6007, 0x0800, packet));
    assert_eq!(vlans(&one), (json!("7"), Value::Null));
    let two = |packet: &[u8]| typed(0x88a8, &tagged(9, 0x8100, &tagged(7, 0x0800, packet)));
    assert_eq!(vlans(&two), (json!("9"), json!("7")));
    let old = |packet: &[u8]| typed(0x9100, &tagged(9, 0x9100, &tagged(7, 0x0800, packet)));
    assert_eq!(vlans(&old), (json!("9"), json!("7")));
    let priority = |packet: &[u8]| typed(0x8100, &tagged(0xe000, 0x0800, packet));
    assert_eq!(vlans(&priority), (Value::Null, Value::Null));
    // A tag in one direction alone divides nothing.
    let half = |packet: &[u8]| match packet[20..22] == 40000u16.to_be_bytes() {
        true => ethernet(packet),
        false => typed(0x8100, &tagged(7, 0x0800, packet)),
    };
    assert_eq!(vlans(&half), (json!("7"), Value::Null));
}

/// A packet so many ms after the beginning.
pub fn frame(at: u64, bytes: Vec<u8>) -> Frame {
    Frame {
        at: START + at * MS,
        kept: bytes.len(),
        bytes,
    }
}

#[test]
fn nested_tunnels_are_taken_off_to_a_depth() {
    let nest = |times: usize, packet: &[u8]| {
        let mut packet = packet.to_vec();
        for _ in 0..times {
            packet = v4(4, &packet);
        }
        packet
    };
    let mixed = |packet: &[u8]| {
        let inner = gre(0x2000, 0x0800, &[0, 0, 0, 3], packet);
        let outer = datagram(
            5555,
            4789,
            &vxlan(77, &typed(0x8100, &tagged(6, 0x0800, &v4(47, &inner)))),
        );
        typed(0x8100, &tagged(4, 0x0800, &outer))
    };
    let (seen, _) = shown(LinkType::ETHERNET, &talk(true), mixed);
    assert_eq!(seen.documents[0]["weir"]["tunnel"], json!(["vxlan", "gre"]));
    assert_eq!(seen.documents[0]["weir"]["tunnel_id"], json!([77, 3]));
    assert_eq!(seen.documents[0]["network"]["vlan"]["id"], "4");
    assert_eq!(seen.documents[0]["network"]["inner"]["vlan"]["id"], "6");
    let (seen, _) = shown(LinkType::RAW, &talk(true), |packet| nest(8, packet));
    assert_eq!(seen.summary(), ["GET /a 200"]);
    let frames = talk(true);
    let (seen, counters) = shown(LinkType::RAW, &frames, |packet| nest(9, packet));
    assert!(seen.documents.is_empty());
    assert_eq!(counters.too_many_tunnels, frames.len() as u64);
}

#[test]
fn fragments_of_the_outer_packet_and_of_the_inner_one() {
    let cut = |packet: &[u8], at: usize| {
        let (header, payload) = packet.split_at(20);
        [(0, &payload[..at], 0x2000u16), (at, &payload[at..], 0)].map(|(offset, part, more)| {
            let mut bytes = [header, part].concat();
            let length = bytes.len() as u16;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[6..8].copy_from_slice(&((offset / 8) as u16 | more).to_be_bytes());
            bytes
        })
    };
    let outer = |packet: &[u8]| datagram(5555, 4789, &vxlan(1, &ethernet(packet)));
    let mut number = 0u16;
    let mut frames = Vec::new();
    for packet in talk(true) {
        number += 1;
        let mut whole = outer(&packet.bytes);
        whole[4..6].copy_from_slice(&number.to_be_bytes());
        frames.extend(cut(&whole, 48).map(|bytes| frame(number.into(), bytes)));
    }
    let (seen, counters) = track(&frames);
    assert_eq!(seen.summary(), ["GET /a 200"]);
    assert_eq!(counters.reassembled, u64::from(number));
    let mut frames = Vec::new();
    for packet in talk(true) {
        number += 1;
        let mut inner = packet.bytes;
        inner[4..6].copy_from_slice(&number.to_be_bytes());
        frames.extend(cut(&inner, 16).map(|bytes| frame(number.into(), outer(&bytes))));
    }
    assert_eq!(track(&frames).0.summary(), ["GET /a 200"]);
}

#[test]
fn what_a_mirror_cut_is_a_gap() {
    let mut conversation = Conversation::default();
    conversation.handshake().client(GET);
    conversation.server("HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n");
    conversation.server("x".repeat(300)).client(GET).server(OK);
    // The mirror keeps so much of each packet and says nothing of that.
    let wrap = |packet: &[u8]| {
        let kept = &packet[..packet.len().min(100)];
        datagram(5555, 4789, &vxlan(1, &ethernet(kept)))
    };
    let (seen, counters) = shown(LinkType::RAW, &conversation.frames, wrap);
    assert_eq!(seen.summary(), ["GET /a 200", "GET /a 200"]);
    assert_eq!(counters.gap_bytes, 240);
}

#[test]
fn what_is_not_read_is_counted_by_its_kind() {
    let mut tracker = Tracker::new(settings());
    let mut seen = Seen::default();
    let mut show = |link: LinkType, bytes: Vec<u8>| {
        let packet = Packet::new(Timestamp(START), link, &bytes, bytes.len());
        tracker.packet(&packet, &mut seen);
    };
    let raw = LinkType::RAW;
    show(raw, v4(50, &[1; 40])); // ESP
    show(LinkType::ETHERNET, typed(0x88e5, &[0x2c; 40])); // MACsec
    show(LinkType::PPP, vec![0, 0xfd, 1, 2, 3]); // MPPE
    show(LinkType::IEEE802_11, [&[8, 0x42][..], &[0; 40]].concat());
    show(LinkType::ETHERNET, typed(0x4305, &[0; 40])); // B.A.T.M.A.N.
    show(raw, v4(47, &gre(0, 0x4305, &[], &[0; 40])));
    show(raw, v4(132, &[0; 40])); // SCTP
    show(raw, v6(136, &[0; 40])); // UDP-Lite
    show(LinkType::PPP, vec![0, 0x2d, 1, 2, 3]); // compressed TCP
    show(raw, v4(115, &[0; 40])); // L2TP 3
    show(LinkType::MPLS, mpls(&[9], &[0x33; 40]));
    show(raw, v4(47, &gre(0x0002, 0x0800, &[], &[0; 40]))); // another version
    // What runs a network is no loss: ARP, LLDP, spanning tree, PPPoE's discovery, PPP's own, ICMP, OSPF.
    show(LinkType::ETHERNET, typed(0x0806, &[0; 28]));
    show(LinkType::ETHERNET, typed(0x88cc, &[0; 28]));
    show(LinkType::ETHERNET, measured(&[0x42, 0x42, 3, 0, 0]));
    show(LinkType::ETHERNET, typed(0x8863, &[0x11, 9, 0, 0, 0, 0]));
    show(LinkType::PPP, vec![0xff, 3, 0xc0, 0x21, 1, 1, 0, 4]);
    show(raw, v4(1, &[8; 8]));
    show(raw, v6(58, &[8; 8]));
    show(raw, v4(89, &[2; 24]));
    show(raw, v4(47, &gre(0, 0, &[], &[])));
    let losses: Vec<_> = tracker
        .counters()
        .losses()
        .map(|(name, _, count)| (name, count))
        .collect();
    assert_eq!(
        losses,
        [
            ("encrypted", 4),
            ("unknown_ether_type", 2),
            ("unknown_ip_protocol", 2),
            ("unknown_ppp_protocol", 1),
            ("unknown_tunnel_content", 3),
        ]
    );
    assert_eq!(
        (tracker.counters().not_ip, tracker.counters().other_transport),
        (6, 3)
    );
}

#[test]
fn captures_of_tunnels_hold_an_exchange() {
    for (name, tunnel) in [
        ("gre", "gre"),
        ("ipip", "ipip"),
        ("vxlan", "vxlan"),
        ("geneve", "geneve"),
    ] {
        let (seen, counters) = repro_counted(&format!("tunnel-{name}.pcap"));
        assert_eq!(seen.summary(), ["GET /a 200"], "{name}");
        assert_eq!(seen.documents[0]["source"]["ip"], "198.18.1.2");
        assert_eq!(seen.documents[0]["destination"]["ip"], "198.18.2.3");
        assert_eq!(seen.documents[0]["weir"]["tunnel"], json!([tunnel]));
        assert_eq!(counters.losses().count(), 0, "{counters:?}");
    }
}
