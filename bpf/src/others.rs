//! Programs of others that stand before a filter: those that are attached to an interface by tcx (Linux 6.6), which run
//! before every filter and may end the packet's way.

use crate::{SOURCES_PROGRAM, Side};
use aya::programs::loaded_programs;
use nix::{errno::Errno, libc};
use std::io;

const PROG_QUERY: libc::c_long = 16;
/// BPF_TCX_INGRESS and BPF_TCX_EGRESS (`enum bpf_attach_type`, include/uapi/linux/bpf.h).
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
/// More programs at one side of an interface than anybody has (BPF_MPROG_MAX).
const MOST: usize = 64;

/// The part of `union bpf_attr` for BPF_PROG_QUERY.
#[derive(Default)]
#[repr(C)]
struct Query {
    interface: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// What others have attached by tcx to one side of this interface, in words. Names need CAP_SYS_ADMIN; without it they are
/// numbers. The programs of `weir top sources` are no others.
///
/// # Errors
/// NET_ADMIN is missing. A kernel without tcx has none.
pub fn tcx_programs(interface: u32, side: Side) -> io::Result<Vec<String>> {
    let mut ids = [0_u32; MOST];
    let mut query = Query {
        interface,
        attach_type: match side {
            Side::Ingress => TCX_INGRESS,
            Side::Egress => TCX_EGRESS,
        },
        programs: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        ..Query::default()
    };
    // SAFETY: the kernel reads and writes as many bytes of `query` as its size says, and at most `count` numbers to `ids`,
    // which both live until the call returns.
    #[allow(
        unsafe_code,
        reason = "aya's query opens every program, which needs CAP_SYS_ADMIN"
    )]
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) };
    match Errno::result(result) {
        Ok(_) => {}
        // A kernel without it, and an interface without any.
        Err(Errno::EINVAL | Errno::ENOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let count = usize::try_from(query.count).unwrap_or_default().min(MOST);
    let names = names(&ids[..count]);
    Ok(names.into_iter().flatten().collect())
}

/// Each program in words; nothing for one that is known to let every packet go on.
fn names(ids: &[u32]) -> Vec<Option<String>> {
    if ids.is_empty() {
        return Vec::new();
    }
    let known: Vec<(u32, String)> = loaded_programs()
        .filter_map(Result::ok)
        .filter_map(|info| Some((info.id(), info.name_as_str()?.to_owned())))
        .collect();
    let name = |id: &u32| match known.iter().find(|(other, _)| other == id) {
        Some((_, name)) if name == SOURCES_PROGRAM => None,
        Some((_, name)) if !name.is_empty() => Some(format!("tcx program {name} (number {id})")),
        _ => Some(format!("tcx program number {id}")),
    };
    ids.iter().map(name).collect()
}
