//! Interception without NAT: the eBPF programs (`c/`), and what it takes to load them.
//!
//! Nothing is pinned and no file system is needed: a TC filter keeps its program and the program its maps, until the
//! filter is removed or its interface goes. What is to be intercepted is [`Settings`], made by `weir-init`, which also
//! attaches the programs; there is no policy here.

mod hook;
mod load;
mod networks;
mod ports;
mod settings;

pub use hook::{Kind, PREFIX, Side, program};
pub use load::{LoadError, Redirect};
pub use networks::Networks;
pub use ports::PortSet;
pub use settings::Settings;
