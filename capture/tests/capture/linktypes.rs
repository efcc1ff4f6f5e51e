//! The types that a capture's packets may begin with: the same exchange behind each header.

use crate::{tunnels::*, wraps::*};
use serde_json::Value;
use weir_capture::LinkType;

/// The exchange behind this header, of both families; which way the client's packets went.
fn direction(link: LinkType, wrap: impl Fn(&[u8]) -> Vec<u8>) -> Value {
    through(&format!("{link:?}"), link, &wrap);
    let (seen, _) = shown(link, &talk(true), wrap);
    seen.documents[0]["network"]["direction"].clone()
}

fn behind(link: LinkType, wrap: impl Fn(&[u8]) -> Vec<u8>) {
    assert_eq!(direction(link, wrap), "unknown", "{link:?}");
}

fn after(head: &[u8], rest: &[u8]) -> Vec<u8> {
    [head, rest].concat()
}

#[test]
fn serial_lines() {
    behind(LinkType::PPP, ppp);
    behind(LinkType::PPP, |packet| after(&[0xff, 3], &ppp(packet)));
    behind(LinkType::PPP, |packet| after(&[0xff, 3], &ppp(packet)[1..]));
    behind(LinkType::PPP_HDLC, |packet| after(&[0xff, 3], &ppp(packet)));
    let cisco = |packet: &[u8]| {
        let kind = kind(packet).to_be_bytes();
        [&[0x0f, 0][..], &kind, packet].concat()
    };
    behind(LinkType::PPP_HDLC, cisco);
    behind(LinkType::C_HDLC, cisco);
    let sent = |way: u8| move |packet: &[u8]| after(&[way], &after(&[0xff, 3], &ppp(packet)));
    assert_eq!(direction(LinkType::PPP_WITH_DIR, sent(1)), "egress");
    assert_eq!(direction(LinkType::PPP_WITH_DIR, sent(0)), "ingress");
    let replaced = |packet: &[u8]| after(&[1, 3], &ppp(packet));
    assert_eq!(direction(LinkType::PPP_PPPD, replaced), "egress");
    let sent = |packet: &[u8]| after(&[1], &cisco(packet));
    assert_eq!(direction(LinkType::C_HDLC_WITH_DIR, sent), "egress");
    let told = through("PPPoE", LinkType::PPP_ETHER, |packet| pppoe(&ppp(packet)));
    assert_eq!(told.0, serde_json::json!(["pppoe"]));
}

#[test]
fn frame_relay() {
    let nlpid = |packet: &[u8]| if packet[0] >> 4 == 4 { 0xcc } else { 0x8e };
    let plain = |packet: &[u8]| after(&[0x18, 0x41, 3, nlpid(packet)], packet);
    behind(LinkType::FRELAY, plain);
    behind(LinkType::FRELAY, |packet| {
        after(&[0x18, 0x40, 0, 1, 3, nlpid(packet)], packet)
    });
    behind(LinkType::FRELAY, |packet| {
        let snap = &snap([0; 3], kind(packet), packet)[3..];
        after(&[0x18, 0x41, 3, 0, 0x80], snap)
    });
    behind(LinkType::FRELAY, |packet| {
        let kind = kind(packet).to_be_bytes();
        after(&[0x18, 0x41, kind[0], kind[1]], packet)
    });
    let sent = |packet: &[u8]| after(&[1], &plain(packet));
    assert_eq!(direction(LinkType::FRELAY_WITH_DIR, sent), "egress");
}

/// An attribute of netfilter's log, in one of the byte orders.
fn attribute(is_big: bool, kind: u16, content: &[u8]) -> Vec<u8> {
    let order = |number: u16| match is_big {
        true => number.to_be_bytes(),
        false => number.to_le_bytes(),
    };
    let length = 4 + content.len();
    let mut bytes = [&order(length as u16)[..], &order(kind), content].concat();
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

#[test]
fn logs_of_packet_filters() {
    for is_big in [false, true] {
        let log = |hook: u8| {
            move |packet: &[u8]| {
                let family = if packet[0] >> 4 == 4 { 2 } else { 10 };
                let attributes = [
                    attribute(is_big, 1, &[8, 0, hook, 0]),
                    attribute(is_big, 10, b"prefix\0"),
                    attribute(is_big, 9, packet),
                ];
                after(&[family, 0, 0, 30], &attributes.concat())
            }
        };
        assert_eq!(direction(LinkType::NFLOG, log(1)), "ingress");
        assert_eq!(direction(LinkType::NFLOG, log(3)), "egress");
        assert_eq!(direction(LinkType::NFLOG, log(2)), "unknown");
    }
    for (said, size) in [(61, 64), (100, 100)] {
        behind(LinkType::PFLOG, |packet| {
            let family = if packet[0] >> 4 == 4 { 2 } else { 24 };
            let mut head = vec![0; size];
            head[..2].copy_from_slice(&[said, family]);
            after(&head, packet)
        });
    }
    behind(LinkType::ENC, |packet| {
        after(&[2, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0], packet)
    });
}

#[test]
fn headers_that_name_the_next_one() {
    let pktap = |link: u32, way: u32| {
        let mut head = vec![0; 108];
        let words = [(0, 108), (4, 1), (8, link), (36, way)];
        for (at, word) in words {
            head[at..at + 4].copy_from_slice(&u32::to_le_bytes(word));
        }
        head
    };
    let of = |way: u32| move |packet: &[u8]| after(&pktap(1, way), &ethernet(packet));
    assert_eq!(direction(LinkType::PKTAP, of(1)), "ingress");
    assert_eq!(direction(LinkType::PKTAP, of(2)), "egress");
    behind(LinkType::PKTAP, |packet| after(&pktap(12, 0), packet));
    behind(LinkType::PKTAP, |packet| {
        let family = if packet[0] >> 4 == 4 { 2 } else { 30 };
        after(&pktap(0, 0), &after(&[family, 0, 0, 0], packet))
    });
    let (_, counters) = shown(LinkType::PKTAP, &talk(true), |packet| {
        after(&pktap(258, 0), &after(&pktap(12, 0), packet))
    });
    assert_eq!(counters.unknown_link, counters.packets);
    let ppi = |packet: &[u8]| {
        let head = [0, 0, 16, 0, 105, 0, 0, 0, 1, 0, 4, 0, 9, 9, 9, 9];
        after(&head, &wireless(&snap([0; 3], kind(packet), packet)))
    };
    behind(LinkType::PPI, ppi);
    // With an extension header.
    behind(LinkType::ERF, |packet| {
        let mut head = vec![0; 24];
        head[8] = 0x82;
        after(&head, &after(&[0, 0], &ethernet(packet)))
    });
    behind(LinkType::ERF, |packet| {
        let mut head = vec![0; 16];
        head[8] = 22;
        after(&head, packet)
    });
}

#[test]
fn wireless_frames() {
    let llc = |packet: &[u8]| snap([0; 3], kind(packet), packet);
    let link = LinkType::IEEE802_11;
    behind(link, |packet| wireless(&llc(packet)));
    behind(link, |packet| {
        [&[8, 1, 0, 0][..], &[7; 18], &[0x10, 0], &llc(packet)].concat()
    });
    // Between two access points, with quality of service and a control field.
    behind(link, |packet| {
        let head = [
            &[0x88, 0x83, 0, 0][..],
            &[7; 18],
            &[0x10, 0],
            &[7; 6],
            &[0, 0],
            &[0; 4],
        ];
        after(&head.concat(), &llc(packet))
    });
    let radiotap = |present: [u8; 4], fields: &[u8], frame: &[u8]| {
        let size = (8 + fields.len()) as u16;
        [&[0, 0][..], &size.to_le_bytes(), &present, fields, frame].concat()
    };
    let link = LinkType::IEEE802_11_RADIOTAP;
    behind(link, |packet| radiotap([0; 4], &[], &wireless(&llc(packet))));
    // The header of 26 bytes is padded to 28, after a time and two words of bits.
    behind(link, |packet| {
        let mut frame = wireless(&[]);
        frame.extend([0, 0]);
        frame.extend(llc(packet));
        let fields = [&[0, 0, 0, 0][..], &[0; 4], &[9; 8], &[0x20]].concat();
        radiotap([3, 0, 0, 0x80], &fields, &frame)
    });
    let (_, counters) = shown(link, &talk(true), |packet| {
        radiotap([2, 0, 0, 0], &[0x40], &wireless(&llc(packet)))
    });
    assert_eq!(counters.malformed, counters.packets, "a wrong check sequence");
    let mut prism = vec![0; 144];
    prism[..8].copy_from_slice(&[0x44, 0, 0, 0, 144, 0, 0, 0]);
    behind(LinkType::IEEE802_11_PRISM, |packet| {
        after(&prism, &wireless(&llc(packet)))
    });
    let mut avs = vec![0; 64];
    avs[..8].copy_from_slice(&[0x80, 0x21, 0x10, 1, 0, 0, 0, 64]);
    for link in [LinkType::IEEE802_11_PRISM, LinkType::IEEE802_11_AVS] {
        behind(link, |packet| after(&avs, &wireless(&llc(packet))));
    }
    // Beacons, acknowledgements, and frames without data are no losses.
    for first in [0x80, 0xd4, 0x48, 0xc8] {
        let (_, counters) = shown(LinkType::IEEE802_11, &talk(true), |_| {
            [&[first, 0][..], &[0; 40]].concat()
        });
        assert_eq!(counters.losses().count(), 0, "{counters:?}");
    }
    for second in [0x46, 0x04] {
        let (_, counters) = shown(LinkType::IEEE802_11, &talk(true), |_| {
            [&[8, second][..], &[0; 40]].concat()
        });
        assert_eq!(counters.losses().count(), 1, "encrypted, fragmented");
    }
}

#[test]
fn other_networks() {
    let typed_at = |at: usize| {
        move |packet: &[u8]| {
            let kind = kind(packet).to_be_bytes();
            [&vec![7; at][..], &kind, packet].concat()
        }
    };
    behind(LinkType::APPLE_IP_OVER_IEEE1394, typed_at(16));
    behind(LinkType::DSA_TAG_BRCM, typed_at(16));
    behind(LinkType::DSA_TAG_DSA, typed_at(16));
    behind(LinkType::DSA_TAG_EDSA, typed_at(20));
    behind(LinkType::DSA_TAG_BRCM_PREPEND, |packet| {
        after(&[1; 4], &ethernet(packet))
    });
    behind(LinkType::NETANALYZER, |packet| after(&[1; 4], &ethernet(packet)));
    behind(LinkType::ATM_RFC1483, |packet| snap([0; 3], kind(packet), packet));
    behind(LinkType::IP_OVER_FC, |packet| {
        after(&[1; 16], &snap([0; 3], kind(packet), packet))
    });
    behind(LinkType::DOCSIS, |packet| {
        after(&[0, 0, 0, 90, 1, 2], &ethernet(packet))
    });
    behind(LinkType::DOCSIS, |packet| {
        after(&[1, 3, 0, 90, 5, 5, 5, 1, 2], &ethernet(packet))
    });
}

#[test]
fn cooked_captures_of_every_device() {
    let first = |hardware: u16, protocol: u16, content: &[u8]| {
        let words = [hardware.to_be_bytes(), protocol.to_be_bytes()];
        [&[0, 4][..], &words[0], &[0; 10], &words[1], content].concat()
    };
    let second = |hardware: u16, protocol: u16, content: &[u8]| {
        let words = [hardware.to_be_bytes(), protocol.to_be_bytes()];
        [&words[1][..], &[0; 6], &words[0], &[4, 6], &[0; 8], content].concat()
    };
    type Cook = fn(u16, u16, &[u8]) -> Vec<u8>;
    let cooks: [(LinkType, Cook); 2] = [(LinkType::LINUX_SLL, first), (LinkType::LINUX_SLL2, second)];
    for (link, cook) in cooks {
        let of = |wrap: &dyn Fn(&[u8]) -> Vec<u8>| assert_eq!(direction(link, wrap), "egress", "{link:?}");
        // Ethernet, PPP, none, a tunnel, GRE, 6in4.
        for hardware in [1, 512, 65534, 768, 778, 776] {
            of(&|packet| cook(hardware, kind(packet), packet));
        }
        of(&|packet| cook(1, 4, &snap([0; 3], kind(packet), packet)));
        of(&|packet| cook(1, 0x8100, &tagged(7, kind(packet), packet)));
        of(&|packet| {
            cook(
                770,
                0,
                &after(&[0x18, 0x41, 3, 0x80], &snap([0; 3], kind(packet), packet)[3..]),
            )
        });
        let frame = |packet: &[u8]| wireless(&snap([0; 3], kind(packet), packet));
        of(&|packet| cook(803, 25, &after(&[0, 0, 8, 0, 0, 0, 0, 0], &frame(packet))));
        let told = through("PPPoE", link, |packet| cook(1, 0x8864, &pppoe(&ppp(packet))));
        assert_eq!(told.0, serde_json::json!(["pppoe"]));
    }
}
