//! From any layer below IP to the IP packet: Ethernet with its tags, LLC, MPLS, PPP, and what else stands before IP headers.
//!
//! Layers of Ethernet and of what stands for it, at a packet's beginning and within tunnels. Each step takes bytes off, so that the way to IP is as long
//! as the packet at most.

use crate::{
    outside::Outside,
    packet::{Ip, Payload, Skip, Unread, byte, short, word},
};
use weir_records::TunnelKind;

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
/// Types below are lengths, and LLC follows (IEEE 802.3).
const LENGTH: u16 = 1500;
/// What Linux calls 802.3 without LLC, and LLC (ETH_P_802_3, ETH_P_802_2 of include/uapi/linux/if_ether.h).
const LINUX_RAW: u16 = 1;
const LINUX_LLC: u16 = 4;
/// Transparent Ethernet bridging: an Ethernet frame follows.
pub(crate) const BRIDGED: u16 = 0x6558;
/// PPP over Ethernet, session.
const PPPOE: u16 = 0x8864;
/// Cisco's MetaData, a tag with a security group.
pub(crate) const CISCO_METADATA: u16 = 0x8909;
const MACSEC: u16 = 0x88e5;
/// The tag of a provider's backbone bridge (IEEE 802.1ah).
const BACKBONE: u16 = 0x88e7;
const FABRIC_PATH: u16 = 0x8903;
pub(crate) const PPP: u16 = 0x880b;

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// An IP header.
    Ip,
    /// Two addresses of six bytes, and a type.
    Ethernet,
    /// What this Ethernet type says.
    Type(u16),
    /// IEEE 802.2.
    Llc,
    /// Cisco's HDLC.
    CiscoHdlc,
    /// PPP, with its address and control bytes or without.
    Ppp,
    /// MPLS labels.
    Mpls,
    /// Frame Relay (Q.922).
    FrameRelay,
}

/// Some layer, and the bytes that begin with it.
pub(crate) type Found<'a> = Result<(Layer, Payload<'a>), Skip>;

/// Takes off all layers before the IP packet.
#[inline]
pub(crate) fn ip<'a>(
    mut layer: Layer,
    mut rest: Payload<'a>,
    outside: &mut Outside,
) -> Result<Payload<'a>, Skip> {
    loop {
        (layer, rest) = match layer {
            Layer::Ip | Layer::Type(IPV4 | IPV6) => return Ok(rest),
            Layer::Ethernet => (Layer::Type(short(rest.bytes, 12)?), rest.skip(14)?),
            layer => below(layer, rest, outside)?,
        };
    }
}

fn below<'a>(layer: Layer, rest: Payload<'a>, outside: &mut Outside) -> Found<'a> {
    match layer {
        Layer::Ip | Layer::Ethernet => Err(Skip::Malformed), // read before
        Layer::Type(kind) => by_type(kind, rest, outside),
        Layer::Llc => llc(rest),
        Layer::CiscoHdlc => Ok((Layer::Type(short(rest.bytes, 2)?), rest.skip(4)?)),
        Layer::Ppp => ppp(rest),
        Layer::Mpls => mpls(rest, outside),
        Layer::FrameRelay => frame_relay(rest),
    }
}

fn by_type<'a>(kind: u16, rest: Payload<'a>, outside: &mut Outside) -> Found<'a> {
    // The next type stands before what it is the type of.
    let tag = |at: usize| Ok((Layer::Type(short(rest.bytes, at)?), rest.skip(at + 2)?));
    match kind {
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
            outside.tag(short(rest.bytes, 0)?);
            tag(2)
        }
        LINUX_RAW => Err(Skip::NotIp),
        LINUX_LLC => Ok((Layer::Llc, rest)),
        0..=LENGTH => Ok((Layer::Llc, rest.until(kind.into()))),
        0x8847 | 0x8848 => Ok((Layer::Mpls, rest)),
        PPPOE => {
            if byte(rest.bytes, 0)? != 0x11 || byte(rest.bytes, 1)? != 0 {
                return Err(Skip::Malformed);
            }
            outside.enter(TunnelKind::Pppoe, None)?;
            let length = short(rest.bytes, 4)?;
            Ok((Layer::Ppp, rest.skip(6)?.until(length.into())))
        }
        CISCO_METADATA | 0x893f => tag(6), // and IEEE 802.1BR
        // VN-Tag, IEEE 802.1CB, HSR.
        0x8926 | 0xf1c1 | 0x892f => tag(4),
        MACSEC => macsec(rest),
        BRIDGED => Ok((Layer::Ethernet, rest)),
        BACKBONE => {
            let service = word(rest.bytes, 0)? & 0xff_ffff;
            outside.enter(TunnelKind::Pbb, Some(service))?;
            Ok((Layer::Ethernet, rest.skip(4)?))
        }
        FABRIC_PATH => Ok((Layer::Ethernet, rest.skip(2)?)),
        PPP => Ok((Layer::Ppp, rest)),
        kind if is_ordinary(kind) => Err(Skip::NotIp),
        _ => Err(Skip::Unread(Unread::EtherType)),
    }
}

/// Types of what runs a network and carries nobody's data, and of protocols that are no longer in use.
fn is_ordinary(kind: u16) -> bool {
    matches!(
        kind,
        // Address resolution; trunks of Cisco; Wake on LAN; TRILL's and others' neighbours.
        ARP | 0x8035 | 0x2000..=0x2004 | 0x0842 | 0x22f0 | 0x22f4
        // DECnet and its kin, AppleTalk, IPX, OSI, loops.
        | 0x6000..=0x6009 | 0x809b | 0x80f3 | 0x8137 | 0x8138 | 0xfefe | 0x9000
        // PAUSE, link aggregation, discovery of PPPoE, HomePlug, authentication, LLDP.
        | 0x8808 | 0x8809 | 0x8863 | 0x887b | 0x88e1 | 0x888e | 0x88cc
        // Registration, PTP, OAM, rings, PRP.
        | 0x88f5..=0x88f7 | 0x88fb | 0x8902
    )
}

/// MACsec (IEEE 802.1AE): what is only signed can be read.
fn macsec(rest: Payload<'_>) -> Found<'_> {
    let flags = byte(rest.bytes, 0)?;
    let (encrypted, changed, channel) = (flags & 8 != 0, flags & 4 != 0, flags & 0x20 != 0);
    if encrypted || changed {
        return Err(Skip::Unread(Unread::Encrypted));
    }
    let size = if channel { 14 } else { 6 };
    Ok((Layer::Type(short(rest.bytes, size)?), rest.skip(size + 2)?))
}

/// IEEE 802.2, and SNAP (RFC 1042).
fn llc(rest: Payload<'_>) -> Found<'_> {
    match rest.bytes.first_chunk::<3>() {
        Some([0xaa, 0xaa, 3]) => snap(rest.skip(3)?),
        Some([6, 6, 3]) => Ok((Layer::Ip, rest.skip(3)?)),
        // Spanning tree, OSI, IPX, NetBIOS.
        Some(_) => Err(Skip::NotIp),
        None => Err(Skip::Malformed),
    }
}

/// An organisation, and a type of its own, which of some organisations is Ethernet's.
fn snap(rest: Payload<'_>) -> Found<'_> {
    let organisation = word(rest.bytes, 0)? >> 8;
    let (kind, content) = (short(rest.bytes, 3)?, rest.skip(5)?);
    match (organisation, kind) {
        // RFC 1042; Cisco's for bridges (802.1H); Apple.
        (0 | 0xf8 | 0x08_0007, kind) if kind > LENGTH => Ok((Layer::Type(kind), content)),
        // Bridged Ethernet (RFC 2684), with its check sequence or without.
        (0x0080c2, 1 | 7) => Ok((Layer::Ethernet, content)),
        (_, IPV4 | IPV6) if Ip::is_sound(&content) => Ok((Layer::Ip, content)),
        // Spanning tree, CDP and others of Cisco, and of IEEE.
        (0 | 0x00000c | 0x0080c2, _) => Err(Skip::NotIp),
        _ => Err(Skip::Unread(Unread::EtherType)),
    }
}

/// PPP (RFC 1661, 1662), whose address and control, and the protocol's first byte, may be left out.
fn ppp(rest: Payload<'_>) -> Found<'_> {
    let framed = rest.bytes.starts_with(&[0xff, 3]);
    let rest = rest.skip(if framed { 2 } else { 0 })?;
    let first = byte(rest.bytes, 0)?;
    let (protocol, rest) = match first & 1 {
        1 => (first.into(), rest.skip(1)?),
        _ => (short(rest.bytes, 0)?, rest.skip(2)?),
    };
    match protocol {
        0x0021 | 0x0057 => Ok((Layer::Ip, rest)),
        0x0281 | 0x0283 => Ok((Layer::Mpls, rest)),
        0x0031 if byte(rest.bytes, 1)? == 1 => Ok((Layer::Ethernet, rest.skip(2)?)),
        // Encrypted, and compressed with or without it.
        0x0053 | 0x0055 | 0x00fb | 0x00fd => Err(Skip::Unread(Unread::Encrypted)),
        // Multilink, where all of a packet is in one fragment.
        0x003d if byte(rest.bytes, 0)? & 0xc0 == 0xc0 => Ok((Layer::Ppp, rest.skip(4)?)),
        // What sets up the link and its protocols; and OSI, DECnet, AppleTalk, IPX, NetBIOS, CDP, spanning tree.
        0x8000.. | 0x0023 | 0x0027 | 0x0029 | 0x002b | 0x003f | 0x0201..=0x0207 => Err(Skip::NotIp),
        _ => Err(Skip::Unread(Unread::PppProtocol)),
    }
}

/// Labels (RFC 3032). What follows the last of them says no type: it is what it looks like.
fn mpls<'a>(mut rest: Payload<'a>, outside: &mut Outside) -> Found<'a> {
    outside.enter(TunnelKind::Mpls, None)?;
    loop {
        let label = word(rest.bytes, 0)?;
        rest = rest.skip(4)?;
        if label >> 12 == 13 {
            return Err(Skip::NotIp); // OAM
        }
        if label & 0x100 != 0 {
            break;
        }
    }
    let first = byte(rest.bytes, 0)?;
    // A pseudowire of Ethernet (RFC 4448) has its control word or not, and an address may look like an IP header's beginning.
    match rest.skip(4) {
        _ if Ip::checks(rest.bytes) => Ok((Layer::Ip, rest)),
        Ok(frame) if first >> 4 == 0 && is_frame(&frame) => Ok((Layer::Ethernet, frame)),
        _ if is_frame(&rest) => Ok((Layer::Ethernet, rest)),
        _ if Ip::is_sound(&rest) => Ok((Layer::Ip, rest)),
        _ if first >> 4 == 1 => Err(Skip::NotIp), // its control channel
        _ => Err(Skip::Unread(Unread::TunnelContent)),
    }
}

/// Frame Relay: an address whose last byte is odd, then as RFC 2427 has it, or an Ethernet type as Cisco has it.
fn frame_relay(rest: Payload<'_>) -> Found<'_> {
    let address = rest.bytes.iter().take(4).position(|byte| byte & 1 == 1);
    let rest = rest.skip(address.ok_or(Skip::Malformed)? + 1)?;
    if byte(rest.bytes, 0)? != 3 {
        return Ok((Layer::Type(short(rest.bytes, 0)?), rest.skip(2)?));
    }
    let padded = byte(rest.bytes, 1)? == 0;
    let rest = rest.skip(if padded { 2 } else { 1 })?;
    match byte(rest.bytes, 0)? {
        0xcc | 0x8e => Ok((Layer::Ip, rest.skip(1)?)),
        0x80 => snap(rest.skip(1)?),
        _ => Err(Skip::NotIp), // its management, OSI
    }
}

/// True if this is an Ethernet frame, beyond doubt: of a tunnel that is known by a port alone, the frame within is the proof.
pub(crate) fn is_frame(frame: &Payload<'_>) -> bool {
    let at = |at: usize| short(frame.bytes, at).ok();
    let mut place = 12;
    let mut kind = at(place);
    while let Some(0x8100 | 0x88a8 | 0x9100 | CISCO_METADATA) = kind {
        place += if kind == Some(CISCO_METADATA) { 8 } else { 4 };
        kind = at(place);
    }
    let Some(kind) = kind else { return false };
    let Ok(content) = frame.skip(place + 2) else {
        return false;
    };
    match kind {
        IPV4 | IPV6 => Ip::is_sound(&content),
        ARP => content.bytes.starts_with(&[0, 1, 8, 0, 6, 4]),
        3..=LENGTH => usize::from(kind) <= content.len && is_llc(content.bytes),
        0x8847 | 0x8848 | PPPOE | BACKBONE | MACSEC => true,
        kind => kind > LENGTH && is_ordinary(kind),
    }
}

/// Spanning tree, SNAP, OSI.
fn is_llc(bytes: &[u8]) -> bool {
    [[0x42, 0x42, 3], [0xaa, 0xaa, 3], [0xfe, 0xfe, 3]]
        .iter()
        .any(|begin| bytes.starts_with(begin))
}
