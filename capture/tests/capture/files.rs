//! File formats: both byte orders, both units of time, many interfaces, files that were cut.

use crate::support::*;
use proptest::prelude::*;
use std::io::{self, Read};
use weir_capture::{FileError, LinkType, Reader};

/// Numbers in one of the byte orders.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn u16(self, n: u16) -> [u8; 2] {
        if self.big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    }

    fn u32(self, n: u32) -> [u8; 4] {
        if self.big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    }

    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.u32(*word)).collect()
    }

    fn pcap(self, magic: u32, link: u32, packets: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
        let mut file = [
            self.u32(magic).to_vec(),
            self.u16(2).to_vec(),
            self.u16(4).to_vec(),
        ]
        .concat();
        file.extend(self.words(&[0, 0, 65535, link]));
        for (seconds, fraction, bytes, wire_len) in packets {
            file.extend(self.words(&[*seconds, *fraction, bytes.len() as u32, *wire_len]));
            file.extend(*bytes);
        }
        file
    }

    fn block(self, kind: u32, content: &[u8]) -> Vec<u8> {
        let mut content = content.to_vec();
        content.resize(content.len().next_multiple_of(4), 0);
        let length = self.u32(content.len() as u32 + 12);
        [&self.u32(kind)[..], &length, &content, &length].concat()
    }

    fn section(self) -> Vec<u8> {
        let content = [&self.u32(0x1a2b_3c4d)[..], &self.u16(1), &self.u16(0), &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &content)
    }

    fn interface(self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut content = [&self.u16(link)[..], &[0; 2], &self.u32(snaplen)].concat();
        for (code, value) in options {
            content.extend([self.u16(*code), self.u16(value.len() as u16)].concat());
            content.extend(*value);
            content.resize(content.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            content.extend([0; 4]);
        }
        self.block(1, &content)
    }

    fn packet(self, interface: u32, time: u64, bytes: &[u8], wire_len: u32) -> Vec<u8> {
        let head = [
            interface,
            (time >> 32) as u32,
            time as u32,
            bytes.len() as u32,
            wire_len,
        ];
        self.block(6, &[&self.words(&head), bytes].concat())
    }

    fn simple(self, bytes: &[u8], wire_len: u32) -> Vec<u8> {
        self.block(3, &[&self.u32(wire_len)[..], bytes].concat())
    }
}

const ORDERS: [Order; 2] = [Order { big: false }, Order { big: true }];

fn summary(file: &[u8]) -> Vec<(u32, u64, Vec<u8>, usize)> {
    let frames = read_all(file).unwrap();
    let summary = |(link, frame): (LinkType, Frame)| {
        let wire_len = frame.bytes.len();
        (link.0, frame.at, frame.bytes[..frame.kept].to_vec(), wire_len)
    };
    frames.into_iter().map(summary).collect()
}

#[test]
fn pcap_of_both_byte_orders_and_units() {
    for order in ORDERS {
        for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let file = order.pcap(magic, 113, &[(1, 999_999, b"abc", 3), (2, 5, b"", 70000)]);
            assert_eq!(
                summary(&file),
                [
                    (113, 1_000_000_000 + 999_999 * unit, b"abc".to_vec(), 3),
                    (113, 2_000_000_000 + 5 * unit, vec![], 70000),
                ]
            );
        }
    }
    // The upper bits of the link type tell of the checksum's length.
    let file = ORDERS[0].pcap(0xa1b2_c3d4, 0x2400_0001, &[(1, 0, b"abc", 3)]);
    assert_eq!(summary(&file)[0].0, 1);
}

#[test]
fn pcapng_has_sections_and_interfaces_with_their_own_time() {
    for order in ORDERS {
        let offset = if order.big {
            5i64.to_be_bytes()
        } else {
            5i64.to_le_bytes()
        };
        let file = [
            order.section(),
            order.interface(1, 0, &[]),                           // microseconds
            order.interface(276, 2, &[(2, b"eth0"), (9, &[9])]),  // nanoseconds
            order.interface(0, 0, &[(9, &[0x80 | 10])]),          // 1/1024 s
            order.interface(101, 0, &[(9, &[0]), (14, &offset)]), // seconds, and 5 more
            order.block(5, &[0; 12]),                             // statistics
            order.packet(0, 7, b"abcde", 9),
            order.packet(1, (3 << 32) + 9, b"b", 1),
            order.packet(2, 1024 + 512, b"c", 1),
            order.packet(3, 2, b"d", 1),
            order.packet(9, 2, b"e", 1), // an interface that was never described
            order.block(2, &[0; 24]),    // an obsolete packet
            order.section(),
            order.interface(108, 2, &[]),
            order.simple(b"fgh", 3),
            order.packet(0, 1, b"i", 1),
        ]
        .concat();
        assert_eq!(
            summary(&file),
            [
                (1, 7000, b"abcde".to_vec(), 9),
                (276, (3 << 32) + 9, b"b".to_vec(), 1),
                (0, 1_500_000_000, b"c".to_vec(), 1),
                (101, 7_000_000_000, b"d".to_vec(), 1),
                (u32::MAX, 7_000_000_000, b"e".to_vec(), 1),
                (108, 7_000_000_000, b"fg".to_vec(), 3),
                (108, 1000, b"i".to_vec(), 1),
            ]
        );
        let mut reader = Reader::new(&file[..]).unwrap();
        while reader.next_packet().unwrap().is_some() {}
        assert_eq!((reader.skipped(), reader.cut()), (1, 0));
    }
}

#[test]
fn sections_may_differ_in_byte_order() {
    let [little, big] = ORDERS;
    let file = [little, big].map(|order| {
        [
            order.section(),
            order.interface(1, 0, &[]),
            order.packet(0, 1, b"x", 1),
        ]
        .concat()
    });
    assert_eq!(summary(&file.concat()).len(), 2);
}

#[test]
fn a_file_that_was_cut_gives_what_it_holds() {
    let order = ORDERS[0];
    let pcap = order.pcap(0xa1b2_c3d4, 1, &[(1, 0, b"abcdef", 6), (2, 0, b"ghijkl", 6)]);
    let ng = [
        order.section(),
        order.interface(1, 0, &[]),
        order.packet(0, 1, b"abcdef", 6),
        order.packet(0, 2, b"ghijkl", 6),
    ]
    .concat();
    for (file, second) in [(pcap, 24 + 22), (ng, 28 + 20 + 40)] {
        for length in second..file.len() {
            let mut reader = Reader::new(&file[..length]).unwrap();
            assert_eq!(reader.next_packet().unwrap().unwrap().bytes, b"abcdef");
            assert!(reader.next_packet().unwrap().is_none());
            assert_eq!(reader.cut(), length - second);
        }
    }
}

#[test]
fn what_is_no_capture_is_said_to_be_none() {
    let error = |file: &[u8]| read_all(file).unwrap_err().to_string();
    assert_eq!(
        error(b""),
        "it is empty: not even the header of a capture file is there"
    );
    assert_eq!(
        error(b"GET / HTTP/1.1"),
        "it is neither pcap nor pcapng: it begins with 47 45 54 20 2f 20 48 54"
    );
    assert!(error(&[0xd4, 0xc3]).contains("neither"));
    assert!(error(&ORDERS[0].pcap(0xa1b2_c3d4, 1, &[])[..20]).contains("neither"));
    assert_eq!(summary(&ORDERS[0].pcap(0xa1b2_c3d4, 1, &[])), []);
}

#[test]
fn a_length_that_cannot_be_is_damage_and_is_not_allocated() {
    let order = ORDERS[0];
    let mut file = order.pcap(0xa1b2_c3d4, 1, &[(1, 0, b"abcdef", 6)]);
    file.extend(order.words(&[2, 0, u32::MAX, 6]));
    let mut reader = Reader::new(&file[..]).unwrap();
    assert!(reader.next_packet().unwrap().is_some());
    let error = reader.next_packet().unwrap_err();
    assert!(matches!(error, FileError::Damaged { offset: 46, .. }), "{error}");
    let file = [order.section(), order.words(&[6, u32::MAX - 3, 0, 0, 0, 0, 0, 0])].concat();
    assert!(read_all(&file).unwrap_err().to_string().contains("byte 28"));
    for short in [
        order.words(&[6, 4, 0, 0, 0, 0, 0, 0, 0, 0]),
        order.block(6, &[0; 16]),
        order.block(6, &order.words(&[0, 0, 0, 9, 9, 1])),
        order.block(3, &[]),
        order.block(1, &[0; 4]),
    ] {
        let file = [order.section(), short].concat();
        assert!(read_all(&file).unwrap_err().to_string().contains("byte 28"));
    }
}

/// Gives as many bytes at once as it likes.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(self.0.len()).min(into.len());
        into[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

proptest! {
    #[test]
    fn a_pipe_gives_the_packets_of_the_file(
        sizes in prop::collection::vec(0..200_000u32, 0..6),
        at_once in prop_oneof![1..100usize, 1000..100_000usize],
        big in any::<bool>(),
        ng in any::<bool>(),
    ) {
        let order = Order { big };
        let packets: Vec<_> = sizes.iter().map(|size| vec![*size as u8; *size as usize]).collect();
        let file = match ng {
            false => {
                let packets: Vec<_> = packets.iter().map(|bytes| (1, 0, &bytes[..], 1)).collect();
                order.pcap(0xa1b2_c3d4, 1, &packets)
            }
            true => packets.iter().fold([order.section(), order.interface(1, 0, &[])].concat(), |mut file, bytes| {
                file.extend(order.packet(0, 1, bytes, 1));
                file
            }),
        };
        let mut reader = Reader::new(Slow(&file, at_once)).unwrap();
        for bytes in &packets {
            prop_assert_eq!(reader.next_packet().unwrap().unwrap().bytes, &bytes[..]);
        }
        prop_assert!(reader.next_packet().unwrap().is_none());
        prop_assert_eq!(reader.cut(), 0);
    }
}
