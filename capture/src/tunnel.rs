//! Packets within IP packets: what an IP protocol or a UDP port carries that is another packet.
//!
//! IP's protocols say what they are. A port says little: what is no sound packet of the tunnel at its port is a datagram like
//! others.

mod gre;
mod udp;

use crate::{
    ether::{Found, Layer},
    outside::Outside,
    packet::{Payload, Skip, Unread, short},
};
pub(crate) use udp::over_udp;
use weir_records::TunnelKind;

/// Takes off what this protocol of IP, which is neither TCP nor UDP, puts around a packet.
#[cold]
pub(crate) fn over_ip<'a>(protocol: u8, payload: Payload<'a>, outside: &mut Outside) -> Found<'a> {
    match protocol {
        4 | 41 | 94 => {
            outside.enter(TunnelKind::Ipip, None)?;
            Ok((Layer::Ip, payload))
        }
        47 => gre::gre(payload, outside),
        97 => {
            if short(payload.bytes, 0)? != 0x3000 {
                return Err(Skip::Malformed);
            }
            outside.enter(TunnelKind::EtherIp, None)?;
            Ok((Layer::Ethernet, payload.skip(2)?))
        }
        137 => Ok((Layer::Mpls, payload)),
        50 => Err(Skip::Unread(Unread::Encrypted)),
        // ICMP, IGMP, ICMPv6, and routers among themselves: EGP, IGP, RSVP, EIGRP, OSPF, PIM, VRRP; nothing.
        1 | 2 | 3 | 8 | 9 | 46 | 58 | 59 | 88 | 89 | 103 | 112 => Err(Skip::OtherTransport),
        115 => Err(Skip::Unread(Unread::TunnelContent)), // L2TP 3, whose ends alone know what its header has
        _ => Err(Skip::Unread(Unread::IpProtocol)),
    }
}
