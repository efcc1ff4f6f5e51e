//! Networks that are redirected or left alone, as the programs look them up: by the longest match alone.

use ipnet::IpNet;
use std::collections::BTreeMap;

const INCLUDED: u32 = 1;
const EXCLUDED: u32 = 2;

/// Both lists in one: every network with the lists that it is in, itself or as part of a wider one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(BTreeMap<IpNet, u32>);

impl Networks {
    /// From what is redirected and what is left alone.
    pub fn new(included: &[IpNet], excluded: &[IpNet]) -> Self {
        let flag = |net: &IpNet, list: &[IpNet], flag: u32| {
            if list.iter().any(|wider| wider.contains(net)) {
                flag
            } else {
                0
            }
        };
        let all = included.iter().chain(excluded).map(IpNet::trunc);
        Self(
            all.map(|net| {
                (
                    net,
                    flag(&net, included, INCLUDED) | flag(&net, excluded, EXCLUDED),
                )
            })
            .collect(),
        )
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpNet, u32)> {
        self.0.iter().map(|(net, flags)| (*net, *flags))
    }

    /// True if a loopback network of this family is to be redirected.
    pub(crate) fn include_loopback(&self, v6: bool) -> bool {
        self.iter().any(|(net, flags)| {
            let ip = net.addr();
            flags & INCLUDED != 0 && ip.is_loopback() && ip.is_ipv6() == v6
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_in_every_list_that_a_wider_one_is_in() {
        let nets = |list: &[&str]| -> Vec<IpNet> { list.iter().map(|net| net.parse().unwrap()).collect() };
        let networks = Networks::new(
            &nets(&["10.0.0.0/8", "10.1.2.0/24", "fd00::/8"]),
            &nets(&["10.1.0.0/16", "192.0.2.7/32"]),
        );
        let found: Vec<(String, u32)> = networks
            .iter()
            .map(|(net, flags)| (net.to_string(), flags))
            .collect();
        let expected = [
            ("10.0.0.0/8", INCLUDED),
            ("10.1.0.0/16", INCLUDED | EXCLUDED),
            ("10.1.2.0/24", INCLUDED | EXCLUDED),
            ("192.0.2.7/32", EXCLUDED),
            ("fd00::/8", INCLUDED),
        ];
        assert_eq!(found, expected.map(|(net, flags)| (net.to_owned(), flags)));
    }
}
