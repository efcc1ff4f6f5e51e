//! Which mode of redirection is in force. The installer writes it into the metric of the route of the spare local
//! addresses, and any process of the namespace may read that: so the sidecar need not be told, and learns of a change.

use crate::privilege::Privileges;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream::BoxStream};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
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

/// Longest time between two looks: the kernel's word that a route has changed can be lost.
const PERIOD: Duration = Duration::from_secs(5);
/// Shortest time between two looks, where routes change all the time.
const PAUSE: Duration = Duration::from_millis(10);

/// The mode as it was seen last.
#[derive(Debug, Default)]
pub struct InForce(AtomicU32);

impl InForce {
    /// The mode; nothing as long as none is installed.
    pub fn get(&self) -> Option<Mode> {
        Mode::from_code(self.0.load(Ordering::Relaxed))
    }

    /// True if new connections wait where nobody takes them.
    pub fn holds(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Mode::HELD
    }

    /// Its name, for documents.
    pub fn name(&self) -> &'static str {
        self.get().map_or("unknown", Mode::name)
    }

    /// This mode, which no installation tells.
    pub fn of(mode: Mode) -> Self {
        Self(AtomicU32::new(mode.code()))
    }

    fn code(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, metric: u32) {
        self.0.store(metric, Ordering::Relaxed);
    }
}

/// Reads the mode.
pub struct Reader {
    handle: Handle,
    /// One for each change of a route.
    changes: BoxStream<'static, ()>,
}

/// Looks once, from outside of any runtime, and leaves no thread behind.
///
/// # Errors
/// As [`Reader::open`].
pub fn look() -> io::Result<Option<Mode>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seen = InForce::default();
    runtime.block_on(async {
        Reader::open()?.read(&seen).await;
        Ok(seen.get())
    })
}

impl Reader {
    /// Opens a netlink socket; needs a running tokio runtime, and no privilege.
    ///
    /// # Errors
    /// The kernel has no rtnetlink, or there are no descriptors left.
    pub fn open() -> io::Result<Self> {
        let (connection, handle, changes) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Ipv4Route])?;
        tokio::spawn(connection);
        let changes = changes.map(drop).boxed();
        Ok(Self { handle, changes })
    }

    /// Looks now.
    pub async fn read(&mut self, seen: &InForce) {
        let ip = Ipv4Addr::from_bits(SPARE_V4.addr().to_bits() + 1);
        let mut question = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(ip, 32)
            .build();
        // The entry that matches rather than the route that comes of it: only that has its metric and owner.
        question.header.flags = RouteFlags::LookupTable | RouteFlags::FibMatch;
        let mut answers = std::pin::pin!(self.handle.route().get(question).execute());
        let mut metric = 0;
        // An error is the kernel's way to say that there is none.
        while let Ok(Some(route)) = answers.try_next().await {
            if route.header.protocol == RouteProtocol::Other(ROUTE_PROTOCOL)
                && route.header.destination_prefix_length == SPARE_V4.prefix_len()
            {
                let of_route = route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Priority(metric) => Some(*metric),
                    _ => None,
                });
                metric = of_route.unwrap_or(0);
            }
        }
        seen.set(metric);
    }

    /// Waits until the mode is another one than `seen`, which it then is.
    pub async fn changed(&mut self, seen: &InForce) {
        let before = seen.code();
        while seen.code() == before {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                change = self.changes.next() => {
                    match change {
                        Some(_) => tokio::time::sleep(PAUSE).await,
                        // The connection has ended, and there is only the clock.
                        None => tokio::time::sleep(PERIOD).await,
                    }
                    while let Some(Some(())) = self.changes.next().now_or_never() {}
                }
            }
            self.read(seen).await;
        }
        tracing::info!(mode = seen.name(), "the mode of redirection has changed");
    }

    /// Looks again and again, and says what changes and what then is missing. `changed` is told of each mode.
    pub async fn follow(
        mut self,
        seen: Arc<InForce>,
        privileges: Privileges,
        source: SourceAddress,
        changed: impl Fn(&InForce),
    ) {
        loop {
            self.changed(&seen).await;
            advise(&seen, privileges, source);
            changed(&seen);
        }
    }
}

/// Why the sidecar can't do its work in this mode with these privileges.
pub fn hindrance(in_force: &InForce, privileges: Privileges) -> Option<&'static str> {
    match in_force.get() {
        Some(Mode::Tproxy) if !privileges.transparent => Some(
            "the mode in force needs listeners with NET_RAW, which this process did not have at its start",
        ),
        Some(Mode::PortMap) if privileges.unmarked => Some(
            "the port map knows the sidecar by its user or its mark: run it as user 1337 (--proxy-uid), or give it NET_RAW on \
             Linux 5.17 or later",
        ),
        // With the policy `bypass` the programs let pass what nobody can take.
        Some(Mode::Ebpf) if in_force.holds() && !takes_outbound(privileges) => Some(
            "outbound connections wait for a sidecar that may take them (--on-missing-proxy hold), and this one may not",
        ),
        _ => None,
    }
}

/// True if mode `ebpf` gives outbound connections to a sidecar with these privileges.
fn takes_outbound(privileges: Privileges) -> bool {
    privileges.transparent && !privileges.unmarked
}

/// What passes the sidecar unseen in this mode with these privileges.
pub fn unseen(in_force: &InForce, privileges: Privileges) -> Option<&'static str> {
    let passes = in_force.get() == Some(Mode::Ebpf) && !in_force.holds() && !takes_outbound(privileges);
    passes.then_some(
        "outbound connections and DNS go past the sidecar unseen, for want of NET_RAW; the log says what to do",
    )
}

/// True if this mode's redirect refuses connections, or has them wait, where no relay runs.
pub fn refuses_without_relay(mode: Option<Mode>) -> bool {
    matches!(mode, Some(Mode::Redirect | Mode::Tproxy))
}

/// Says what is missing for this mode, and how to get it.
pub fn advise(in_force: &InForce, privileges: Privileges, source: SourceAddress) {
    /// What measurement shows to work under Docker and Kubernetes.
    const HOW: &str = "give the container NET_RAW and the program the file capability cap_net_raw=+p \
        (`setcap cap_net_raw=+p weir-sidecar`), or, where privileges may not be raised \
        (allowPrivilegeEscalation: false, no-new-privileges), run it as user 0 with group 1337 and NET_RAW alone";
    let (mode, name) = (in_force.get(), in_force.name());
    let hindrance = hindrance(in_force, privileges);
    if mode == Some(Mode::Ebpf) && privileges.unmarked {
        let what = hindrance.unwrap_or("outbound connections and DNS go past the sidecar unseen");
        tracing::warn!(
            mode = name,
            "{what}: below Linux 5.17 NET_RAW is not enough to mark connections, and the programs know a sidecar of another \
             user than --proxy-uid by its mark alone; run it as that user, with the file capability cap_net_raw=+p, or use \
             `weir-init install --mode redirect`, which knows it by its group"
        );
    } else if mode == Some(Mode::Ebpf) && hindrance.is_some() {
        tracing::error!(
            mode = name,
            "NET_RAW is missing, and with --on-missing-proxy hold outbound connections wait for a sidecar that has it; {HOW}; \
             or install with --on-missing-proxy bypass"
        );
    } else if let (Some(Mode::PortMap), Some(reason)) = (mode, hindrance) {
        tracing::error!(
            mode = name,
            "{reason}; until then its own connections come back, and are refused"
        );
    } else if hindrance.is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::MissingProxy;

    #[test]
    fn a_sidecar_that_may_not_take_what_waits_for_it_is_not_ready() {
        let full = Privileges {
            transparent: true,
            foreign_source: true,
            unmarked: false,
        };
        let plain = Privileges::default();
        let unmarked = Privileges {
            unmarked: true,
            ..full
        };
        let bypass = InForce::of(Mode::Ebpf);
        let hold = InForce::default();
        hold.set(Mode::Ebpf.metric(MissingProxy::Hold));
        assert_eq!(
            (hold.get(), hold.holds(), bypass.holds()),
            (Some(Mode::Ebpf), true, false)
        );
        let is_ready = |mode: &InForce, privileges| hindrance(mode, privileges).is_none();
        assert_eq!([full, plain, unmarked].map(|it| is_ready(&bypass, it)), [true; 3]);
        assert_eq!(
            [full, plain, unmarked].map(|it| is_ready(&hold, it)),
            [true, false, false]
        );
        let tproxy = InForce::of(Mode::Tproxy);
        assert_eq!(
            [full, plain, unmarked].map(|it| is_ready(&tproxy, it)),
            [true, false, true]
        );
    }
}
