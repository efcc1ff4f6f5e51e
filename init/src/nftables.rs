//! What iptables-nft leaves behind: tables and base chains.
//!
//! iptables-nft creates the table `ip nat` and base chains such as `OUTPUT` when the first rule needs them, and never
//! takes the table away again. To leave a namespace as it was, what is there is looked at before the first rule, and
//! what was created is deleted in the end. Each deletion carries NLM_F_NONREC, with which the kernel itself refuses
//! to delete what somebody else has put something into. The iptables programs can't do this, and the `nft` program
//! is often not there, so the few netlink messages are made here.

use crate::{Error, Family, ruleset::PREFIX};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use std::{
    collections::BTreeSet,
    os::fd::{AsRawFd, OwnedFd},
};

/// NFNL_SUBSYS_NFTABLES, include/uapi/linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u16 = 10;
/// NFT_MSG_*, include/uapi/linux/netfilter/nf_tables.h.
const GET_TABLE: u16 = 1;
const DEL_TABLE: u16 = 2;
const GET_CHAIN: u16 = 4;
const DEL_CHAIN: u16 = 5;
/// NFTA_TABLE_NAME.
const TABLE_NAME: u16 = 1;
/// NFTA_CHAIN_TABLE, _NAME and _HOOK.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
/// NFNL_MSG_BATCH_BEGIN and _END.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// A table, or a base chain of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A table.
    Table(String),
    /// A base chain, with its table.
    Chain(String, String),
}

fn number(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

/// The family's tables and base chains; none on a kernel without nf_tables.
///
/// # Errors
/// [`Error::Netlink`].
pub fn snapshot(family: Family) -> Result<BTreeSet<Object>, Error> {
    let mut objects = BTreeSet::new();
    let Some(netlink) = open()? else {
        return Ok(objects);
    };
    for attributes in dump(&netlink, GET_TABLE, family)? {
        objects.extend(text(&attributes, TABLE_NAME).map(Object::Table));
    }
    for attributes in dump(&netlink, GET_CHAIN, family)? {
        let is_base = find(&attributes, CHAIN_HOOK).is_some();
        if let (true, Some(table), Some(name)) = (
            is_base,
            text(&attributes, CHAIN_TABLE),
            text(&attributes, CHAIN_NAME),
        ) {
            objects.insert(Object::Chain(table, name));
        }
    }
    Ok(objects)
}

/// True if a chain of the family has a name of ours, whatever iptables can make of its table.
///
/// # Errors
/// [`Error::Netlink`].
pub fn holds_chains_of_ours(family: Family) -> Result<bool, Error> {
    let Some(netlink) = open()? else {
        return Ok(false);
    };
    let chains = dump(&netlink, GET_CHAIN, family)?;
    let is_ours = |chain: &Vec<u8>| text(chain, CHAIN_NAME).is_some_and(|name| name.starts_with(PREFIX));
    Ok(chains.iter().any(is_ours))
}

/// Deletes these, all or none. False if one of them holds something, or is not there.
///
/// # Errors
/// [`Error::Netlink`].
pub fn delete(family: Family, objects: &[Object]) -> Result<bool, Error> {
    let Some(netlink) = open()? else {
        return Ok(false);
    };
    let mut batch = message(BATCH_BEGIN, 0, 0, libc::AF_UNSPEC as u8, SUBSYSTEM, &[]);
    for (sequence, object) in (1..).zip(objects) {
        let (kind, attributes) = match object {
            Object::Table(name) => (DEL_TABLE, attribute(TABLE_NAME, name)),
            Object::Chain(table, name) => {
                let mut both = attribute(CHAIN_TABLE, table);
                both.extend(attribute(CHAIN_NAME, name));
                (DEL_CHAIN, both)
            }
        };
        let flags = libc::NLM_F_ACK as u16 | libc::NLM_F_NONREC as u16;
        batch.extend(message(
            SUBSYSTEM << 8 | kind,
            flags,
            sequence,
            number(family),
            0,
            &attributes,
        ));
    }
    batch.extend(message(BATCH_END, 0, 0, libc::AF_UNSPEC as u8, SUBSYSTEM, &[]));
    send(netlink.as_raw_fd(), &batch, MsgFlags::empty()).map_err(os)?;
    // The kernel has answered by the time that send returns.
    for (kind, payload) in receive(&netlink, MsgFlags::MSG_DONTWAIT)? {
        match error_code(kind, &payload) {
            None | Some(Ok(())) => {}
            Some(Err(Errno::EBUSY | Errno::ENOENT)) => return Ok(false),
            Some(Err(errno)) => return Err(os(errno)),
        }
    }
    Ok(true)
}

fn os(errno: Errno) -> Error {
    Error::Netlink(errno.into())
}

fn open() -> Result<Option<OwnedFd>, Error> {
    let opened = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    );
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::EPROTONOSUPPORT) => Ok(None),
        Err(errno) => Err(os(errno)),
    }
}

/// The attributes of every object that the kernel lists.
fn dump(netlink: &OwnedFd, kind: u16, family: Family) -> Result<Vec<Vec<u8>>, Error> {
    let request = message(
        SUBSYSTEM << 8 | kind,
        libc::NLM_F_DUMP as u16,
        1,
        number(family),
        0,
        &[],
    );
    send(netlink.as_raw_fd(), &request, MsgFlags::empty()).map_err(os)?;
    let mut objects = Vec::new();
    loop {
        for (kind, payload) in receive(netlink, MsgFlags::empty())? {
            if i32::from(kind) == libc::NLMSG_DONE {
                return Ok(objects);
            }
            match error_code(kind, &payload) {
                // No nf_tables in this kernel.
                Some(Err(Errno::EINVAL | Errno::EOPNOTSUPP)) => return Ok(objects),
                Some(Err(errno)) => return Err(os(errno)),
                Some(Ok(())) => {}
                None => objects.push(payload.get(GENERIC..).unwrap_or_default().to_vec()),
            }
        }
    }
}

/// The messages of one datagram, or of all that wait where the call must not block; each as type and payload.
fn receive(netlink: &OwnedFd, flags: MsgFlags) -> Result<Vec<(u16, Vec<u8>)>, Error> {
    let mut messages = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match recv(netlink.as_raw_fd(), &mut buffer, flags) {
            Ok(length) => length,
            Err(Errno::EAGAIN) => return Ok(messages),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(os(errno)),
        };
        let mut rest = &buffer[..length];
        while rest.len() >= HEADER {
            let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let Some(payload) = rest.get(HEADER..size) else {
                break;
            };
            messages.push((kind, payload.to_vec()));
            rest = rest.get(aligned(size)..).unwrap_or_default();
        }
        if flags.is_empty() {
            return Ok(messages);
        }
    }
}

/// The verdict of an error message (an acknowledgement is one, too); nothing for other messages.
fn error_code(kind: u16, payload: &[u8]) -> Option<Result<(), Errno>> {
    if i32::from(kind) != libc::NLMSG_ERROR {
        return None;
    }
    let code = payload
        .first_chunk()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    Some(if code == 0 {
        Ok(())
    } else {
        Err(Errno::from_raw(-code))
    })
}

fn aligned(size: usize) -> usize {
    size.next_multiple_of(4)
}

/// `struct nlmsghdr`, `struct nfgenmsg`, attributes.
fn message(kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let size = (HEADER + GENERIC + attributes.len()) as u32;
    let mut bytes = Vec::with_capacity(size as usize);
    bytes.extend(size.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

/// A text attribute, with its terminating zero and its padding.
fn attribute(kind: u16, value: &str) -> Vec<u8> {
    let size = 4 + value.len() + 1;
    let mut bytes = Vec::with_capacity(aligned(size));
    bytes.extend((size as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value.as_bytes());
    bytes.resize(aligned(size), 0);
    bytes
}

fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while attributes.len() >= 4 {
        let size = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let kind = u16::from_ne_bytes([attributes[2], attributes[3]]) & libc::NLA_TYPE_MASK as u16;
        let value = attributes.get(4..size)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(aligned(size)..).unwrap_or_default();
    }
    None
}

fn text(attributes: &[u8], wanted: u16) -> Option<String> {
    let value = find(attributes, wanted)?;
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    Some(String::from_utf8_lossy(&value[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_read_back_as_written() {
        let mut both = attribute(CHAIN_TABLE, "nat");
        both.extend(attribute(CHAIN_NAME, "OUTPUT"));
        assert_eq!(both.len() % 4, 0);
        assert_eq!(text(&both, CHAIN_TABLE).as_deref(), Some("nat"));
        assert_eq!(text(&both, CHAIN_NAME).as_deref(), Some("OUTPUT"));
        assert_eq!(text(&both, CHAIN_HOOK), None);
    }

    #[test]
    fn cut_off_attributes_are_not_read() {
        let mut cut = attribute(CHAIN_NAME, "OUTPUT");
        cut.truncate(8);
        assert_eq!(text(&cut, CHAIN_NAME), None);
        assert_eq!(find(&[0, 0, 3, 0], 3), None);
    }
}
