//! Routes and routing rules, through rtnetlink: what every mode needs beside its own way of catching packets.
//!
//! The spare local addresses are made local by a route whose metric says which mode is in force: that is where the
//! sidecar learns it. The transparent modes also need a rule that sends marked packets to a table of their own, and in
//! that table a route that makes every address local.

use crate::{Error, Family};
use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::{
    Handle, IpVersion, RouteMessageBuilder,
    packet_route::{
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleMessage},
    },
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use weir_config::{Interception, Mode, ROUTE_PROTOCOL};

/// RT_TABLE_LOCAL.
const LOCAL_TABLE: u32 = 255;
/// The loopback interface is number 1 in every network namespace (LOOPBACK_IFINDEX in the kernel).
const LOOPBACK: u32 = 1;
/// Where our rule stands among the others: before the main table (32766) and most that people add. Explicit, because
/// the kernel refuses a second one of the same kind only where its number is given.
const PRIORITY: u32 = 1337;

/// One thing that an installation puts into the routing of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The spare addresses are local.
    Spare {
        /// Which mode is in force: [`Mode::metric`].
        metric: u32,
    },
    /// Every address is local in this table.
    Everything {
        /// The table.
        table: u32,
    },
    /// Packets with the mark are routed by the table.
    Rule {
        /// The mark.
        mark: u32,
        /// The table.
        table: u32,
    },
}

/// What a mode needs, in the order in which it is to be added: the mode is told when the rest is there.
pub fn pieces(mode: Mode, set: &Interception) -> Vec<Piece> {
    let (mark, table) = (set.mark, set.route_table);
    let mut pieces = Vec::new();
    if mode.is_transparent() {
        pieces.push(Piece::Everything { table });
        pieces.push(Piece::Rule { mark, table });
    }
    pieces.push(Piece::Spare {
        metric: mode.metric(set.on_missing_proxy),
    });
    pieces
}

/// True where the loopback interface takes no IPv6 addresses and routes (as in Docker's containers by default).
/// Then nothing local speaks IPv6 and no piece is needed.
pub fn ipv6_is_off() -> bool {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
    setting.is_ok_and(|value| value.trim() == "1")
}

/// True if the family's routing takes pieces here.
pub fn is_routed(family: Family) -> bool {
    family == Family::V4 || !ipv6_is_off()
}

/// What was changed, so that it can be taken back.
#[derive(Debug, Default)]
pub struct Changes {
    added: Vec<(Family, Piece)>,
    deleted: Vec<(Family, Piece)>,
}

impl Changes {
    /// True if nothing was.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.deleted.is_empty()
    }
}

/// Adds, finds and deletes pieces.
pub struct Plumbing {
    handle: Handle,
}

impl Plumbing {
    /// Opens a netlink socket; needs a running tokio runtime.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Netlink)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Adds a piece. False if it was there already.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub async fn add(&self, family: Family, piece: &Piece) -> Result<bool, Error> {
        let result = match message(family, piece) {
            Message::Route(route) => self.handle.route().add(route).execute().await,
            Message::Rule(rule) => {
                let mut request = self.handle.rule().add();
                *request.message_mut() = rule;
                request.execute().await
            }
        };
        done(family, piece, result, Errno::EEXIST)
    }

    /// Deletes a piece of ours. False if it was not there.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub async fn delete(&self, family: Family, piece: &Piece) -> Result<bool, Error> {
        let (result, missing) = match message(family, piece) {
            Message::Route(route) => (self.handle.route().del(route).execute().await, Errno::ESRCH),
            Message::Rule(rule) => (self.handle.rule().del(rule).execute().await, Errno::ENOENT),
        };
        done(family, piece, result, missing)
    }

    /// The pieces that are there and ours, whatever they were installed with.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub async fn present(&self, family: Family) -> Result<Vec<Piece>, Error> {
        let failed = |error: rtnetlink::Error| failure(family, "ip route; ip rule", &error);
        let (all, version) = match family {
            Family::V4 => (RouteMessageBuilder::<Ipv4Addr>::new().build(), IpVersion::V4),
            Family::V6 => (RouteMessageBuilder::<Ipv6Addr>::new().build(), IpVersion::V6),
        };
        let mut pieces = Vec::new();
        // Both to the end, so that no answer is left for the next request.
        let mut routes = std::pin::pin!(self.handle.route().get(all).execute());
        while let Some(route) = routes.try_next().await.map_err(failed)? {
            pieces.extend(route_of_ours(family, &route));
        }
        let mut rules = std::pin::pin!(self.handle.rule().get(version).execute());
        while let Some(rule) = rules.try_next().await.map_err(failed)? {
            pieces.extend(rule_of_ours(&rule));
        }
        Ok(pieces)
    }

    /// True if these are there, and no others of ours.
    ///
    /// # Errors
    /// [`Error::Route`].
    pub async fn is_exactly(&self, families: &[Family], wanted: &[Piece]) -> Result<bool, Error> {
        for family in families {
            let present = self.present(*family).await?;
            let needed: &[Piece] = if is_routed(*family) { wanted } else { &[] };
            let same = present.len() == needed.len() && needed.iter().all(|piece| present.contains(piece));
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds what is missing; what is there and not wanted stays for now.
    ///
    /// # Errors
    /// [`Error::Route`]; `changes` tells what was added before it.
    pub async fn complete(
        &self,
        families: &[Family],
        wanted: &[Piece],
        changes: &mut Changes,
    ) -> Result<(), Error> {
        for family in families {
            if !is_routed(*family) {
                tracing::info!("IPv6 is switched off on the loopback interface: no IPv6 routes are needed");
                continue;
            }
            for piece in wanted {
                if self.add(*family, piece).await? {
                    tracing::info!("{family}: {}", command(*family, piece));
                    changes.added.push((*family, piece.clone()));
                }
            }
        }
        Ok(())
    }

    /// Deletes what is ours and not wanted.
    ///
    /// # Errors
    /// [`Error::Route`]; `changes` tells what was deleted before it.
    pub async fn trim(
        &self,
        families: &[Family],
        wanted: &[Piece],
        changes: &mut Changes,
    ) -> Result<(), Error> {
        for family in families {
            // Last first: the way to a table goes before the table's route.
            for piece in self.present(*family).await?.into_iter().rev() {
                if !wanted.contains(&piece) && self.delete(*family, &piece).await? {
                    tracing::info!("{family}: {}", removal(*family, &piece));
                    changes.deleted.push((*family, piece));
                }
            }
        }
        Ok(())
    }

    /// Undoes changes, as far as possible.
    ///
    /// # Errors
    /// The first that was met.
    pub async fn take_back(&self, changes: &Changes) -> Result<(), Error> {
        let mut first = Ok(());
        for (family, piece) in &changes.deleted {
            first = first.and(self.add(*family, piece).await.map(drop));
        }
        for (family, piece) in changes.added.iter().rev() {
            first = first.and(self.delete(*family, piece).await.map(drop));
        }
        first
    }
}

/// A piece as the command of iproute2 that would add it.
pub fn command(family: Family, piece: &Piece) -> String {
    let ip = if family == Family::V6 { "ip -6" } else { "ip" };
    match piece {
        Piece::Spare { metric } => format!(
            "{ip} route add local {} dev lo table local proto {ROUTE_PROTOCOL} metric {metric}",
            family.spare()
        ),
        Piece::Everything { table } => {
            format!("{ip} route add local default dev lo table {table} proto {ROUTE_PROTOCOL}")
        }
        Piece::Rule { mark, table } => {
            format!("{ip} rule add pref {PRIORITY} fwmark {mark:#x} lookup {table} protocol {ROUTE_PROTOCOL}")
        }
    }
}

/// The same for the one that would delete it.
pub fn removal(family: Family, piece: &Piece) -> String {
    command(family, piece).replacen(" add ", " del ", 1)
}

enum Message {
    Route(RouteMessage),
    Rule(RuleMessage),
}

fn message(family: Family, piece: &Piece) -> Message {
    match *piece {
        Piece::Spare { metric } => Message::Route(local_route(family, LOCAL_TABLE, true, Some(metric))),
        Piece::Everything { table } => Message::Route(local_route(family, table, false, None)),
        Piece::Rule { mark, table } => Message::Rule(rule(family, mark, table)),
    }
}

/// A local route by way of lo, to the spare addresses or to every address.
fn local_route(family: Family, table: u32, spare: bool, metric: Option<u32>) -> RouteMessage {
    let block = family.spare();
    let mut message = match block.network() {
        IpAddr::V4(ip) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().scope(RouteScope::Host);
            let route = if spare {
                route.destination_prefix(ip, block.prefix_len())
            } else {
                route
            };
            route.output_interface(LOOPBACK).table_id(table).build()
        }
        IpAddr::V6(ip) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new();
            let route = if spare {
                route.destination_prefix(ip, block.prefix_len())
            } else {
                route
            };
            route.output_interface(LOOPBACK).table_id(table).build()
        }
    };
    message.header.kind = RouteType::Local;
    message.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    message.attributes.extend(metric.map(RouteAttribute::Priority));
    message
}

fn rule(family: Family, mark: u32, table: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match family {
        Family::V4 => rtnetlink::packet_route::AddressFamily::Inet,
        Family::V6 => rtnetlink::packet_route::AddressFamily::Inet6,
    };
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Table(table),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::FwMark(mark),
        RuleAttribute::Protocol(RouteProtocol::Other(ROUTE_PROTOCOL)),
    ];
    message
}

fn route_of_ours(family: Family, route: &RouteMessage) -> Option<Piece> {
    let ours = route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL);
    if !ours || route.header.kind != RouteType::Local {
        return None;
    }
    let (mut table, mut metric, mut destination) = (u32::from(route.header.table), 0, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = Some(IpAddr::V4(*ip)),
            RouteAttribute::Destination(RouteAddress::Inet6(ip)) => destination = Some(IpAddr::V6(*ip)),
            _ => {}
        }
    }
    let spare = family.spare();
    let length = route.header.destination_prefix_length;
    if length == spare.prefix_len() && destination == Some(spare.network()) && table == LOCAL_TABLE {
        return Some(Piece::Spare { metric });
    }
    (length == 0).then_some(Piece::Everything { table })
}

fn rule_of_ours(rule: &RuleMessage) -> Option<Piece> {
    let (mut table, mut mark, mut ours) = (u32::from(rule.header.table), None, false);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::FwMark(number) => mark = Some(*number),
            RuleAttribute::Protocol(protocol) => ours = *protocol == RouteProtocol::Other(ROUTE_PROTOCOL),
            _ => {}
        }
    }
    ours.then_some(Piece::Rule { mark: mark?, table })
}

fn done(
    family: Family,
    piece: &Piece,
    result: Result<(), rtnetlink::Error>,
    as_it_should_be: Errno,
) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Some(as_it_should_be) => Ok(false),
        Err(error) => Err(failure(family, &command(family, piece), &error)),
    }
}

fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| Errno::from_raw(-code.get())),
        _ => None,
    }
}

fn failure(family: Family, command: &str, error: &rtnetlink::Error) -> Error {
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
        command: command.to_owned(),
        message,
    }
}
