//! What a flow's packets were wrapped in where they were captured: VLAN tags, and tunnels around the packet that counts.

use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::SerializeSeq};
use std::sync::Arc;

/// What lies around the packets of a flow, on the first packet that had something around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrapping {
    /// The VLAN of the outer tag.
    pub vlan: Option<u16>,
    /// The VLAN of the tag within the outer one.
    pub inner_vlan: Option<u16>,
    /// Tunnels, from outside to inside.
    pub tunnels: Vec<Tunnel>,
}

/// A tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// Its kind.
    pub kind: TunnelKind,
    /// The number of the network that it carries (VXLAN's and Geneve's VNI, GRE's key), where it has one.
    pub id: Option<u32>,
}

/// The kinds of tunnels that are taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TunnelKind {
    /// Cisco's ERSPAN, a mirror: types I, II and III.
    Erspan,
    /// Ethernet in IP (RFC 3378).
    EtherIp,
    /// Geneve (RFC 8926).
    Geneve,
    /// GRE (RFC 2784, 2890), of IP, of Ethernet (TEB, NVGRE), and of what else has an Ethernet type.
    Gre,
    /// GTP-U, the user plane of mobile networks.
    Gtp,
    /// IP in IP, of either version in either version.
    Ipip,
    /// L2TP, version 2 (RFC 2661).
    L2tp,
    /// MPLS labels.
    Mpls,
    /// A provider's backbone bridge (IEEE 802.1ah).
    Pbb,
    /// PPP over Ethernet (RFC 2516).
    Pppoe,
    /// PPTP (RFC 2637).
    Pptp,
    /// Teredo (RFC 4380).
    Teredo,
    /// VXLAN (RFC 7348), and its generic extension.
    Vxlan,
}

impl TunnelKind {
    /// The kind's name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Erspan => "erspan",
            Self::EtherIp => "etherip",
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::Gtp => "gtp",
            Self::Ipip => "ipip",
            Self::L2tp => "l2tp",
            Self::Mpls => "mpls",
            Self::Pbb => "pbb",
            Self::Pppoe => "pppoe",
            Self::Pptp => "pptp",
            Self::Teredo => "teredo",
            Self::Vxlan => "vxlan",
        }
    }
}

/// What a document says in `weir.tunnel`: the tunnels around the packets, then what a proxy was asked to connect to.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(with = "String")]
pub struct Tunnels {
    wrapping: Option<Arc<Wrapping>>,
    asked: Option<String>,
}

impl Tunnels {
    /// The tunnels around a flow's packets.
    #[inline]
    pub(crate) fn around(wrapping: Option<&Arc<Wrapping>>) -> Self {
        Self {
            wrapping: wrapping.filter(|wrapping| !wrapping.tunnels.is_empty()).cloned(),
            asked: None,
        }
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.wrapping.is_none() && self.asked.is_none()
    }

    /// What the client had asked a proxy to connect it to.
    pub fn asked(&self) -> Option<&str> {
        self.asked.as_deref()
    }

    /// Says what the client had asked a proxy to connect it to, unless a proxy further inside has been named.
    pub fn through(&mut self, target: String) {
        self.asked.get_or_insert(target);
    }
}

impl Serialize for Tunnels {
    /// A list; what a proxy was asked for is a text where it is alone.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match (&self.wrapping, &self.asked) {
            (None, Some(target)) => s.serialize_str(target),
            (wrapping, asked) => {
                let mut list = s.serialize_seq(None)?;
                for tunnel in wrapping.iter().flat_map(|wrapping| &wrapping.tunnels) {
                    list.serialize_element(tunnel.kind.name())?;
                }
                if let Some(target) = asked {
                    list.serialize_element(target)?;
                }
                list.end()
            }
        }
    }
}

/// The ids of the tunnels that have one.
#[inline]
pub(crate) fn ids(wrapping: Option<&Arc<Wrapping>>) -> Box<[u32]> {
    wrapping.map_or_else(Box::default, |wrapping| {
        wrapping.tunnels.iter().filter_map(|tunnel| tunnel.id).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tunnels: &Tunnels) -> String {
        serde_json::to_string(tunnels).unwrap()
    }

    #[test]
    fn tunnels_are_told_from_outside_to_inside() {
        let tunnel = |kind, id| Tunnel { kind, id };
        let wrapping = Arc::new(Wrapping {
            tunnels: vec![tunnel(TunnelKind::Gre, Some(7)), tunnel(TunnelKind::Mpls, None)],
            ..Wrapping::default()
        });
        let mut tunnels = Tunnels::around(Some(&wrapping));
        assert_eq!(text(&tunnels), r#"["gre","mpls"]"#);
        tunnels.through("a:1".to_owned());
        tunnels.through("further out:2".to_owned());
        assert_eq!(text(&tunnels), r#"["gre","mpls","a:1"]"#);
        assert_eq!(*ids(Some(&wrapping)), [7]);
    }

    #[test]
    fn what_a_proxy_was_asked_for_is_a_text() {
        let mut tunnels = Tunnels::around(Some(&Arc::new(Wrapping::default())));
        assert!(tunnels.is_empty());
        tunnels.through("a:1".to_owned());
        assert_eq!(
            (text(&tunnels), tunnels.asked()),
            (r#""a:1""#.to_owned(), Some("a:1"))
        );
    }
}
