//! Version 2: a binary header (the specification's section 2.2).

use super::{Header, KEPT, Read, Said};
use std::net::{IpAddr, SocketAddr};
use weir_records::Preface;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and the length of what follows.
const HEADER: usize = 16;
/// Command LOCAL: the proxy speaks for itself, and the addresses say nothing.
const LOCAL: u8 = 0x20;
/// Command PROXY.
const PROXY: u8 = 0x21;

pub(super) fn read(bytes: &[u8]) -> Read {
    let begins = bytes.len().min(SIGNATURE.len());
    if bytes[..begins] != SIGNATURE[..begins] {
        return Read::Malformed;
    }
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Read::More;
    };
    let [.., command, family, high, low] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let size = match (command, addresses_size(family)) {
        (PROXY, Some(size)) if size <= length => size,
        // A proxy that speaks for itself may leave the addresses out.
        (LOCAL, size) => size.unwrap_or(0).min(length),
        _ => return Read::Malformed,
    };
    if body.len() < length && bytes.len() < KEPT {
        return Read::Begun;
    }
    let body = &body[..length.min(body.len())];
    let (addresses, rest) = body.split_at(size.min(body.len()));
    let mut said = Said::read(rest);
    said.local = command == LOCAL;
    Read::Header(Header {
        preface: Preface::ProxyV2,
        ends: (command == PROXY).then(|| ends(family, addresses)).flatten(),
        said,
        length: HEADER + length,
    })
}

/// Bytes of both addresses, by family and transport; nothing for those that nobody may send.
fn addresses_size(family: u8) -> Option<usize> {
    match family {
        0x00 => Some(0),
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(216),
        _ => None,
    }
}

/// The ends, where they have an IP address.
fn ends(family: u8, addresses: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (ips, ports) = addresses.split_at(addresses.len().checked_sub(4)?);
    let (client, server) = ips.split_at(ips.len() / 2);
    let address = |bytes: &[u8]| match family {
        0x11 | 0x12 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        0x21 | 0x22 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    };
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some((
        SocketAddr::new(address(client)?, port(0)),
        SocketAddr::new(address(server)?, port(2)),
    ))
}
