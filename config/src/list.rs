//! Lists of ports, networks and interfaces as the command line and the file write them: comma-separated text or a
//! YAML sequence, `*` for all where that makes sense, nothing for none.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, net::IpAddr, str::FromStr};

/// A set of TCP or UDP ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// `*`: every port.
    All,
    /// These ports, in rising order and each once; an empty list is none.
    List(Vec<u16>),
}

/// A set of IPv4 and IPv6 networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cidrs {
    /// `*`: every address of both families.
    All,
    /// These networks, each once; an empty list is none.
    List(Vec<IpNet>),
}

/// Names of network interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(pub Vec<String>);

/// Addresses of servers, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers(pub Vec<IpAddr>);

/// Ports of this machine, each with the port at which the sidecar listens for its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMap(pub Vec<MappedPort>);

/// One entry of a [`PortMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedPort {
    /// The port that clients connect to.
    pub original: u16,
    /// The sidecar's.
    pub mapped: u16,
}

impl Ports {
    /// No port.
    pub const NONE: Self = Self::List(Vec::new());

    /// True if this port is one of them.
    pub fn contains(&self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::List(ports) => ports.binary_search(&port).is_ok(),
        }
    }

    /// The ports that were named one by one; none for [`Ports::All`].
    pub fn listed(&self) -> &[u16] {
        match self {
            Self::All => &[],
            Self::List(ports) => ports,
        }
    }
}

impl Cidrs {
    /// No network.
    pub const NONE: Self = Self::List(Vec::new());

    /// True if this address is in one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::List(nets) => nets.iter().any(|net| net.contains(&ip)),
        }
    }

    /// The networks that were named one by one; none for [`Cidrs::All`].
    pub fn listed(&self) -> &[IpNet] {
        match self {
            Self::All => &[],
            Self::List(nets) => nets,
        }
    }
}

pub(crate) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

pub(crate) fn port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{text}` is not a port; allowed are 1 to 65535")),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            format!("`{text}` is not a network; write for example 10.0.0.0/8, fd00::/8, or one address")
        })?;
    if net.trunc() != net {
        return Err(format!(
            "`{net}` has address bits set beyond its prefix; did you mean {}?",
            net.trunc()
        ));
    }
    Ok(net)
}

/// The kernel's rule for a name (`dev_valid_name`, net/core/dev.c), and `+`, which iptables takes as a wildcard.
fn interface(name: &str) -> Result<String, String> {
    let valid = name.len() < 16
        && !matches!(name, "." | "..")
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '"' | '\'' | '\\' | '!'));
    if valid {
        Ok(name.into())
    } else {
        Err(format!(
            "`{name}` is not the name of an interface (at most 15 characters, no `/`, `:` or quotes)"
        ))
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        let mut ports = items(text).map(port).collect::<Result<Vec<_>, _>>()?;
        ports.sort_unstable();
        ports.dedup();
        Ok(Self::List(ports))
    }
}

impl FromStr for Cidrs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        let mut nets = items(text).map(network).collect::<Result<Vec<_>, _>>()?;
        nets.sort_unstable();
        nets.dedup();
        Ok(Self::List(nets))
    }
}

impl FromStr for Interfaces {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        items(text).map(interface).collect::<Result<_, _>>().map(Self)
    }
}

/// Without an interface a link-local address says nothing, and with one it is not to be redirected.
fn server(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) if ip.is_unicast_link_local() => Err(format!(
            "`{text}` is a link-local address, which can't be redirected"
        )),
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            Err(format!("`{text}` is not one server's address"))
        }
        Ok(ip) => Ok(ip),
        Err(_) => Err(format!(
            "`{text}` is not an address; write for example 10.96.0.10 or fd00::a"
        )),
    }
}

impl FromStr for Servers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut servers = Vec::new();
        for address in items(text).map(server) {
            let address = address?;
            if !servers.contains(&address) {
                servers.push(address);
            }
        }
        Ok(Self(servers))
    }
}

fn mapped_port(text: &str) -> Result<MappedPort, String> {
    let Some((original, mapped)) = text.split_once(':') else {
        return Err(format!(
            "`{text}` is not a pair of ports; write ORIGINAL:SIDECAR'S, for example 8000:9000"
        ));
    };
    Ok(MappedPort {
        original: port(original.trim())?,
        mapped: port(mapped.trim())?,
    })
}

impl FromStr for PortMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut map = items(text).map(mapped_port).collect::<Result<Vec<_>, _>>()?;
        map.sort_unstable();
        map.dedup();
        let originals: Vec<u16> = map.iter().map(|pair| pair.original).collect();
        for (i, pair) in map.iter().enumerate() {
            if originals[..i].contains(&pair.original) {
                return Err(format!("port {} has two ports of the sidecar's", pair.original));
            }
            if map[..i].iter().any(|other| other.mapped == pair.mapped) {
                return Err(format!(
                    "port {} of the sidecar's stands for two ports",
                    pair.mapped
                ));
            }
            if originals.contains(&pair.mapped) {
                return Err(format!(
                    "port {} is an original port and can't be the sidecar's too",
                    pair.mapped
                ));
            }
        }
        Ok(Self(map))
    }
}

pub(crate) fn join<T: fmt::Display>(f: &mut fmt::Formatter<'_>, list: &[T]) -> fmt::Result {
    for (i, item) in list.iter().enumerate() {
        write!(f, "{}{item}", if i > 0 { "," } else { "" })?;
    }
    Ok(())
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::List(ports) => join(f, ports),
        }
    }
}

impl fmt::Display for Cidrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::List(nets) => join(f, nets),
        }
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, &self.0)
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, &self.0)
    }
}

impl fmt::Display for MappedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.original, self.mapped)
    }
}

impl fmt::Display for PortMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(f, &self.0)
    }
}

/// Reads `"80,443"`, `80` and `[80, "443"]` alike, and `{80: x}` as `"80:x"`: whatever it is becomes the comma-separated
/// text.
pub(crate) struct AsText;

impl<'de> de::Visitor<'de> for AsText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, or comma-separated text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.into())
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<String, E> {
        Ok(n.to_string())
    }

    fn visit_unit<E: de::Error>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
        let mut text = Vec::new();
        while let Some(item) = seq.next_element::<Scalar>()? {
            text.push(item.0);
        }
        Ok(text.join(","))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut text = Vec::new();
        while let Some((key, value)) = map.next_entry::<Scalar, Scalar>()? {
            text.push(format!("{}:{}", key.0, value.0));
        }
        Ok(text.join(","))
    }
}

struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(AsText).map(Scalar)
    }
}

macro_rules! list_value {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(AsText)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }
    };
}
pub(crate) use list_value;
list_value!(Ports);
list_value!(Cidrs);
list_value!(Interfaces);
list_value!(Servers);
list_value!(PortMap);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_sorted_and_without_repeats() {
        assert_eq!("443, 80,443".parse(), Ok(Ports::List(vec![80, 443])));
        assert_eq!("".parse(), Ok(Ports::NONE));
        assert_eq!(" * ".parse(), Ok(Ports::All));
        assert_eq!(
            "fd00::/8,10.0.0.1".parse::<Cidrs>().map(|c| c.to_string()),
            Ok("10.0.0.1/32,fd00::/8".into())
        );
    }

    #[test]
    fn wrong_items_say_what_is_allowed() {
        assert_eq!(
            "80,0".parse::<Ports>(),
            Err("`0` is not a port; allowed are 1 to 65535".into())
        );
        assert_eq!(
            "70000".parse::<Ports>(),
            Err("`70000` is not a port; allowed are 1 to 65535".into())
        );
        assert!(
            "10.0.0.0/33"
                .parse::<Cidrs>()
                .unwrap_err()
                .contains("not a network")
        );
        assert!(
            "10.0.0.1/8"
                .parse::<Cidrs>()
                .unwrap_err()
                .contains("did you mean 10.0.0.0/8?")
        );
        assert_eq!(
            "10.0.0.1, fd00::a,10.0.0.1"
                .parse::<Servers>()
                .map(|s| s.to_string()),
            Ok("10.0.0.1,fd00::a".into())
        );
        for wrong in ["10.0.0.1:53", "fe80::1", "0.0.0.0", "dns.example"] {
            assert!(wrong.parse::<Servers>().is_err(), "{wrong}");
        }
        assert!("eth0,a/b".parse::<Interfaces>().is_err());
    }

    #[test]
    fn a_port_map_is_unambiguous_both_ways() {
        let map: PortMap = "20880:30880, 8000:9000,8000:9000".parse().unwrap();
        assert_eq!(map.to_string(), "8000:9000,20880:30880");
        assert_eq!("".parse(), Ok(PortMap::default()));
        for (wrong, because) in [
            ("8000", "not a pair"),
            ("8000:0", "not a port"),
            ("8000:9000,8000:9001", "two ports of the sidecar's"),
            ("8000:9000,8001:9000", "stands for two ports"),
            ("8000:8000", "can't be the sidecar's too"),
            ("8000:9000,9000:9001", "can't be the sidecar's too"),
        ] {
            let said = wrong.parse::<PortMap>().unwrap_err();
            assert!(said.contains(because), "{wrong}: {said}");
        }
    }
}
