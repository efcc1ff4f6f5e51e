//! The interfaces of this network namespace, asked of the kernel (rtnetlink(7)); no privilege is needed.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    /// The tunnels that end at it, while it is up.
    pub ends: Option<Ended>,
    /// Somebody has it take frames for other hosts: an administrator, a bridge, another program that captures.
    pub promiscuous: bool,
}

/// Tunnels whose packets the kernel unwraps at an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ended {
    Geneve,
    Gre,
    Gtp,
    Ipip,
    Vxlan,
}

impl Ended {
    fn at(kind: &InfoKind) -> Option<Self> {
        Some(match kind {
            InfoKind::Vxlan => Self::Vxlan,
            InfoKind::Geneve => Self::Geneve,
            InfoKind::Gtp => Self::Gtp,
            InfoKind::IpIp | InfoKind::Ip6Tnl | InfoKind::SitTun => Self::Ipip,
            InfoKind::GreTun | InfoKind::GreTun6 | InfoKind::GreTap | InfoKind::GreTap6 => Self::Gre,
            InfoKind::ErSpan | InfoKind::Ip6ErSpan => Self::Gre,
            _ => return None,
        })
    }
}

/// All interfaces.
///
/// # Errors
/// The errors of netlink: no descriptors or no memory.
pub(super) fn all() -> io::Result<Vec<Link>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&question(), 0)?;
    let mut links = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = usize::try_from(message.header.length).unwrap_or(rest.len());
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    links.push(Link::of(&link))
                }
                NetlinkPayload::Done(_) => return Ok(links),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            rest = rest.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn question() -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let link = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(link));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

impl Link {
    fn of(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            ends: None,
            promiscuous: false,
        };
        // (Some are there in every namespace, and down.)
        let is_up = message.header.flags.contains(LinkFlags::Up);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::LinkInfo(infos) if is_up => {
                    link.ends = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Ended::at(kind),
                        _ => None,
                    });
                }
                LinkAttribute::Promiscuity(holders) => link.promiscuous = *holders > 0,
                _ => {}
            }
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there_and_not_promiscuous() {
        let links = all().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(loopback.index > 0 && !loopback.promiscuous);
    }
}
