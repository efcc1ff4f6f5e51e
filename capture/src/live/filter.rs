//! What the kernel lets through: a classic BPF program (Documentation/networking/filter.rst) on the packet from its IP header
//! on.
//!
//! It is a sieve that spares copies, and not the judge: what it can't tell (ports behind IPv6 extension headers, fragments
//! but the first, tags within tags) comes through, and is looked at again where it is understood.
//!
//! Of datagrams at any port, what may be a message of DNS comes through: two fields of its header tell, so that hardly anything
//! else does. Tunnels come through whole, unless they end in this namespace: there their inside is seen at the interface that
//! unwraps them, and the packets around are left out, so that nothing is copied twice. Taps that share packets by flow, which
//! is that of the outer packet, would each get one direction of what is within a tunnel over UDP; such taps leave these out.

use super::{Datagrams, Ended, InForce, Interfaces, Selection};
use nix::libc;

// Operation codes (include/uapi/linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_SHORT: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// X becomes the length of the IPv4 header that begins there.
const HEADER_LENGTH: u16 = 0xb1;
const LOAD_SHORT_BEHIND: u16 = 0x48;
const LOAD_LENGTH: u16 = 0x80;
const SUBTRACT_HEADER: u16 = 0x1c;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// What the kernel knows of a packet beside its bytes (`SKF_AD_OFF` and on).
const fn known(what: libc::c_int) -> u32 {
    (libc::SKF_AD_OFF + what) as u32
}

const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
/// Tags within tags, PPP over Ethernet, MPLS, and tags of Cisco.
const WRAPPED: [u32; 9] = [
    0x8100, 0x88a8, 0x9100, 0x9200, 0x8864, 0x8847, 0x8848, 0x8909, 0x8926,
];
/// LLC, as Linux has it, and what it begins with where it is SNAP.
const LLC: u32 = 4;
const SNAP: u32 = 0xaaaa;
/// Protocols of IP that carry packets: IP, GRE, Ethernet, MPLS; and what is signed.
const IP_IN_IP: [u32; 3] = [4, 41, 94];
const GRE: u32 = 47;
const OTHER_CARRIERS: [u32; 3] = [51, 97, 137];
const L2TP: u16 = 1701;
const TEREDO: u16 = 3544;
/// Ports of tunnels over UDP, and where they end; `tunnel` knows them, too.
const TUNNELS: [(u16, Option<Ended>); 9] = [
    (4789, Some(Ended::Vxlan)),
    (4790, Some(Ended::Vxlan)),
    (8472, Some(Ended::Vxlan)),
    (6081, Some(Ended::Geneve)),
    (2152, Some(Ended::Gtp)),
    (L2TP, None),
    (TEREDO, None),
    (4754, None),
    (6635, None),
];
const TCP: u32 = 6;
const UDP: u32 = 17;
/// IPv6 extension headers, behind which nothing is told here.
const EXTENSIONS: [u32; 8] = [0, 43, 44, 51, 60, 135, 139, 140];
/// DNS, multicast DNS, and link-local name resolution.
const DNS: [(u16, u16); 3] = [(53, 53), (5353, 5353), (5355, 5355)];
/// Bytes of a datagram's header, and of DNS's.
const UDP_HEADER: u32 = 8;
const DNS_HEADER: u32 = 12;
/// In the second word of a message of DNS: that it is another operation than a query, and a bit that is always 0.
const NO_QUERY: u32 = 0x7840;
/// Bytes that are kept of datagrams that are only counted, from the IP header on: the longest header, that of UDP, and what
/// tells one datagram from the next (`HEAD` in `datagrams`).
const HEADERS: u32 = 60 + 8 + 64;
/// Fragment offset in IPv4's header; and the same with the flag that more fragments follow.
const OFFSET: u32 = 0x1fff;
const FRAGMENT: u32 = 0x3fff;

/// Places in the program that are jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    V4,
    V6,
    V4Ports,
    V4Datagrams,
    V6Ports,
    V6Datagrams,
    Llc,
    /// A frame for this host, or one whose interface is to see those for others.
    Ours,
    Protocol,
    Accept,
    Headers,
    Drop,
}

/// An instruction: operation, jumps if a test holds and if not, operand.
pub(super) type Instruction = (u16, u8, u8, u32);

/// A program while it is written.
#[derive(Debug, Default)]
struct Writer {
    code: Vec<Instruction>,
    /// Jumps, and where to.
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl Writer {
    fn put(&mut self, op: u16, operand: u32) {
        self.code.push((op, 0, 0, operand));
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.code.len()));
    }

    fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.put(JUMP, 0);
    }

    /// Jumps if the test holds. (A conditional jump reaches 255 instructions, this one any.)
    fn when(&mut self, test: u16, operand: u32, to: Label) {
        self.code.push((test, 0, 1, operand));
        self.jump(to);
    }

    /// Jumps if the value is one of these ports.
    fn when_port(&mut self, ports: &[(u16, u16)], to: Label) {
        for (first, last) in ports {
            self.code.push((JUMP_AT_LEAST, 0, 2, u32::from(*first)));
            self.code.push((JUMP_GREATER, 1, 0, u32::from(*last)));
            self.jump(to);
        }
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (place, label) in self.jumps {
            let target = self.labels.iter().find(|(known, _)| *known == label);
            let distance = target.map_or(0, |(_, target)| target - place - 1);
            self.code[place].3 = distance as u32;
        }
        self.code
    }
}

/// The program for this selection, with the interfaces that there are.
pub(super) fn program(selection: &Selection, there: &InForce, shared: bool) -> Vec<Instruction> {
    let mut to = Writer::default();
    // The loopback interface shows each packet twice: sent, and received.
    to.put(LOAD_WORD, known(libc::SKF_AD_HATYPE));
    to.code.push((JUMP_EQUAL, 0, 3, u32::from(libc::ARPHRD_LOOPBACK)));
    to.put(LOAD_WORD, known(libc::SKF_AD_PKTTYPE));
    to.when(JUMP_EQUAL, u32::from(libc::PACKET_OUTGOING), Label::Drop);
    not_for_others(&mut to, &there.promiscuous);
    let except = matches!(selection.interfaces, Interfaces::Except(_));
    by_interface(&mut to, &there.named, except);
    to.label(Label::Protocol);
    to.put(LOAD_WORD, known(libc::SKF_AD_PROTOCOL));
    to.when(JUMP_EQUAL, IPV4, Label::V4);
    to.when(JUMP_EQUAL, IPV6, Label::V6);
    for kind in WRAPPED {
        to.when(JUMP_EQUAL, kind, Label::Accept);
    }
    to.when(JUMP_EQUAL, LLC, Label::Llc);
    to.jump(Label::Drop);
    let dns = [&DNS, &*selection.dns].concat();
    let (ports, otherwise) = match selection.datagrams {
        Datagrams::None => (Some(&*dns), Label::Drop),
        Datagrams::Headers => (Some(&*dns), Label::Headers),
        Datagrams::Whole => (None, Label::Drop),
    };
    let wanted = Wanted {
        tcp: selection.ports.as_deref(),
        udp: ports,
        otherwise,
        ended: &there.ended,
        shared,
    };
    v4(&mut to, &wanted);
    v6(&mut to, &wanted);
    to.label(Label::Llc);
    to.put(LOAD_SHORT, 0);
    to.when(JUMP_EQUAL, SNAP, Label::Accept);
    to.label(Label::Drop);
    to.put(RETURN, 0);
    to.label(Label::Accept);
    to.put(RETURN, selection.snaplen);
    to.label(Label::Headers);
    to.put(RETURN, HEADERS.min(selection.snaplen));
    to.finish()
}

/// Leaves out frames for other hosts, which a bridge floods when it has forgotten whose address that is: but not where the
/// interface is promiscuous, because somebody wants to see them there.
fn not_for_others(to: &mut Writer, promiscuous: &[u32]) {
    to.put(LOAD_WORD, known(libc::SKF_AD_PKTTYPE));
    to.code
        .push((JUMP_EQUAL, 1, 0, u32::from(libc::PACKET_OTHERHOST)));
    to.jump(Label::Ours);
    if !promiscuous.is_empty() {
        to.put(LOAD_WORD, known(libc::SKF_AD_IFINDEX));
        for index in promiscuous {
            to.when(JUMP_EQUAL, *index, Label::Ours);
        }
    }
    to.jump(Label::Drop);
    to.label(Label::Ours);
}

fn by_interface(to: &mut Writer, interfaces: &[u32], except: bool) {
    if interfaces.is_empty() && except {
        return;
    }
    to.put(LOAD_WORD, known(libc::SKF_AD_IFINDEX));
    for index in interfaces {
        to.when(
            JUMP_EQUAL,
            *index,
            if except { Label::Drop } else { Label::Protocol },
        );
    }
    if !except {
        to.jump(Label::Drop);
    }
}

/// What of IP packets is wanted.
struct Wanted<'a> {
    /// Ports of which a segment has one, or nothing for all.
    tcp: Option<&'a [(u16, u16)]>,
    /// Ports of which a datagram has one, or nothing for all.
    udp: Option<&'a [(u16, u16)]>,
    /// What becomes of other datagrams.
    otherwise: Label,
    /// Tunnels that end here.
    ended: &'a [Ended],
    /// Other sockets get other flows.
    shared: bool,
}

impl Wanted<'_> {
    /// The label for packets of a tunnel that may end here.
    fn of(&self, tunnel: Option<Ended>) -> Label {
        match tunnel.is_some_and(|tunnel| self.ended.contains(&tunnel)) {
            true => Label::Drop,
            false => Label::Accept,
        }
    }
}

fn v4(to: &mut Writer, wanted: &Wanted<'_>) {
    to.label(Label::V4);
    to.put(LOAD_SHORT, 6);
    // A fragment, but not the first. The first of a datagram that is kept in part would never be put together.
    let is_cut = wanted.otherwise == Label::Headers;
    let whole = if is_cut { FRAGMENT } else { OFFSET };
    to.when(JUMP_ANY_BIT, whole, Label::Accept);
    to.put(HEADER_LENGTH, 0);
    to.put(LOAD_BYTE, 9);
    to.when(JUMP_EQUAL, TCP, Label::V4Ports);
    to.when(JUMP_EQUAL, UDP, Label::V4Datagrams);
    carriers(to, wanted);
    to.label(Label::V4Ports);
    either(to, LOAD_SHORT_BEHIND, 0, wanted.tcp);
    to.jump(Label::Drop);
    to.label(Label::V4Datagrams);
    datagrams(to, LOAD_SHORT_BEHIND, 0, wanted);
    to.put(LOAD_LENGTH, 0);
    to.put(SUBTRACT_HEADER, 0);
    messages(to, LOAD_SHORT_BEHIND, 0, wanted.otherwise);
}

fn v6(to: &mut Writer, wanted: &Wanted<'_>) {
    to.label(Label::V6);
    to.put(LOAD_BYTE, 6);
    to.when(JUMP_EQUAL, TCP, Label::V6Ports);
    to.when(JUMP_EQUAL, UDP, Label::V6Datagrams);
    for header in EXTENSIONS {
        to.when(JUMP_EQUAL, header, Label::Accept);
    }
    carriers(to, wanted);
    to.label(Label::V6Ports);
    either(to, LOAD_SHORT, 40, wanted.tcp);
    to.jump(Label::Drop);
    to.label(Label::V6Datagrams);
    datagrams(to, LOAD_SHORT, 40, wanted);
    to.put(LOAD_LENGTH, 0);
    messages(to, LOAD_SHORT, 40, wanted.otherwise);
}

/// Accepts packets whose protocol, which is loaded, carries packets, and drops all others.
fn carriers(to: &mut Writer, wanted: &Wanted<'_>) {
    for protocol in IP_IN_IP {
        to.when(JUMP_EQUAL, protocol, wanted.of(Some(Ended::Ipip)));
    }
    to.when(JUMP_EQUAL, GRE, wanted.of(Some(Ended::Gre)));
    for protocol in OTHER_CARRIERS {
        to.when(JUMP_EQUAL, protocol, Label::Accept);
    }
    to.jump(Label::Drop);
}

/// Sorts datagrams, whose ports begin there, by these.
fn datagrams(to: &mut Writer, load: u16, at: u32, wanted: &Wanted<'_>) {
    if wanted.udp.is_some() {
        either(to, load, at, wanted.udp);
    }
    to.put(load, at + 2);
    for (port, tunnel) in TUNNELS {
        let label = if wanted.shared {
            Label::Drop
        } else {
            wanted.of(tunnel)
        };
        to.when(JUMP_EQUAL, port.into(), label);
    }
    // The side that began an L2TP tunnel may have any port.
    if !wanted.shared {
        to.put(load, at);
        to.when(JUMP_EQUAL, L2TP.into(), Label::Accept);
        to.when(JUMP_EQUAL, TEREDO.into(), Label::Accept);
    }
    if wanted.udp.is_none() {
        to.jump(Label::Accept);
    }
}

/// Accepts if the source's or the destination's port is one of these, which begin there.
fn either(to: &mut Writer, load: u16, at: u32, ports: Option<&[(u16, u16)]>) {
    let Some(ports) = ports else {
        to.jump(Label::Accept);
        return;
    };
    for at in [at, at + 2] {
        to.put(load, at);
        to.when_port(ports, Label::Accept);
    }
}

/// Accepts a datagram that may be a message of DNS with one question: its header begins there, and the packet's length from
/// `load`'s beginning on is loaded.
fn messages(to: &mut Writer, load: u16, at: u32, otherwise: Label) {
    let message = at + UDP_HEADER;
    // (What is too short to be asked ends the program.)
    to.code.push((JUMP_AT_LEAST, 1, 0, message + DNS_HEADER));
    to.jump(otherwise);
    to.put(load, message + 2);
    to.when(JUMP_ANY_BIT, NO_QUERY, otherwise);
    to.put(load, message + 4);
    to.when(JUMP_EQUAL, 1, Label::Accept);
    to.jump(otherwise);
}

#[cfg(test)]
mod tests;
