//! What the kernel lets through: a classic BPF program (Documentation/networking/filter.rst) on the packet from its IP header
//! on.
//!
//! It is a sieve that spares copies, and not the judge: what it can't tell (ports behind IPv6 extension headers, fragments
//! but the first, tags within tags) comes through, and is looked at again where it is understood.

use super::{Datagrams, InForce, Interfaces, Selection};
use nix::libc;
use socket2::SockFilter;

// Operation codes (include/uapi/linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_SHORT: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// X becomes the length of the IPv4 header that begins there.
const HEADER_LENGTH: u16 = 0xb1;
const LOAD_SHORT_BEHIND: u16 = 0x48;
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
/// Tags within tags, and PPP over Ethernet.
const WRAPPED: [u32; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x8864];
const TCP: u32 = 6;
const UDP: u32 = 17;
/// IPv6 extension headers, behind which nothing is told here.
const EXTENSIONS: [u32; 8] = [0, 43, 44, 51, 60, 135, 139, 140];
const DNS: u16 = 53;
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
    /// A frame for this host, or one whose interface is to see those for others.
    Ours,
    Protocol,
    Accept,
    Headers,
    Drop,
}

/// A program while it is written.
#[derive(Debug, Default)]
struct Writer {
    code: Vec<(u16, u8, u8, u32)>,
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

    fn finish(mut self) -> Vec<SockFilter> {
        for (place, label) in self.jumps {
            let target = self.labels.iter().find(|(known, _)| *known == label);
            let distance = target.map_or(0, |(_, target)| target - place - 1);
            self.code[place].3 = distance as u32;
        }
        let code = self.code.into_iter();
        code.map(|(op, yes, no, operand)| SockFilter::new(op, yes, no, operand))
            .collect()
    }
}

/// The program for this selection, with the interfaces that there are.
pub(super) fn program(selection: &Selection, there: &InForce) -> Vec<SockFilter> {
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
    to.jump(Label::Drop);
    let tcp = selection.ports.as_deref();
    let dns = [&[(DNS, DNS)], &*selection.dns].concat();
    let tcp = (tcp, Label::Drop);
    let udp = match selection.datagrams {
        Datagrams::None => (Some(&*dns), Label::Drop),
        Datagrams::Headers => (Some(&*dns), Label::Headers),
        Datagrams::Whole => (None, Label::Drop),
    };
    v4(&mut to, tcp, udp);
    v6(&mut to, tcp, udp);
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

/// Ports of which a packet has one, or nothing for all; and what becomes of it otherwise.
type Wanted<'a> = (Option<&'a [(u16, u16)]>, Label);

fn v4(to: &mut Writer, tcp: Wanted<'_>, udp: Wanted<'_>) {
    to.label(Label::V4);
    to.put(LOAD_SHORT, 6);
    // A fragment, but not the first. The first of a datagram that is kept in part would never be put together.
    let whole = if udp.1 == Label::Headers { FRAGMENT } else { OFFSET };
    to.when(JUMP_ANY_BIT, whole, Label::Accept);
    to.put(HEADER_LENGTH, 0);
    to.put(LOAD_BYTE, 9);
    to.when(JUMP_EQUAL, TCP, Label::V4Ports);
    to.when(JUMP_EQUAL, UDP, Label::V4Datagrams);
    to.jump(Label::Drop);
    to.label(Label::V4Ports);
    either(to, LOAD_SHORT_BEHIND, 0, tcp);
    to.label(Label::V4Datagrams);
    either(to, LOAD_SHORT_BEHIND, 0, udp);
}

fn v6(to: &mut Writer, tcp: Wanted<'_>, udp: Wanted<'_>) {
    to.label(Label::V6);
    to.put(LOAD_BYTE, 6);
    to.when(JUMP_EQUAL, TCP, Label::V6Ports);
    to.when(JUMP_EQUAL, UDP, Label::V6Datagrams);
    for header in EXTENSIONS {
        to.when(JUMP_EQUAL, header, Label::Accept);
    }
    to.jump(Label::Drop);
    to.label(Label::V6Ports);
    either(to, LOAD_SHORT, 40, tcp);
    to.label(Label::V6Datagrams);
    either(to, LOAD_SHORT, 40, udp);
}

/// Accepts if the source's or the destination's port is one of these, which begin there.
fn either(to: &mut Writer, load: u16, at: u32, (ports, otherwise): Wanted<'_>) {
    let Some(ports) = ports else {
        to.jump(Label::Accept);
        return;
    };
    for at in [at, at + 2] {
        to.put(load, at);
        to.when_port(ports, Label::Accept);
    }
    to.jump(otherwise);
}
