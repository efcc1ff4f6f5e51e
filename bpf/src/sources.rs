//! Counting who sends how much (`c/sources.bpf.c`): loaded, attached, and read interval by interval.

use crate::{LoadError, PortSet, grace, load::program, loader::loader};
use aya::{
    Ebpf,
    maps::{Array, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType, TcHandle,
        tc::{NlOptions, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program},
    },
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sources-0.bpf.o"));

/// The program's name, and its filters' where it has such. Not of those that `weir-init` knows as its own.
pub const SOURCES_PROGRAM: &str = "weirtop_sources";
/// Before the filters of a redirect.
const PRIORITY: u16 = 1336;
const MAPS: [&str; 2] = ["sources_0", "sources_1"];
const TOTALS: &str = "totals";
const ACTIVE: &str = "active";
/// `enum` in c/sources.bpf.c.
const TOTAL: u32 = 0;
const FRAGMENTS: u32 = 1;
const KINDS: u32 = 2;

/// Packets and their bytes, from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    /// Packets; segments that the kernel had merged before are one.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

// SAFETY: two numbers of one size, so without padding.
#[allow(unsafe_code, reason = "the kernel copies its bytes")]
unsafe impl aya::Pod for Count {}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Who sends, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sender {
    /// The source's address.
    pub ip: IpAddr,
    /// IP's number of what it sends: 6 is TCP, 17 UDP.
    pub protocol: u8,
}

/// `struct source` in c/sources.bpf.c.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Key {
    address: [u8; 16],
    v6: u8,
    protocol: u8,
    zero: u16,
}

// SAFETY: plain numbers without padding (20 bytes in which every field is aligned).
#[allow(unsafe_code, reason = "the kernel copies its bytes")]
unsafe impl aya::Pod for Key {}

impl From<Key> for Sender {
    fn from(key: Key) -> Self {
        let [a, b, c, d, ..] = key.address;
        Self {
            ip: match key.v6 {
                0 => Ipv4Addr::new(a, b, c, d).into(),
                _ => Ipv6Addr::from(key.address).into(),
            },
            protocol: key.protocol,
        }
    }
}

/// What came in an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By sender.
    pub senders: Vec<(Sender, Count)>,
    /// All that was counted: more than the senders' sum where there were more of them than there is room for.
    pub total: Count,
    /// Fragments whose port nobody can tell, as it is in another one. Not counted in the total.
    pub fragments: u64,
}

/// The program, loaded.
pub struct Sources {
    object: Ebpf,
    /// Which counters are written.
    active: usize,
}

impl Sources {
    /// Loads it, to count packets to these ports, or all.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is left behind.
    pub fn load(ports: Option<&PortSet>) -> Result<Self, LoadError> {
        let mut object = loader(None)
            .override_global("settings", &u32::from(ports.is_none()), true)
            .load(OBJECT)?;
        if let Some(ports) = ports {
            set_ports(&mut object, ports)?;
        }
        program(&mut object, SOURCES_PROGRAM)?
            .load()
            .map_err(LoadError::of_program(SOURCES_PROGRAM))?;
        Ok(Self { object, active: 0 })
    }

    /// Counts what this interface receives, until this is dropped or the interface goes. By a link where the kernel has
    /// those (from 6.6 on), which ends with this process however that ends; else by a filter, which replaces one that a
    /// killed process has left.
    ///
    /// # Errors
    /// There is no such interface, or NET_ADMIN is missing.
    pub fn attach(&mut self, interface: &str) -> Result<(), LoadError> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        if self
            .program()?
            .attach_with_options(interface, TcAttachType::Ingress, options)
            .is_ok()
        {
            return Ok(());
        }
        self.attach_filter(interface)
    }

    /// The same by a filter, at a priority of its own.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn attach_filter(&mut self, interface: &str) -> Result<(), LoadError> {
        // It may be there; and what a killed process has left may not.
        let _ = qdisc_add_clsact(interface);
        let _ = qdisc_detach_program(interface, TcAttachType::Ingress, SOURCES_PROGRAM);
        let options = TcAttachOptions::Netlink(NlOptions {
            priority: PRIORITY,
            handle: TcHandle::from(1),
            ..NlOptions::default()
        });
        self.program()?
            .attach_with_options(interface, TcAttachType::Ingress, options)
            .map_err(LoadError::of_program(SOURCES_PROGRAM))?;
        Ok(())
    }

    /// What was counted since this was last asked. Each packet is in one answer.
    ///
    /// # Errors
    /// Those of maps; never seen.
    pub fn take(&mut self) -> Result<Counted, LoadError> {
        let idle = self.active;
        let next = 1 - idle;
        let mut active = Array::<_, u32>::try_from(self.map(ACTIVE)?).map_err(failed(ACTIVE))?;
        // 0 or 1.
        active.set(0, next as u32, 0).map_err(failed(ACTIVE))?;
        self.active = next;
        grace::wait();
        let senders = self.take_senders(MAPS[idle])?;
        let mut totals = PerCpuArray::<_, Count>::try_from(self.map(TOTALS)?).map_err(failed(TOTALS))?;
        let mut take = |kind| take_total(&mut totals, idle as u32 * KINDS + kind).map_err(failed(TOTALS));
        Ok(Counted {
            senders,
            total: take(TOTAL)?,
            fragments: take(FRAGMENTS)?.packets,
        })
    }

    fn take_senders(&mut self, name: &'static str) -> Result<Vec<(Sender, Count)>, LoadError> {
        let failed = failed(name);
        let mut map = PerCpuHashMap::<_, Key, Count>::try_from(self.map(name)?).map_err(failed)?;
        let keys = map.keys().collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut senders = Vec::with_capacity(keys.len());
        for key in keys {
            let counts = map.get(&key, 0).map_err(failed)?;
            map.remove(&key).map_err(failed)?;
            senders.push((key.into(), sum(&counts)));
        }
        Ok(senders)
    }

    fn map(&mut self, name: &'static str) -> Result<&mut aya::maps::Map, LoadError> {
        self.object.map_mut(name).ok_or(LoadError::Missing(name))
    }

    /// The program, to attach it or to run it in a test.
    ///
    /// # Errors
    /// Never seen: it is loaded.
    pub fn program(&mut self) -> Result<&mut SchedClassifier, LoadError> {
        program(&mut self.object, SOURCES_PROGRAM)
    }
}

fn failed(name: &'static str) -> impl FnOnce(MapError) -> LoadError + Copy {
    move |source| LoadError::Map { name, source }
}

fn sum(counts: &PerCpuValues<Count>) -> Count {
    let mut sum = Count::default();
    counts.iter().for_each(|count| sum += *count);
    sum
}

fn take_total(totals: &mut PerCpuArray<&mut MapData, Count>, index: u32) -> Result<Count, MapError> {
    let counts = totals.get(&index, 0)?;
    let zero = PerCpuValues::try_from(vec![Count::default(); counts.len()])?;
    totals.set(index, zero, 0)?;
    Ok(sum(&counts))
}

fn set_ports(object: &mut Ebpf, ports: &PortSet) -> Result<(), LoadError> {
    let name = "ports";
    let map = object.map_mut(name).ok_or(LoadError::Missing(name))?;
    let mut array = Array::<&mut MapData, u64>::try_from(map).map_err(failed(name))?;
    // The map is all zeros at first.
    for (index, word) in (0_u32..).zip(ports.words()).filter(|(_, word)| *word != 0) {
        array.set(index, word, 0).map_err(failed(name))?;
    }
    Ok(())
}
