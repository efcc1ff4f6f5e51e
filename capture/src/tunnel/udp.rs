//! Tunnels over UDP: known by their ports, and believed where what they carry is sound.

use super::gre;
use crate::{
    ether::{BRIDGED, IPV4, IPV6, Layer, is_frame},
    outside::Outside,
    packet::{Datagram, Ip, Payload, Skip, byte, short, word},
};
use weir_records::TunnelKind;

const L2TP: u16 = 1701;
const GTP: u16 = 2152;
const TEREDO: u16 = 3544;
const GRE: u16 = 4754;
const VXLAN: u16 = 4789;
/// VXLAN's generic extension.
const VXLAN_GPE: u16 = 4790;
const GENEVE: u16 = 6081;
const MPLS: u16 = 6635;
/// VXLAN, where Linux had it before it was assigned a port (flannel, Cilium).
const VXLAN_LINUX: u16 = 8472;

/// A kind of tunnel, the number of its network, and what it carries.
type Carried<'a> = (TunnelKind, Option<u32>, Layer, Payload<'a>);

/// Takes off a tunnel's header; nothing if the datagram is none of a tunnel.
#[inline]
pub(crate) fn over_udp<'a>(
    datagram: &Datagram<'a>,
    outside: &mut Outside,
) -> Result<Option<(Layer, Payload<'a>)>, Skip> {
    match (datagram.destination_port, datagram.source_port) {
        (VXLAN | VXLAN_GPE | VXLAN_LINUX | GENEVE | GTP | GRE | MPLS, _) => tunnelled(datagram, outside),
        (L2TP | TEREDO, _) | (_, L2TP | TEREDO) => tunnelled(datagram, outside),
        _ => Ok(None),
    }
}

#[cold]
fn tunnelled<'a>(
    datagram: &Datagram<'a>,
    outside: &mut Outside,
) -> Result<Option<(Layer, Payload<'a>)>, Skip> {
    let payload = datagram.payload;
    let carried = match datagram.destination_port {
        VXLAN | VXLAN_LINUX => vxlan(payload),
        VXLAN_GPE => vxlan_gpe(payload),
        GENEVE => geneve(payload),
        GTP => gtp(payload),
        GRE => return over_gre(payload, outside),
        MPLS => labelled(payload),
        TEREDO => teredo(payload),
        L2TP => l2tp(payload),
        _ if datagram.source_port == TEREDO => teredo(payload),
        _ => l2tp(payload),
    };
    // What ends too early to be told is none.
    let Ok(Some((kind, id, layer, rest))) = carried else {
        return Ok(None);
    };
    if layer != Layer::Mpls {
        outside.enter(kind, id)?;
    }
    Ok(Some((layer, rest)))
}

/// What a tunnel's header says that it carries, if that is so.
fn proven<'a>(kind: TunnelKind, id: Option<u32>, layer: Layer, rest: Payload<'a>) -> Option<Carried<'a>> {
    let sound = match layer {
        Layer::Ethernet => is_frame(&rest),
        Layer::Ip => Ip::is_sound(&rest),
        _ => false,
    };
    sound.then_some((kind, id, layer, rest))
}

/// RFC 7348, with a policy group (draft-smith-vxlan-group-policy) or without.
fn vxlan(payload: Payload<'_>) -> Result<Option<Carried<'_>>, Skip> {
    let (flags, id) = (word(payload.bytes, 0)?, word(payload.bytes, 4)?);
    let plain = flags == 0x0800_0000 || flags & 0xffb7_0000 == 0x8800_0000;
    if !plain || id & 0xff != 0 {
        return Ok(None);
    }
    Ok(proven(
        TunnelKind::Vxlan,
        Some(id >> 8),
        Layer::Ethernet,
        payload.skip(8)?,
    ))
}

/// draft-ietf-nvo3-vxlan-gpe: the type of what follows in the last byte of the flags.
fn vxlan_gpe(payload: Payload<'_>) -> Result<Option<Carried<'_>>, Skip> {
    let (flags, id) = (word(payload.bytes, 0)?, word(payload.bytes, 4)?);
    let (has_id, has_type) = (flags & 0x0800_0000 != 0, flags & 0x0400_0000 != 0);
    if flags & 0xf1ff_ff00 != 0 || !has_id || id & 0xff != 0 {
        return Ok(None);
    }
    let layer = match (has_type, flags & 0xff) {
        (false, 0) | (true, 3) => Layer::Ethernet,
        (true, 1 | 2) => Layer::Ip,
        _ => return Ok(None),
    };
    Ok(proven(TunnelKind::Vxlan, Some(id >> 8), layer, payload.skip(8)?))
}

/// RFC 8926.
fn geneve(payload: Payload<'_>) -> Result<Option<Carried<'_>>, Skip> {
    let (begin, id) = (word(payload.bytes, 0)?, word(payload.bytes, 4)?);
    let (version, options) = (begin >> 30, (begin >> 24 & 0x3f) as usize * 4);
    let reserved = begin & 0x003f_0000 != 0 || id & 0xff != 0;
    let layer = match (begin & 0xffff) as u16 {
        BRIDGED => Layer::Ethernet,
        IPV4 | IPV6 => Layer::Ip,
        _ => return Ok(None),
    };
    if version != 0 || reserved {
        return Ok(None);
    }
    let rest = payload.skip(8 + options)?;
    Ok(proven(TunnelKind::Geneve, Some(id >> 8), layer, rest))
}

/// A user's packet in GTP version 1 (3GPP TS 29.281). Its tunnel's number differs by direction.
fn gtp(payload: Payload<'_>) -> Result<Option<Carried<'_>>, Skip> {
    let (flags, kind) = (byte(payload.bytes, 0)?, byte(payload.bytes, 1)?);
    let length = usize::from(short(payload.bytes, 2)?);
    if flags & 0xf8 != 0x30 || kind != 255 || payload.len != 8 + length {
        return Ok(None);
    }
    let mut at = 8;
    if flags & 7 != 0 {
        let mut extension = byte(payload.bytes, 11)?;
        at = 12;
        while flags & 4 != 0 && extension != 0 {
            let size = usize::from(byte(payload.bytes, at)?) * 4;
            if size == 0 {
                return Ok(None);
            }
            extension = byte(payload.bytes, at + size - 1)?;
            at += size;
        }
    }
    let rest = payload.skip(at)?;
    let ip = proven(TunnelKind::Gtp, None, Layer::Ip, rest);
    Ok(ip.or_else(|| proven(TunnelKind::Gtp, None, Layer::Ethernet, rest)))
}

/// Data of version 2 (RFC 2661, 3.1): PPP, of which IP alone is proof.
fn l2tp(payload: Payload<'_>) -> Result<Option<Carried<'_>>, Skip> {
    let flags = short(payload.bytes, 0)?;
    if flags & 0xb4ff != 2 {
        return Ok(None);
    }
    let mut at = 2;
    if flags & 0x4000 != 0 {
        if usize::from(short(payload.bytes, 2)?) != payload.len {
            return Ok(None);
        }
        at += 2;
    }
    at += 4; // tunnel, session
    if flags & 0x0800 != 0 {
        at += 4;
    }
    if flags & 0x0200 != 0 {
        at += 2 + usize::from(short(payload.bytes, at)?);
    }
    let frame = payload.skip(at)?;
    let protocol: &[&[u8]] = &[
        &[0xff, 3, 0, 0x21],
        &[0xff, 3, 0, 0x57],
        &[0xff, 3, 0x21],
        &[0xff, 3, 0x57],
    ];
    let bare: &[&[u8]] = &[&[0, 0x21], &[0, 0x57], &[0x21], &[0x57]];
    let head = protocol
        .iter()
        .chain(bare)
        .find(|head| frame.bytes.starts_with(head));
    let Some(head) = head else { return Ok(None) };
    Ok(proven(TunnelKind::L2tp, None, Layer::Ip, frame.skip(head.len())?))
}

/// RFC 4380: IPv6 with addresses of Teredo, behind what tells of the client's own address.
fn teredo(mut payload: Payload<'_>) -> Result<Option<Carried<'_>>, Skip> {
    if short(payload.bytes, 0)? == 1 {
        let lengths = [byte(payload.bytes, 2)?, byte(payload.bytes, 3)?].map(usize::from);
        payload = payload.skip(13 + lengths[0] + lengths[1])?;
    }
    if short(payload.bytes, 0)? == 0 {
        payload = payload.skip(8)?;
    }
    let [source, destination] = [word(payload.bytes, 8)?, word(payload.bytes, 24)?];
    if byte(payload.bytes, 0)? >> 4 != 6 || ![source, destination].contains(&0x2001_0000) {
        return Ok(None);
    }
    Ok(proven(TunnelKind::Teredo, None, Layer::Ip, payload))
}

/// RFC 7510.
fn labelled(payload: Payload<'_>) -> Result<Option<Carried<'_>>, Skip> {
    let mut at = 0;
    while word(payload.bytes, at)? & 0x100 == 0 {
        at += 4;
    }
    let rest = payload.skip(at + 4)?;
    let is_packet = Ip::is_sound(&rest) || is_frame(&rest) || rest.skip(4).is_ok_and(|rest| is_frame(&rest));
    Ok(is_packet.then_some((TunnelKind::Mpls, None, Layer::Mpls, payload)))
}

/// RFC 8086. What is no GRE is a datagram.
fn over_gre<'a>(payload: Payload<'a>, outside: &mut Outside) -> Result<Option<(Layer, Payload<'a>)>, Skip> {
    let before = outside.clone();
    match gre::gre(payload, outside) {
        Ok((Layer::Type(IPV4 | IPV6), rest)) if Ip::is_sound(&rest) => Ok(Some((Layer::Ip, rest))),
        Ok((Layer::Type(BRIDGED), rest)) if is_frame(&rest) => Ok(Some((Layer::Ethernet, rest))),
        _ => {
            *outside = before;
            Ok(None)
        }
    }
}
