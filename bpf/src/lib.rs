//! Interception without NAT, and counting in the kernel: the eBPF programs (`c/`), and what it takes to load them.
//!
//! Nothing is pinned and no file system is needed: a TC filter keeps its program and the program its maps, until the
//! filter is removed or its interface goes. What is to be intercepted is [`Settings`], made by `weir-init`, which also
//! attaches the programs; there is no policy here.

mod cgroup;
mod grace;
mod hook;
mod load;
mod loaded;
mod loader;
mod networks;
mod others;
mod port_map;
mod ports;
mod settings;
mod sources;
mod types;

pub use cgroup::Attached;
pub use hook::{Kind, MAP_PREFIX, PREFIX, Side, program};
pub use load::{LoadError, Redirect};
pub use loaded::{is_port_map_stopped, stop_port_map};
pub use networks::Networks;
pub use others::tcx_programs;
pub use port_map::{PortMap, PortMapSettings, map_program, netns_cookie};
pub use ports::PortSet;
pub use settings::Settings;
pub use sources::{Count, Counted, SOURCES_PROGRAM, Sender, Sources};
