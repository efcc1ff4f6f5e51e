//! The routes that make the spare addresses local, through rtnetlink.

use crate::{Error, Family};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Marks the routes as ours, so that removal takes no other away. Numbers from 5 on are for whoever wants one
/// (include/uapi/linux/rtnetlink.h); this one has no name in iproute2's `rt_protos`.
pub const PROTOCOL: u8 = 87;
/// RT_TABLE_LOCAL.
const LOCAL_TABLE: u32 = 255;
/// The loopback interface is number 1 in every network namespace (LOOPBACK_IFINDEX in the kernel).
const LOOPBACK: u32 = 1;

/// The route as iproute2 would add it.
pub fn command(family: Family) -> String {
    let ip = if family == Family::V6 { "ip -6" } else { "ip" };
    format!(
        "{ip} route add local {} dev lo table local proto {PROTOCOL}",
        family.spare()
    )
}

/// True where the loopback interface takes no IPv6 addresses and routes (as in Docker's containers by default).
/// Then nothing local speaks IPv6 and no spare address is needed.
pub fn ipv6_is_off() -> bool {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
    setting.is_ok_and(|value| value.trim() == "1")
}

/// Who put a route there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An installation of Weir.
    Ours,
    /// Somebody else; removal leaves it alone.
    Others,
}

/// Adds, finds and deletes the routes.
pub struct Routes {
    handle: Handle,
}

impl Routes {
    /// Opens a netlink socket; needs a running tokio runtime.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Netlink)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Adds the family's route. False if it was there already, or is not needed.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub async fn add(&self, family: Family) -> Result<bool, Error> {
        if family == Family::V6 && ipv6_is_off() {
            tracing::info!("IPv6 is switched off on the loopback interface: no IPv6 spare addresses");
            return Ok(false);
        }
        match self.handle.route().add(message(family)).execute().await {
            Ok(()) => Ok(true),
            Err(error) if errno(&error) == Some(Errno::EEXIST) => Ok(false),
            Err(error) => Err(failure(family, &error)),
        }
    }

    /// Deletes the family's route if it is ours. False if it was not there.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub async fn delete(&self, family: Family) -> Result<bool, Error> {
        match self.handle.route().del(message(family)).execute().await {
            Ok(()) => Ok(true),
            Err(error) if errno(&error) == Some(Errno::ESRCH) => Ok(false),
            Err(error) => Err(failure(family, &error)),
        }
    }

    /// Whose local route for the family's spare addresses is there, if any.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub async fn find(&self, family: Family) -> Result<Option<Owner>, Error> {
        let all = match family {
            Family::V4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            Family::V6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let mut routes = std::pin::pin!(self.handle.route().get(all).execute());
        let mut found = None;
        // To the end, so that no answer is left for the next request.
        while let Some(route) = routes.try_next().await.map_err(|error| failure(family, &error))? {
            if is_spare(&route, family.spare()) {
                found = Some(match route.header.protocol {
                    RouteProtocol::Other(PROTOCOL) => Owner::Ours,
                    _ => Owner::Others,
                });
            }
        }
        Ok(found)
    }
}

fn is_spare(route: &RouteMessage, spare: IpNet) -> bool {
    let destination = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(ip)) => IpAddr::V4(*ip) == spare.network(),
        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => IpAddr::V6(*ip) == spare.network(),
        _ => false,
    };
    route.header.kind == RouteType::Local
        && route.header.destination_prefix_length == spare.prefix_len()
        && route.attributes.iter().any(destination)
}

fn message(family: Family) -> RouteMessage {
    let spare = family.spare();
    match spare.network() {
        IpAddr::V4(ip) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(ip, spare.prefix_len())
            .output_interface(LOOPBACK)
            .table_id(LOCAL_TABLE)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .protocol(RouteProtocol::Other(PROTOCOL))
            .build(),
        IpAddr::V6(ip) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(ip, spare.prefix_len())
            .output_interface(LOOPBACK)
            .table_id(LOCAL_TABLE)
            .kind(RouteType::Local)
            .protocol(RouteProtocol::Other(PROTOCOL))
            .build(),
    }
}

fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| Errno::from_raw(-code.get())),
        _ => None,
    }
}

fn failure(family: Family, error: &rtnetlink::Error) -> Error {
    let message = match errno(error) {
        Some(Errno::EPERM) => return Error::Privilege("the kernel refuses to change routes".into()),
        Some(Errno::ENETDOWN) => {
            "the loopback interface is down; switch it on (`ip link set lo up`)".to_owned()
        }
        Some(errno) => errno.desc().to_owned(),
        None => error.to_string(),
    };
    Error::Route {
        family,
        command: command(family),
        message,
    }
}
