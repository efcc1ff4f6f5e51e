//! What is taken off a packet before its addresses count: VLAN tags and tunnels.

use crate::packet::{Skip, Unread};
use std::hash::BuildHasher;
use weir_records::{Tunnel, TunnelKind, Wrapping};

/// Tunnels within each other that are taken off.
pub(crate) const DEEPEST: usize = 8;

/// What lay around the rest of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outside {
    wrapping: Wrapping,
}

impl Outside {
    /// A VLAN tag. (A tag for VLAN 0 carries a priority alone.)
    pub fn tag(&mut self, control: u16) {
        let Some(id) = Some(control & 0xfff).filter(|id| *id > 0) else {
            return;
        };
        match self.wrapping.vlan {
            None => self.wrapping.vlan = Some(id),
            Some(_) => self.wrapping.inner_vlan = Some(id),
        }
    }

    /// A tunnel, with the number of the network that it carries.
    pub fn enter(&mut self, kind: TunnelKind, id: Option<u32>) -> Result<(), Skip> {
        if self.wrapping.tunnels.len() >= DEEPEST {
            return Err(Skip::Unread(Unread::TooDeep));
        }
        self.wrapping.tunnels.push(Tunnel { kind, id });
        Ok(())
    }

    /// What a flow keeps of it; nothing if there was nothing.
    #[inline]
    pub fn wrapping(&self) -> Option<&Wrapping> {
        let plain = self.wrapping.vlan.is_none() && self.wrapping.tunnels.is_empty();
        (!plain).then_some(&self.wrapping)
    }

    /// The network that the packet belongs to: 0 is the one around all tunnels. Equal sockets in two networks are different ones.
    /// Only tunnels whose number names a network make one.
    #[inline]
    pub fn network(&self, hasher: &impl BuildHasher) -> u64 {
        match self.wrapping.tunnels.is_empty() {
            true => 0,
            false => self.numbered(hasher),
        }
    }

    #[cold]
    fn numbered(&self, hasher: &impl BuildHasher) -> u64 {
        let numbered = |tunnel: &&Tunnel| tunnel.id.is_some();
        let tunnels: Vec<_> = self.wrapping.tunnels.iter().filter(numbered).collect();
        match tunnels.is_empty() {
            true => 0,
            false => hasher.hash_one(tunnels).max(1),
        }
    }
}
