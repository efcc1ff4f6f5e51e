//! What the process may do beyond its user's rights.

/// What NET_RAW gave, or still gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Its listeners take connections whatever their destination.
    pub transparent: bool,
    /// It may dial from addresses that are not the machine's.
    pub foreign_source: bool,
    /// The programs of mode `ebpf` can't tell its own connections from an application's: it has another user than the
    /// proxy's, and may not mark them.
    pub unmarked: bool,
}
