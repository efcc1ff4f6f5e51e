//! Interfaces, their clsact qdiscs and our filters on them, through rtnetlink.
//!
//! Priority and handle of a filter are fixed, so that a second installation replaces the first in one step and removal
//! finds what is there without a note of it anywhere. What removal has to know is in the handle: whether the qdisc was
//! made for the filters, and (on lo) whether `accept_local` was.

use crate::Error;
use futures_util::{StreamExt, TryStreamExt};
use nix::errno::Errno;
use rtnetlink::{
    Handle,
    packet_core::{
        DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        RouteNetlinkMessage,
        link::{AfSpecUnspec, InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage},
        tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
    },
};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use weir_bpf::{Kind, PREFIX, SOURCES_PROGRAM, Side};
use weir_config::Interfaces;

/// The filters' priority.
pub const PRIORITY: u16 = 1337;
/// ETH_P_ALL, in network byte order.
const ALL_PROTOCOLS: u16 = 3_u16.to_be();
/// The kind of qdisc that carries filters for both sides.
const CLSACT: &str = "clsact";
/// IPV4_DEVCONF_ACCEPT_LOCAL (include/uapi/linux/ip.h).
const ACCEPT_LOCAL: u16 = 23;
/// IFLA_INET_CONF (include/uapi/linux/if_link.h).
const INET_CONF: u16 = 1;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What its packets look like; none where that is not known.
    pub kind: Option<Kind>,
    /// Others are ports of it.
    pub is_bridge: bool,
}

impl Interface {
    /// True if the name is among these, of which one may end in `+` for any ending.
    pub fn is_one_of(&self, names: &Interfaces) -> bool {
        names.0.iter().any(|name| match name.strip_suffix('+') {
            Some(prefix) => self.name.starts_with(prefix),
            None => self.name == *name,
        })
    }
}

/// What removal has to know about a filter's surroundings: bits of the handle, beside the lowest, which is always set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The clsact qdisc was there before.
    pub qdisc: bool,
    /// `accept_local` was on before.
    pub accept_local: bool,
}

/// A filter of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The interface's number.
    pub index: u32,
    /// The side.
    pub side: Side,
    /// What was there before it.
    pub found: Found,
    /// The program and the fingerprint of its settings.
    pub name: String,
}

impl Found {
    fn handle(self) -> u32 {
        1 | u32::from(self.qdisc) << 1 | u32::from(self.accept_local) << 2
    }

    fn of(handle: u32) -> Self {
        Self {
            qdisc: handle & 2 != 0,
            accept_local: handle & 4 != 0,
        }
    }
}

/// The kernel's traffic control.
pub struct Tc {
    handle: Handle,
}

impl Tc {
    /// Opens a netlink socket; needs a running tokio runtime.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Netlink)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Every interface of the namespace.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        let links = self.handle.link().get().execute().try_collect::<Vec<_>>().await;
        let links = links.map_err(|error| failure("ip link", &error))?;
        Ok(links.iter().filter_map(interface).collect())
    }

    /// Every filter of ours on these interfaces, which have a clsact qdisc.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn filters(&self, interfaces: impl Iterator<Item = &Interface>) -> Result<Vec<Filter>, Error> {
        let mut filters = Vec::new();
        for interface in interfaces {
            for side in [Side::Ingress, Side::Egress] {
                let found = self.on(interface, side).await?;
                filters.extend(found.iter().filter_map(|message| of_ours(message, side)));
            }
        }
        Ok(filters)
    }

    /// The interfaces that have a clsact qdisc.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn with_clsact(&self) -> Result<Vec<u32>, Error> {
        let all = self.handle.qdisc().get().execute().try_collect::<Vec<_>>().await;
        let all = all.map_err(|error| failure("tc qdisc show", &error))?;
        let is_clsact = |message: &&TcMessage| {
            message
                .attributes
                .iter()
                .any(|attribute| matches!(attribute, TcAttribute::Kind(kind) if kind == CLSACT))
        };
        Ok(all
            .iter()
            .filter(is_clsact)
            .filter_map(|message| u32::try_from(message.header.index).ok())
            .collect())
    }

    /// True if anybody has a filter on the interface.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn has_filters(&self, interface: &Interface) -> Result<bool, Error> {
        for side in [Side::Ingress, Side::Egress] {
            if !self.on(interface, side).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The filters of others that come before ours on this side, in words. The interface has a clsact qdisc.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn before_ours(&self, interface: &Interface, side: Side) -> Result<Vec<String>, Error> {
        let found = self.on(interface, side).await?;
        let mut before: Vec<String> = found.iter().filter_map(of_others).collect();
        before.sort();
        before.dedup();
        Ok(before)
    }

    async fn on(&self, interface: &Interface, side: Side) -> Result<Vec<TcMessage>, Error> {
        let mut filter = self
            .handle
            .traffic_filter(i32::try_from(interface.index).unwrap_or_default());
        let request = match side {
            Side::Ingress => filter.get().ingress(),
            Side::Egress => filter.get().egress(),
        };
        let found = request.execute().try_collect::<Vec<_>>().await;
        found.map_err(|error| failure(&format!("tc filter show dev {}", interface.name), &error))
    }

    /// Gives an interface a clsact qdisc.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn add_clsact(&self, interface: &Interface) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewQueueDiscipline(clsact(interface.index));
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.send(
            message,
            flags,
            &format!("tc qdisc add dev {} clsact", interface.name),
        )
        .await
    }

    /// Takes it away, with every filter on it.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn delete_clsact(&self, interface: &Interface) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelQueueDiscipline(clsact(interface.index));
        self.send(message, 0, &format!("tc qdisc del dev {} clsact", interface.name))
            .await
    }

    /// Attaches a program, in place of the one that is there, in one step.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn attach(
        &self,
        interface: &Interface,
        filter: &Filter,
        program: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let mut message = empty_filter(filter);
        let descriptor = u32::try_from(program.as_raw_fd()).unwrap_or_default();
        message.attributes = vec![
            TcAttribute::Kind("bpf".into()),
            TcAttribute::Options(vec![
                TcOption::Bpf(TcFilterBpfOption::ProgFd(descriptor)),
                TcOption::Bpf(TcFilterBpfOption::ProgName(filter.name.clone())),
                TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            ]),
        ];
        let what = format!(
            "tc filter replace dev {} {} bpf {}",
            interface.name,
            word(filter.side),
            filter.name
        );
        self.send(
            RouteNetlinkMessage::NewTrafficFilter(message),
            NLM_F_CREATE,
            &what,
        )
        .await
    }

    /// Detaches a filter of ours.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn detach(&self, interface: &Interface, filter: &Filter) -> Result<(), Error> {
        let what = format!(
            "tc filter del dev {} {} pref {PRIORITY}",
            interface.name,
            word(filter.side)
        );
        self.send(
            RouteNetlinkMessage::DelTrafficFilter(empty_filter(filter)),
            0,
            &what,
        )
        .await
    }

    /// Lets an interface receive packets that come from this machine's own addresses, or not. By netlink: in
    /// containers `/proc/sys` can't be written.
    ///
    /// # Errors
    /// [`Error::TrafficControl`].
    pub async fn accept_local(&self, interface: &Interface, on: bool) -> Result<(), Error> {
        let mut conf = Vec::new();
        nla(&mut conf, ACCEPT_LOCAL, &u32::from(on).to_ne_bytes());
        let mut inet = Vec::new();
        nla(&mut inet, INET_CONF, &conf);
        let mut message = LinkMessage::default();
        message.header.index = interface.index;
        let inet = AfSpecUnspec::Other(DefaultNla::new(nix::libc::AF_INET as u16, inet));
        message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![inet])];
        let what = format!(
            "sysctl net.ipv4.conf.{}.accept_local={}",
            interface.name,
            u8::from(on)
        );
        self.send(RouteNetlinkMessage::SetLink(message), 0, &what).await
    }

    async fn send(&self, message: RouteNetlinkMessage, flags: u16, what: &str) -> Result<(), Error> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self
            .handle
            .clone()
            .request(request)
            .map_err(|error| failure(what, &error))?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload
                && error.code.is_some()
            {
                return Err(failure(what, &rtnetlink::Error::NetlinkError(error)));
            }
        }
        Ok(())
    }
}

/// The side, as tc calls it.
pub fn word(side: Side) -> &'static str {
    match side {
        Side::Ingress => "ingress",
        Side::Egress => "egress",
    }
}

/// An attribute: length, type, value, all of them multiples of four bytes here (rtnetlink(7)).
fn nla(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    buffer.extend(length.to_ne_bytes());
    buffer.extend(kind.to_ne_bytes());
    buffer.extend(value);
}

fn interface(link: &LinkMessage) -> Option<Interface> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let kind = match link.header.link_layer_type {
        LinkLayerType::Loopback => Some(Kind::Loopback),
        LinkLayerType::Ether => Some(Kind::Ethernet),
        LinkLayerType::None
        | LinkLayerType::Rawip
        | LinkLayerType::Ppp
        | LinkLayerType::Sit
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Ipgre
        | LinkLayerType::Ip6gre => Some(Kind::Bare),
        _ => None,
    };
    let is_bridge = link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    });
    Some(Interface {
        index: link.header.index,
        name,
        kind,
        is_bridge,
    })
}

fn clsact(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(i32::try_from(index).unwrap_or_default());
    message.header.handle = TcHandle {
        major: 0xffff,
        minor: 0,
    };
    message.header.parent = TcHandle::CLSACT;
    message.attributes = vec![TcAttribute::Kind(CLSACT.into())];
    message
}

fn empty_filter(filter: &Filter) -> TcMessage {
    let mut message = TcMessage::with_index(i32::try_from(filter.index).unwrap_or_default());
    message.header.handle = filter.found.handle().into();
    message.header.parent = TcHandle {
        major: 0xffff,
        minor: match filter.side {
            Side::Ingress => TcHandle::MIN_INGRESS,
            Side::Egress => TcHandle::MIN_EGRESS,
        },
    };
    message.header.info = u32::from(PRIORITY) << 16 | u32::from(ALL_PROTOCOLS);
    message
}

fn of_ours(message: &TcMessage, side: Side) -> Option<Filter> {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().find_map(|option| match option {
            TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name.clone()),
            _ => None,
        }),
        _ => None,
    })?;
    (message.header.info >> 16 == u32::from(PRIORITY) && name.starts_with(PREFIX)).then(|| Filter {
        index: u32::try_from(message.header.index).unwrap_or_default(),
        side,
        found: Found::of(u32::from(message.header.handle)),
        name,
    })
}

/// A filter that a packet meets before ours; nothing for that of `weir top sources`, which lets everything go on.
fn of_others(message: &TcMessage) -> Option<String> {
    let priority = message.header.info >> 16;
    // Each priority is told of once by itself, without a filter.
    if priority == 0 || priority >= u32::from(PRIORITY) || u32::from(message.header.handle) == 0 {
        return None;
    }
    let mut words = format!("filter pref {priority}");
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => words = format!("{words} {kind}"),
            TcAttribute::Options(options) => {
                for option in options {
                    if let TcOption::Bpf(TcFilterBpfOption::ProgName(name)) = option {
                        if name == SOURCES_PROGRAM {
                            return None;
                        }
                        words = format!("{words} {name}");
                    }
                }
            }
            _ => {}
        }
    }
    Some(words)
}

fn failure(what: &str, error: &rtnetlink::Error) -> Error {
    let errno = match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| Errno::from_raw(-code.get())),
        _ => None,
    };
    match errno {
        Some(Errno::EPERM) => Error::Privilege("the kernel refuses to change traffic control".into()),
        Some(errno) => Error::TrafficControl(what.to_owned(), errno.desc().to_owned()),
        None => Error::TrafficControl(what.to_owned(), error.to_string()),
    }
}
