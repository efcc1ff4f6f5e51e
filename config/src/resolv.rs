//! The resolvers that programs of this machine ask: `/etc/resolv.conf` as resolver libraries read it.

use crate::{ConfigError, Servers};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

const PATH: &str = "/etc/resolv.conf";
/// Further ones are ignored by resolver libraries (resolv.conf(5), MAXNS).
const MAX: usize = 3;

/// The resolvers of this machine's `/etc/resolv.conf`.
///
/// # Errors
/// The file is there and can't be read.
pub(crate) fn resolvers() -> Result<Servers, ConfigError> {
    match std::fs::read(PATH) {
        Ok(text) => Ok(parse(&String::from_utf8_lossy(&text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(parse("")),
        Err(source) => Err(ConfigError::Read {
            path: Path::new(PATH).into(),
            source,
        }),
    }
}

/// Link-local servers (`fe80::1%eth0`) count, but are left out: they mean nothing without their interface.
fn parse(text: &str) -> Servers {
    let named: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .filter_map(|rest| rest.split_whitespace().next())
        .take(MAX)
        .collect();
    if named.is_empty() {
        return Servers(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    let mut servers: Vec<IpAddr> = Vec::new();
    for address in named.iter().filter_map(|name| name.parse().ok()) {
        if !servers.contains(&address) {
            servers.push(address);
        }
    }
    Servers(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        parse(text).to_string()
    }

    #[test]
    fn nameservers_are_read_as_resolver_libraries_do() {
        assert_eq!(
            parsed(
                "# nameserver 1.1.1.1\nsearch a b\nnameserver 127.0.0.53 # local\nnameserver\tfd00::a\noptions edns0\n"
            ),
            "127.0.0.53,fd00::a"
        );
        assert_eq!(
            parsed(
                "nameserver 198.18.0.1\nnameserver 198.18.0.1\nnameserver 198.18.0.2\nnameserver 198.18.0.3\n"
            ),
            "198.18.0.1,198.18.0.2",
            "three lines, one of them a repeat"
        );
        assert_eq!(
            parsed("nameserver fe80::1%eth0\nnameserver 198.18.0.2\n"),
            "198.18.0.2"
        );
        assert_eq!(parsed("nameserver fe80::1%eth0\n"), "");
    }

    #[test]
    fn without_any_it_is_this_machine() {
        assert_eq!(parsed(""), "127.0.0.1");
        assert_eq!(
            parsed("nameservers 198.18.0.1\n nameserver 198.18.0.1\n"),
            "127.0.0.1"
        );
    }
}
