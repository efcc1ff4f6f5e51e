//! Programs on the interfaces of a namespace: what is there, attaching and taking away, for every set of programs.

use crate::{
    Error,
    tc::{Filter, Found, Interface, PRIORITY, Tc, word},
};
use std::{fmt::Write as _, os::fd::BorrowedFd};
use weir_bpf::{Kind, Side};

/// Which programs: only one set is in force at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Those of mode `ebpf`.
    Redirect,
    /// Those of the port map.
    PortMap,
}

impl Set {
    fn has(self, filter: &Filter) -> bool {
        (self == Self::PortMap) == filter.name.starts_with(weir_bpf::MAP_PREFIX)
    }
}

/// What a filter's name ends with while it only lets open connections end.
pub const DRAINING: &str = ":draining";

/// What it means that others' programs come first.
pub const MAY_END: &str =
    "connections that it lets pass for good (TC_ACT_OK) are neither redirected nor seen";

/// The interfaces of a namespace, and what of ours is on them.
pub struct Scene {
    /// To change it.
    pub tc: Tc,
    /// All of them.
    pub interfaces: Vec<Interface>,
    /// Those that have a clsact qdisc.
    clsact: Vec<u32>,
    /// The set's.
    pub filters: Vec<Filter>,
    /// lo takes packets from this machine's own addresses.
    pub accepts_local: bool,
}

impl Scene {
    /// Looks.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn look(set: Set) -> Result<Self, Error> {
        let tc = Tc::open()?;
        let interfaces = tc.interfaces().await?;
        let clsact = tc.with_clsact().await?;
        let on = |interface: &&Interface| clsact.contains(&interface.index);
        let mut filters = tc.filters(interfaces.iter().filter(on)).await?;
        filters.retain(|filter| set.has(filter));
        Ok(Self {
            tc,
            interfaces,
            clsact,
            filters,
            accepts_local: accepts_local(),
        })
    }

    /// What is at one side of an interface.
    pub fn at(&self, interface: &Interface, side: Side) -> Option<&Filter> {
        self.filters
            .iter()
            .find(|filter| filter.index == interface.index && filter.side == side)
    }

    /// What was there before the first of our filters on this interface.
    fn found(&self, interface: &Interface) -> Found {
        let ours = self.filters.iter().find(|filter| filter.index == interface.index);
        ours.map_or_else(
            || Found {
                qdisc: self.clsact.contains(&interface.index),
                accept_local: self.accepts_local,
            },
            |filter| filter.found,
        )
    }

    /// The loopback interface.
    pub fn loopback(&self) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.kind == Some(Kind::Loopback))
    }

    /// Attaches a program to each side of an interface, in place of what is there.
    ///
    /// # Errors
    /// Those of the kernel.
    pub async fn attach<'a>(
        &self,
        interface: &Interface,
        program: impl Fn(Side) -> Result<BorrowedFd<'a>, weir_bpf::LoadError>,
        name: impl Fn(Side) -> String,
    ) -> Result<(), Error> {
        let found = self.found(interface);
        if !self.clsact.contains(&interface.index) {
            self.tc.add_clsact(interface).await?;
        }
        for side in [Side::Ingress, Side::Egress] {
            let filter = Filter {
                index: interface.index,
                side,
                found,
                name: name(side),
            };
            self.tc.attach(interface, &filter, program(side)?).await?;
        }
        tracing::info!("{}: programs attached", interface.name);
        Ok(())
    }

    /// Takes our filters off an interface, and the qdisc if it was made for them and nobody else uses it by now.
    ///
    /// # Errors
    /// Those of the kernel.
    pub async fn clear(&self, interface: &Interface) -> Result<(), Error> {
        let ours = [Side::Ingress, Side::Egress].map(|side| self.at(interface, side));
        let Some(found) = ours.iter().flatten().map(|filter| filter.found).next() else {
            return Ok(());
        };
        for filter in ours.into_iter().flatten() {
            self.tc.detach(interface, filter).await?;
        }
        if !found.qdisc && !self.tc.has_filters(interface).await? {
            self.tc.delete_clsact(interface).await?;
        }
        if interface.kind == Some(Kind::Loopback) && !found.accept_local {
            self.tc.accept_local(interface, false).await?;
        }
        tracing::info!("{}: programs removed", interface.name);
        Ok(())
    }
}

/// Where a set's programs are to be, and how their filters are called there.
pub struct Wanted<'a> {
    /// In the order in which they are attached.
    pub places: Vec<(&'a Interface, Kind)>,
    /// The program for a side of a kind of interface.
    pub program: fn(Kind, Side) -> &'static str,
    /// What the programs are told, as a number.
    pub fingerprint: u64,
    /// What the installation says of itself.
    pub description: String,
}

impl Wanted<'_> {
    fn name(&self, kind: Kind, side: Side) -> String {
        let program = (self.program)(kind, side);
        format!("{program}:{:016x}{}", self.fingerprint, self.description)
    }

    /// Attaches the programs where they are wanted, and takes those away that stand elsewhere.
    ///
    /// # Errors
    /// Those of the kernel.
    pub async fn put<'a>(
        &self,
        scene: &Scene,
        program: impl Fn(Kind, Side) -> Result<BorrowedFd<'a>, weir_bpf::LoadError>,
    ) -> Result<(), Error> {
        for (interface, kind) in &self.places {
            let program = |side| program(*kind, side);
            scene
                .attach(interface, program, |side| self.name(*kind, side))
                .await?;
        }
        for interface in &scene.interfaces {
            if interface.kind.is_none() {
                tracing::warn!(
                    "{}: an interface of a kind that is not known here: left alone",
                    interface.name
                );
            }
            if !self.places.iter().any(|(other, _)| *other == interface) {
                scene.clear(interface).await?;
            }
        }
        Ok(())
    }

    /// What is not so, in words.
    pub fn differences(&self, scene: &Scene) -> Vec<String> {
        let mut wrong = Vec::new();
        for (interface, kind) in &self.places {
            for side in [Side::Ingress, Side::Egress] {
                match scene.at(interface, side) {
                    None => wrong.push(format!("{} has no program for {side:?}", interface.name)),
                    Some(filter) if filter.name.ends_with(DRAINING) => {
                        wrong.push(format!("{} is being drained", interface.name));
                    }
                    Some(filter) if filter.name != self.name(*kind, side) => {
                        wrong.push(format!("{} has other settings for {side:?}", interface.name));
                    }
                    Some(_) => {}
                }
            }
        }
        let is_stray = |filter: &&Filter| {
            !self
                .places
                .iter()
                .any(|(interface, _)| interface.index == filter.index)
        };
        for filter in scene.filters.iter().filter(is_stray) {
            wrong.push(format!("interface {} has a program and should not", filter.index));
        }
        wrong
    }

    /// What others have before our programs, in words: a packet that it lets pass for good (`TC_ACT_OK`, `TCX_PASS`) does not
    /// come to ours. Whether it does so nobody can tell.
    ///
    /// # Errors
    /// Those of looking.
    pub async fn in_the_way(&self, scene: &Scene) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for (interface, _) in &self.places {
            for side in [Side::Ingress, Side::Egress] {
                let mut others = weir_bpf::tcx_programs(interface.index, side).map_err(Error::Netlink)?;
                if scene.clsact.contains(&interface.index) {
                    others.extend(scene.tc.before_ours(interface, side).await?);
                }
                let place = format!("{} {}", interface.name, word(side));
                found.extend(others.into_iter().map(|other| format!("{place}: {other}")));
            }
        }
        Ok(found)
    }

    /// Says so at an installation.
    ///
    /// # Errors
    /// Those of looking.
    pub async fn warn_of_others(&self, scene: &Scene) -> Result<(), Error> {
        for other in self.in_the_way(scene).await? {
            tracing::warn!("{other} comes before the programs of this mode: {MAY_END}");
        }
        Ok(())
    }

    /// Attaching as commands of iproute2.
    pub fn commands(&self) -> String {
        let mut text = String::new();
        for (interface, kind) in &self.places {
            let _ = writeln!(text, "tc qdisc add dev {} clsact", interface.name);
            for side in [Side::Ingress, Side::Egress] {
                let _ = writeln!(
                    text,
                    "tc filter replace dev {} {} pref {PRIORITY} bpf direct-action {}",
                    interface.name,
                    word(side),
                    self.name(*kind, side)
                );
            }
        }
        text
    }

    /// The interfaces, for people.
    pub fn interfaces(&self) -> String {
        let names: Vec<&str> = self
            .places
            .iter()
            .map(|(interface, _)| interface.name.as_str())
            .collect();
        names.join(", ")
    }
}

/// The error of an installation that was taken back.
pub fn taken_back(cause: Error, undone: Result<(), Error>) -> Error {
    match undone {
        Ok(()) => cause,
        Err(rollback) => Error::Rollback {
            cause: Box::new(cause),
            rollback: Box::new(rollback),
        },
    }
}

/// True if lo takes packets from this machine's own addresses; where that can't be read, as if it did not.
fn accepts_local() -> bool {
    ["lo", "all"].iter().any(|name| {
        let value = std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/accept_local"));
        value.is_ok_and(|value| value.trim() != "0")
    })
}

/// Takes all programs away, with what was made for them. True if there were any.
///
/// # Errors
/// Those of the kernel.
pub async fn take_away(set: Set) -> Result<bool, Error> {
    let scene = Scene::look(set).await?;
    // lo last: what is sent there is expected until nobody sends any more.
    let mut interfaces: Vec<_> = scene.interfaces.iter().collect();
    interfaces.sort_by_key(|interface| interface.kind == Some(Kind::Loopback));
    for interface in interfaces {
        scene.clear(interface).await?;
    }
    Ok(!scene.filters.is_empty())
}

/// What [`take_away`] would do now, as commands of iproute2.
///
/// # Errors
/// Those of looking.
pub async fn describe_removal(set: Set) -> Result<String, Error> {
    let scene = Scene::look(set).await?;
    let mut text = String::new();
    for interface in &scene.interfaces {
        for side in [Side::Ingress, Side::Egress] {
            let Some(filter) = scene.at(interface, side) else {
                continue;
            };
            let _ = writeln!(
                text,
                "tc filter del dev {} {} pref {PRIORITY}  # {}",
                interface.name,
                word(side),
                filter.name
            );
            if side == Side::Egress && !filter.found.qdisc {
                let _ = writeln!(text, "tc qdisc del dev {} clsact", interface.name);
            }
            if side == Side::Egress && interface.kind == Some(Kind::Loopback) && !filter.found.accept_local {
                text.push_str("sysctl net.ipv4.conf.lo.accept_local=0\n");
            }
        }
    }
    Ok(text)
}
