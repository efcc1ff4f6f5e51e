//! Where the programs belong: which one stands at which side of which kind of interface.

/// How the names of the programs, and so of their filters, begin.
pub const PREFIX: &str = "weir_";
/// How those of the port map begin.
pub const MAP_PREFIX: &str = "weir_map_";

pub(crate) const PROGRAMS: [&str; 6] = [
    "weir_ingress",
    "weir_ingress_l3",
    "weir_egress",
    "weir_egress_l3",
    "weir_lo_ingress",
    "weir_lo_egress",
];

/// A side of an interface, as a packet passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// What the interface receives.
    Ingress,
    /// What it sends.
    Egress,
}

/// What stands before the IP header of an interface's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The loopback interface.
    Loopback,
    /// An Ethernet header.
    Ethernet,
    /// Nothing (tunnels).
    Bare,
}

/// The program for one side of an interface.
pub fn program(kind: Kind, side: Side) -> &'static str {
    match (kind, side) {
        (Kind::Loopback, Side::Ingress) => "weir_lo_ingress",
        (Kind::Loopback, Side::Egress) => "weir_lo_egress",
        (Kind::Ethernet, Side::Ingress) => "weir_ingress",
        (Kind::Ethernet, Side::Egress) => "weir_egress",
        (Kind::Bare, Side::Ingress) => "weir_ingress_l3",
        (Kind::Bare, Side::Egress) => "weir_egress_l3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_one_place() {
        let mut places = Vec::new();
        for kind in [Kind::Loopback, Kind::Ethernet, Kind::Bare] {
            places.extend([Side::Ingress, Side::Egress].map(|side| program(kind, side)));
        }
        places.sort_unstable();
        let mut programs = PROGRAMS;
        programs.sort_unstable();
        assert_eq!(places, programs);
    }
}
