use super::*;
use crate::Reader;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const IPV4: u16 = 0x0800;
/// The first interface of every namespace.
const LO: u32 = 1;

fn files(directory: &Path) -> Files {
    Files {
        path: directory.join("seen.pcapng"),
        size: 0,
        count: 1,
        snaplen: 1000,
    }
}

fn packet(n: u64, kind: u16, bytes: &[u8], way: Way) -> Packet<'_> {
    Packet {
        wire_len: bytes.len() + 7,
        interface: if way == Way::Local { LO } else { 4_000_000 },
        way,
        ..Packet::new(
            Timestamp(1_800_000_000_123_456_000 + n),
            LinkType::ethertype(kind),
            bytes,
            0,
        )
    }
}

/// Time, IP packet, its length on the wire and its way, of every packet.
type Seen = (u64, Vec<u8>, usize, Way);

fn read(path: &Path) -> Vec<Seen> {
    let mut reader = Reader::new(fs::File::open(path).unwrap()).unwrap();
    let mut all = Vec::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        let network = crate::link::network(&packet, &mut crate::outside::Outside::default()).unwrap();
        let (bytes, len) = (network.packet.bytes.to_vec(), network.packet.len);
        all.push((packet.at.0, bytes, len, network.way));
    }
    assert_eq!(reader.cut(), 0);
    all
}

fn seen(packet: &Packet<'_>) -> Seen {
    (packet.at.0, packet.bytes.to_vec(), packet.wire_len, packet.way)
}

#[test]
fn what_is_written_is_read_as_it_was_seen() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    let mut file = PacketFile::create(&files).unwrap();
    let ways = [Way::Sent, Way::Received, Way::Local, Way::Unknown];
    let packets = ways.map(|way| packet(way as u64, IPV4, b"four", way));
    // Of every length, since blocks are of whole words.
    let odd = packet(9, 0x86dd, b"seven b", Way::Sent);
    // Tags within the packet are as much its content.
    let tagged = packet(10, 0x8100, &[0, 9, 8, 0, 1, 2, 3], Way::Received);
    for packet in packets.iter().chain([&odd, &tagged]) {
        file.packet(packet).unwrap();
    }
    file.finish().unwrap();
    let all = read(&files.path);
    let expected: Vec<_> = packets.iter().chain([&odd]).map(seen).collect();
    assert_eq!(all[..5], expected);
    assert_eq!(
        all[5],
        (tagged.at.0, vec![1, 2, 3], tagged.wire_len - 4, Way::Received)
    );
    let mode = files.path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "packets are nobody else's business");
}

/// The content of every block of this type.
fn blocks(path: &Path, kind: u32) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let len = word(4) as usize;
        assert_eq!(word(len - 4) as usize, len);
        if word(0) == kind {
            found.push(rest[8..len - 4].to_vec());
        }
        rest = &rest[len..];
    }
    found
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn interfaces_are_named_and_losses_told() {
    let directory = tempfile::tempdir().unwrap();
    let files = files(directory.path());
    let mut file = PacketFile::create(&files).unwrap();
    file.packet(&packet(0, IPV4, b"four", Way::Local)).unwrap();
    file.packet(&packet(1, IPV4, b"four", Way::Sent)).unwrap();
    file.lost(5);
    drop(file);
    let interfaces = blocks(&files.path, INTERFACE);
    assert_eq!(interfaces.len(), 2, "one that is not there has no name");
    assert!(contains(&interfaces[0], b"any") && contains(&interfaces[1], b"lo"));
    let statistics = blocks(&files.path, STATISTICS);
    assert_eq!(statistics.len(), 2);
    for (code, n) in [(RECEIVED, 7_u64), (LOST, 5), (DELIVERED, 2)] {
        let option = [&code.to_le_bytes()[..], &8_u16.to_le_bytes(), &n.to_le_bytes()].concat();
        assert!(contains(&statistics[0], &option), "{code}");
    }
    let flags = [&FLAGS.to_le_bytes()[..], &[4, 0, 2, 0, 0, 0]].concat();
    assert!(contains(&blocks(&files.path, ENHANCED_PACKET)[1], &flags));
}

#[test]
fn so_many_files_of_such_a_size_are_kept_each_whole_in_itself() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files {
        size: 2000,
        count: 3,
        ..files(directory.path())
    };
    let mut file = PacketFile::create(&files).unwrap();
    let bytes = [7; 500];
    let packets: Vec<_> = (0..20).map(|n| packet(n, IPV4, &bytes, Way::Local)).collect();
    for packet in &packets {
        file.packet(packet).unwrap();
    }
    file.finish().unwrap();
    let names = ["seen.pcapng.2", "seen.pcapng.1", "seen.pcapng"].map(|name| directory.path().join(name));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), names.len());
    let kept: Vec<_> = names.iter().map(|name| read(name)).collect();
    assert!(kept.iter().all(|file| !file.is_empty()));
    for name in &names {
        assert!(name.metadata().unwrap().len() <= 2000 + 300, "statistics aside");
        assert!(!blocks(name, STATISTICS).is_empty());
    }
    let kept = kept.concat();
    let expected: Vec<_> = packets[packets.len() - kept.len()..].iter().map(seen).collect();
    assert_eq!(kept, expected, "the newest, none twice, none missing");
}

#[test]
fn one_file_begins_anew_and_a_packet_larger_than_any_file_is_written_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files {
        size: 10,
        ..files(directory.path())
    };
    let mut file = PacketFile::create(&files).unwrap();
    let packets = [0, 1, 2].map(|n| packet(n, IPV4, b"four", Way::Sent));
    for packet in &packets {
        file.packet(packet).unwrap();
    }
    file.finish().unwrap();
    assert_eq!(read(&files.path), [seen(&packets[2])]);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn what_can_not_be_written_is_said_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    for (path, said) in [("no/such/file", "create its directory"), (".", "name a file")] {
        let files = Files {
            path: directory.path().join(path),
            ..files(directory.path())
        };
        let error = PacketFile::create(&files).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let other = Packet::new(Timestamp(0), LinkType::ETHERNET, b"", 0);
    let mut file = PacketFile::create(&files(directory.path())).unwrap();
    assert!(
        file.packet(&other)
            .unwrap_err()
            .to_string()
            .contains("link type 1")
    );
    let full = Files {
        path: "/dev/full".into(),
        ..files(directory.path())
    };
    let error = PacketFile::create(&full).unwrap_err().to_string();
    assert!(error.contains("make room"), "{error}");
}
