//! Which protocol is spoken at a port, where the user knows it: `20880:dubbo,9000-9010:http1,3306:tcp`, or in the file a
//! map, `{20880: dubbo, 9000-9010: http1, 3306: tcp}`.

use crate::list::{AsText, items, list_value, port};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// Protocols of servers' ports. What is spoken at the others is found out from what is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(Vec<Pin>);

/// One or several ports, and what is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pin {
    first: u16,
    last: u16,
    protocol: Pinned,
}

/// What a port may be pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pinned {
    /// HTTP/1.x.
    Http1,
    /// HTTP/2, and gRPC and Triple on it.
    Http2,
    /// DNS, over UDP and TCP.
    Dns,
    /// TLS.
    Tls,
    /// Dubbo 2.
    Dubbo,
    /// Nothing that is to be decoded.
    Tcp,
}

/// Every name, the one that is printed first among those of the same protocol.
const NAMES: [(&str, Pinned); 9] = [
    ("http1", Pinned::Http1),
    ("http", Pinned::Http1),
    ("http2", Pinned::Http2),
    ("grpc", Pinned::Http2),
    ("triple", Pinned::Http2),
    ("dns", Pinned::Dns),
    ("tls", Pinned::Tls),
    ("dubbo", Pinned::Dubbo),
    ("tcp", Pinned::Tcp),
];

impl Pins {
    /// The ports, first and last, at which this is spoken.
    pub fn ports(&self, protocol: Pinned) -> Vec<(u16, u16)> {
        let pins = self.0.iter().filter(|pin| pin.protocol == protocol);
        pins.map(|pin| (pin.first, pin.last)).collect()
    }

    /// What is spoken at this port of a server, if that was said.
    pub fn get(&self, port: u16) -> Option<Pinned> {
        let after = self.0.partition_point(|pin| pin.first <= port);
        let pin = self.0[..after].last()?;
        (port <= pin.last).then_some(pin.protocol)
    }
}

impl FromStr for Pinned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        named.map(|(_, protocol)| *protocol).ok_or_else(|| {
            let names = NAMES.map(|(name, _)| name).join(", ");
            format!("`{text}` is no protocol that is known here; allowed are {names} (tcp: not decoded)")
        })
    }
}

fn pin(text: &str) -> Result<Pin, String> {
    let Some((ports, protocol)) = text.split_once(':') else {
        return Err(format!(
            "`{text}` is not a port and its protocol; write PORT:PROTOCOL, for example 20880:dubbo or 9000-9010:http1"
        ));
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (port(first.trim())?, port(last.trim())?);
    if first > last {
        return Err(format!(
            "`{ports}` ends before it begins; did you mean {last}-{first}?"
        ));
    }
    let protocol = protocol.trim().parse()?;
    Ok(Pin {
        first,
        last,
        protocol,
    })
}

impl FromStr for Pins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pins = items(text).map(pin).collect::<Result<Vec<_>, _>>()?;
        pins.sort_unstable();
        pins.dedup();
        let overlap = pins.windows(2).find(|pair| pair[1].first <= pair[0].last);
        match overlap {
            Some(pair) => Err(format!(
                "port {} is named twice: {} and {}; a port speaks one protocol",
                pair[1].first, pair[0], pair[1]
            )),
            None => Ok(Self(pins)),
        }
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().find(|(_, protocol)| protocol == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}:{}", self.first, self.protocol)
        } else {
            write!(f, "{}-{}:{}", self.first, self.last, self.protocol)
        }
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::list::join(f, &self.0)
    }
}

list_value!(Pins);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_the_protocol_of_its_pin() {
        let pins: Pins = " 9000-9010:HTTP, 20880:dubbo,3306:tcp,20880:dubbo,65535:triple,1:dns"
            .parse()
            .unwrap();
        assert_eq!(
            pins.to_string(),
            "1:dns,3306:tcp,9000-9010:http1,20880:dubbo,65535:http2"
        );
        assert_eq!(pins.to_string().parse(), Ok(pins.clone()));
        for (port, protocol) in [
            (1, Some(Pinned::Dns)),
            (2, None),
            (3306, Some(Pinned::Tcp)),
            (8999, None),
            (9000, Some(Pinned::Http1)),
            (9010, Some(Pinned::Http1)),
            (9011, None),
            (20880, Some(Pinned::Dubbo)),
            (65535, Some(Pinned::Http2)),
        ] {
            assert_eq!(pins.get(port), protocol, "{port}");
        }
        assert_eq!("".parse(), Ok(Pins::default()));
        assert_eq!(Pins::default().get(80), None);
    }

    #[test]
    fn wrong_pins_say_what_is_allowed() {
        for (wrong, because) in [
            ("20880", "write PORT:PROTOCOL"),
            ("0:dubbo", "`0` is not a port; allowed are 1 to 65535"),
            ("70000:dubbo", "`70000` is not a port"),
            ("9010-9000:http1", "did you mean 9000-9010?"),
            (
                "80:smtp",
                "`smtp` is no protocol that is known here; allowed are http1, http,",
            ),
            ("80:", "`` is no protocol"),
            ("80:http1,80:tcp", "port 80 is named twice: 80:http1 and 80:tcp"),
            ("80-90:http1,85:tcp", "port 85 is named twice"),
        ] {
            let said = wrong.parse::<Pins>().unwrap_err();
            assert!(said.contains(because), "{wrong}: {said}");
        }
    }
}
