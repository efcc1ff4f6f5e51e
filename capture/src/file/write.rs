//! Writing pcapng: the packets of a [`crate::Tap`] as they were seen, to be decoded again or opened elsewhere.
//!
//! The link type is Linux cooked capture, second version: the tap gives packets from the IP header on, and this header
//! keeps what it knows beside them (interface, direction, Ethernet's type of what follows, tags within the packet
//! included). What the kernel had taken off before is not there: Ethernet's addresses, and the outermost VLAN tag, of
//! which the name of the VLAN's own interface tells.
//!
//! The first interface of a section is called `any` and stands for all: what the kernel lost, which it counts for all of
//! them together, is in its statistics, and packets of an interface that had gone before its name was asked are its.
//!
//! Here are the blocks; `write/rotated.rs` puts them into files.
//!
//! <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>,
//! <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>

mod rotated;

use super::pcapng::{BYTE_ORDER, ENHANCED_PACKET, FLAGS, INTERFACE, RESOLUTION, SECTION};
use crate::{LinkType, Packet, Way};
use nix::{ifaddrs::getifaddrs, libc};
pub use rotated::{Files, PacketFile, WriteError};
use std::collections::BTreeMap;
use weir_records::Timestamp;

const STATISTICS: u32 = 5;
/// The version of the format.
const MAJOR: u16 = 1;
/// A section whose length is not known.
const UNKNOWN_LENGTH: [u32; 2] = [u32::MAX; 2];
/// Options: what wrote the section; an interface's name and description; statistics.
const APPLICATION: u16 = 4;
const NAME: u16 = 2;
const DESCRIPTION: u16 = 3;
const RECEIVED: u16 = 4;
const LOST: u16 = 7;
const DELIVERED: u16 = 8;
/// Times are in ns.
const NANOSECONDS: u8 = 9;
/// Size of the cooked header.
const COOKED: u32 = 20;
/// Of an interface that nothing is known of (ARPHRD_VOID, include/uapi/linux/if_arp.h).
const VOID: u16 = 0xffff;
/// The interface that stands for all.
const ANY: u32 = 0;

/// An interface, and what was written of it in all.
#[derive(Clone, Debug)]
struct Device {
    name: Option<String>,
    hardware: u16,
    delivered: u64,
}

/// The interfaces whose packets were seen, by their index.
#[derive(Debug)]
struct Devices(BTreeMap<u32, Device>);

impl Devices {
    fn new() -> Self {
        let any = Device {
            name: Some("any".into()),
            hardware: VOID,
            delivered: 0,
        };
        Self([(ANY, any)].into())
    }

    /// The one with this index, asked of the system at its first packet.
    fn of(&mut self, index: u32) -> &mut Device {
        self.0.entry(index).or_insert_with(|| ask(index))
    }
}

fn ask(index: u32) -> Device {
    let found = getifaddrs().ok().and_then(|mut all| {
        all.find_map(|interface| {
            let link = *interface.address.as_ref()?.as_link_addr()?;
            (u32::try_from(link.ifindex()) == Ok(index)).then_some((interface.interface_name, link.hatype()))
        })
    });
    let (name, hardware) = found.unzip();
    Device {
        name,
        hardware: hardware.unwrap_or(VOID),
        delivered: 0,
    }
}

/// The blocks of one section.
#[derive(Debug, Default)]
struct Section {
    /// Places of the interfaces in it, by their index.
    places: BTreeMap<u32, u32>,
    snaplen: u32,
}

impl Section {
    /// Begins one.
    fn begin(out: &mut Vec<u8>, snaplen: u32, devices: &Devices) -> Self {
        let mut section = Self {
            places: BTreeMap::new(),
            snaplen: snaplen.saturating_add(COOKED),
        };
        block(out, SECTION, |out| {
            words(out, &[BYTE_ORDER, u32::from(MAJOR)]);
            words(out, &UNKNOWN_LENGTH);
            option(
                out,
                APPLICATION,
                concat!("weir ", env!("CARGO_PKG_VERSION")).as_bytes(),
            );
            option(out, 0, &[]);
        });
        if let Some(any) = devices.0.get(&ANY) {
            section.place(out, ANY, any);
        }
        section
    }

    /// The interface's place, told before its first packet.
    fn place(&mut self, out: &mut Vec<u8>, index: u32, device: &Device) -> u32 {
        let Some(name) = &device.name else { return ANY };
        let next = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        *self.places.entry(index).or_insert_with(|| {
            block(out, INTERFACE, |out| {
                words(out, &[LinkType::LINUX_SLL2.0, self.snaplen]);
                option(out, NAME, name.as_bytes());
                if index == ANY {
                    option(out, DESCRIPTION, b"all interfaces of the network namespace");
                }
                option(out, RESOLUTION, &[NANOSECONDS]);
                option(out, 0, &[]);
            });
            next
        })
    }

    /// A packet that was seen on this interface; of what follows its link layer, the type is `kind`.
    fn packet(&mut self, out: &mut Vec<u8>, packet: &Packet<'_>, kind: u16, device: &Device) {
        let place = self.place(out, packet.interface, device);
        let [high, low] = halves(packet.at.0);
        let len = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).saturating_add(COOKED);
        block(out, ENHANCED_PACKET, |out| {
            words(
                out,
                &[place, high, low, len(packet.bytes.len()), len(packet.wire_len)],
            );
            cooked(out, packet, kind, device.hardware);
            out.extend_from_slice(packet.bytes);
            pad(out);
            let flags: u32 = match packet.way {
                Way::Received => 1,
                Way::Sent => 2,
                Way::Local | Way::Unknown => return,
            };
            option(out, FLAGS, &flags.to_le_bytes());
            option(out, 0, &[]);
        });
    }

    /// What was seen and lost until now, since the capture began.
    fn statistics(&self, out: &mut Vec<u8>, devices: &Devices, now: Timestamp, lost: u64) {
        let total: u64 = devices.0.values().map(|device| device.delivered).sum();
        for (index, place) in &self.places {
            block(out, STATISTICS, |out| {
                let [high, low] = halves(now.0);
                words(out, &[*place, high, low]);
                if *index == ANY {
                    option(out, RECEIVED, &(total + lost).to_le_bytes());
                    option(out, LOST, &lost.to_le_bytes());
                    option(out, DELIVERED, &total.to_le_bytes());
                } else if let Some(device) = devices.0.get(index) {
                    option(out, DELIVERED, &device.delivered.to_le_bytes());
                }
                option(out, 0, &[]);
            });
        }
    }
}

/// The cooked header; its numbers are in network byte order.
fn cooked(out: &mut Vec<u8>, packet: &Packet<'_>, kind: u16, hardware: u16) {
    let (hardware, way) = match packet.way {
        Way::Local => (libc::ARPHRD_LOOPBACK, libc::PACKET_HOST),
        Way::Received => (hardware, libc::PACKET_HOST),
        Way::Sent => (hardware, libc::PACKET_OUTGOING),
        Way::Unknown => (hardware, libc::PACKET_OTHERHOST),
    };
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&packet.interface.to_be_bytes());
    out.extend_from_slice(&hardware.to_be_bytes());
    // No link-layer address.
    out.extend_from_slice(&[way, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// A block of this type: its length stands before and behind its content.
fn block(out: &mut Vec<u8>, kind: u32, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    words(out, &[kind, 0]);
    content(out);
    let len = u32::try_from(out.len() + 4 - start).unwrap_or(u32::MAX);
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    words(out, &[len]);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out);
}

/// Everything before is of whole words as well.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

fn words(out: &mut Vec<u8>, words: &[u32]) {
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}

/// The upper half of a number first.
fn halves(n: u64) -> [u32; 2] {
    [(n >> 32) as u32, n as u32]
}

#[cfg(test)]
mod tests;
