//! Which mode of redirection is in force. The installer writes it into the metric of the route of the spare local
//! addresses, and any process of the namespace may read that: so the sidecar need not be told, and learns of a change.

use crate::privilege::Privileges;
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteFlags, RouteProtocol},
};
use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use weir_config::{Mode, ROUTE_PROTOCOL, SPARE_V4, SourceAddress};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// The mode as it was seen last.
#[derive(Debug, Default)]
pub struct InForce(AtomicU32);

impl InForce {
    /// The mode; nothing as long as none is installed.
    pub fn get(&self) -> Option<Mode> {
        Mode::from_code(self.0.load(Ordering::Relaxed))
    }

    /// Its name, for documents.
    pub fn name(&self) -> &'static str {
        self.get().map_or("unknown", Mode::name)
    }

    /// This mode, which no installation tells.
    pub fn of(mode: Mode) -> Self {
        Self(AtomicU32::new(mode.code()))
    }

    fn set(&self, mode: Option<Mode>) {
        self.0.store(mode.map_or(0, Mode::code), Ordering::Relaxed);
    }
}

/// Reads the mode.
pub struct Reader(Handle);

impl Reader {
    /// Opens a netlink socket; needs a running tokio runtime, and no privilege.
    ///
    /// # Errors
    /// The kernel has no rtnetlink, or there are no descriptors left.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Looks now.
    pub async fn read(&self, seen: &InForce) {
        let ip = Ipv4Addr::from_bits(SPARE_V4.addr().to_bits() + 1);
        let mut question = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(ip, 32)
            .build();
        // The entry that matches rather than the route that comes of it: only that has its metric and owner.
        question.header.flags = RouteFlags::LookupTable | RouteFlags::FibMatch;
        let mut answers = std::pin::pin!(self.0.route().get(question).execute());
        let mut mode = None;
        // An error is the kernel's way to say that there is none.
        while let Ok(Some(route)) = answers.try_next().await {
            if route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
                && route.header.destination_prefix_length == SPARE_V4.prefix_len()
            {
                mode = route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Priority(metric) => Mode::from_code(*metric),
                    _ => None,
                });
            }
        }
        seen.set(mode);
    }

    /// Looks again and again, and says what changes and what then is missing.
    pub async fn follow(self, seen: Arc<InForce>, privileges: Privileges, source: SourceAddress) {
        loop {
            let before = seen.get();
            tokio::time::sleep(PERIOD).await;
            self.read(&seen).await;
            if seen.get() != before {
                tracing::info!(mode = seen.name(), "the mode of redirection has changed");
                advise(seen.get(), privileges, source);
            }
        }
    }
}

/// Why the sidecar can't do its work in this mode with these privileges.
pub fn hindrance(mode: Option<Mode>, privileges: Privileges) -> Option<&'static str> {
    // The programs of mode `ebpf` let pass what nobody listens for.
    let hindered = mode == Some(Mode::Tproxy) && !privileges.transparent;
    hindered.then_some(
        "the mode in force needs listeners with NET_RAW, which this process did not have at its start",
    )
}

/// Says what is missing for this mode, and how to get it.
pub fn advise(mode: Option<Mode>, privileges: Privileges, source: SourceAddress) {
    /// What measurement shows to work under Docker and Kubernetes.
    const HOW: &str = "give the container NET_RAW and the program the file capability cap_net_raw=+p \
        (`setcap cap_net_raw=+p weir-sidecar`), or, where privileges may not be raised \
        (allowPrivilegeEscalation: false, no-new-privileges), run it as user 0 with group 1337 and NET_RAW alone";
    let name = mode.map_or("unknown", Mode::name);
    if hindrance(mode, privileges).is_some() {
        tracing::error!(
            mode = name,
            "this mode needs NET_RAW, which is missing: inbound connections wait in vain; {HOW}; \
             or install the mode that needs no privilege (`weir-init install --mode redirect`)"
        );
    } else if mode == Some(Mode::Ebpf) && !privileges.transparent {
        tracing::warn!(
            mode = name,
            "NET_RAW is missing: outbound connections and DNS go past the sidecar unseen, and of inbound ones the \
             application sees a spare local address in place of the client's; {HOW}, and start it again"
        );
    } else if mode.is_some_and(Mode::is_transparent)
        && source == SourceAddress::Client
        && !privileges.foreign_source
    {
        tracing::warn!(
            mode = name,
            "NET_RAW is missing, so the application sees a spare local address in place of the client's; {HOW}, \
             and start it again; or say --source-address proxy"
        );
    }
}
