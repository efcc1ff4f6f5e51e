//! The ring that the kernel writes packets into: TPACKET_V3, block by block (Documentation/networking/packet_mmap.rst).
//!
//! A block is ours from the moment when the kernel sets its status until we clear it; nobody else writes to it then. So it
//! is a plain slice of bytes, and everything in it is read with bounds checked.
#![allow(
    unsafe_code,
    reason = "a packet socket's ring is shared memory, and its options have no safe wrapper"
)]

use nix::libc;
use socket2::{Domain, Socket, Type};
use std::{
    ffi::c_int,
    io,
    mem::offset_of,
    num::NonZeroUsize,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

/// A packet has room in a block, however large segmentation offload makes it. Small beside the ring: a block is handed over
/// by time too, and a thread that has to wait for its turn must find free ones left when little is in each.
pub(super) const BLOCK: usize = 256 << 10;
/// A block that is not full is handed over after so many ms.
pub(super) const RETIRE_MS: u32 = 40;

/// Sockets that a group may have unless it is told otherwise, which kernels before 5.11 can't be (packet(7), PACKET_FANOUT).
const FANOUT_MEMBERS: usize = 256;

/// A packet socket with its ring.
#[derive(Debug)]
pub(super) struct Ring {
    socket: Socket,
    map: NonNull<u8>,
    len: NonZeroUsize,
    /// The block that is next.
    next: usize,
}

// SAFETY: the mapping belongs to this value alone, and reaching it takes `&mut self`.
unsafe impl Send for Ring {}

/// A block that is ours.
pub(super) struct Block<'a> {
    /// Packets in it.
    pub count: u32,
    /// What is in it, from the first packet on.
    pub bytes: &'a [u8],
    status: &'a AtomicU32,
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

impl Ring {
    /// A ring of about so many bytes, at least two blocks. It takes packets once [`Self::start`] is called.
    pub fn open(bytes: usize) -> io::Result<Self> {
        // Protocol 0: nothing is seen before the filter is in place.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking().cloexec(), None)?;
        set(
            &socket,
            libc::PACKET_VERSION,
            &(libc::tpacket_versions::TPACKET_V3 as c_int),
        )?;
        let blocks = (bytes / BLOCK).max(2);
        // Lossless: bounded by what the kernel can map at all, below.
        let count = |n: usize| u32::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory));
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK as u32,
            tp_block_nr: count(blocks)?,
            tp_frame_size: BLOCK as u32,
            tp_frame_nr: count(blocks)?,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&socket, libc::PACKET_RX_RING, &request)?;
        let len = NonZeroUsize::new(blocks * BLOCK).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let map = unsafe {
            nix::sys::mman::mmap(
                None,
                len,
                nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE,
                nix::sys::mman::MapFlags::MAP_SHARED,
                &socket,
                0,
            )
        }?;
        Ok(Self {
            socket,
            map: map.cast(),
            len,
            next: 0,
        })
    }

    /// Shares the packets, by flow, with the first of so many sockets; as the first one begins a group that no other process
    /// has.
    pub fn share(&self, first: Option<&Self>, members: usize) -> io::Result<()> {
        // A packet in fragments is put together first, so that all of it goes to the same socket.
        let how = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_DEFRAG;
        let group = match first {
            Some(first) => first.group()? | how << 16,
            None => (how | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16,
        };
        if members <= FANOUT_MEMBERS {
            return set(&self.socket, libc::PACKET_FANOUT, &group);
        }
        // `struct fanout_args`: its first word is the same on machines of either byte order, by the kernel's own definition.
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        set(&self.socket, libc::PACKET_FANOUT, &[group, members])
    }

    /// The number of the group that it is in.
    fn group(&self) -> io::Result<u32> {
        let mut group: u32 = 0;
        let mut len = size_of_val(&group) as libc::socklen_t;
        // SAFETY: the buffer is as long as it is said to be.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_FANOUT,
                (&raw mut group).cast(),
                &mut len,
            )
        };
        nix::errno::Errno::result(result)?;
        Ok(group & 0xffff)
    }

    /// From now on every interface's packets come, as many as the filter lets through.
    pub fn start(&self) -> io::Result<()> {
        // SAFETY: zero is a value of every field.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: the address is one of its family, and lives as long as the call.
        let result = unsafe {
            libc::bind(
                self.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        nix::errno::Errno::result(result)?;
        Ok(())
    }

    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The next block, if the kernel is done with it. It is given back when it is dropped.
    pub fn block(&mut self) -> Option<Block<'_>> {
        let start = self.next * BLOCK;
        let field = |at: usize| {
            let place = start + offset_of!(libc::tpacket_block_desc, hdr) + at;
            // SAFETY: a word within the mapping, which is aligned to pages.
            unsafe { self.map.add(place).cast::<u32>() }
        };
        // SAFETY: the kernel reads and writes the status as one word, and no slice below has it.
        let status =
            unsafe { AtomicU32::from_ptr(field(offset_of!(libc::tpacket_hdr_v1, block_status)).as_ptr()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the kernel does not write to a block with this status.
        let [count, first] = unsafe {
            [
                field(offset_of!(libc::tpacket_hdr_v1, num_pkts)).read(),
                field(offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt)).read(),
            ]
        };
        let first = (first as usize).clamp(size_of::<libc::tpacket_block_desc>(), BLOCK);
        // SAFETY: within the mapping and behind the block's header; as above, and `self` is borrowed until the block is
        // given back.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.map.add(start + first).as_ptr(), BLOCK - first) };
        self.next = (self.next + 1) % (self.len.get() / BLOCK);
        Some(Block { count, bytes, status })
    }

    /// Packets that the filter let through, and those of them that found no room, since this was last asked.
    pub fn statistics(&self) -> io::Result<(u32, u32)> {
        let mut stats = libc::tpacket_stats_v3 {
            tp_packets: 0,
            tp_drops: 0,
            tp_freeze_q_cnt: 0,
        };
        let mut len = size_of_val(&stats) as libc::socklen_t;
        // SAFETY: the buffer is as long as it is said to be.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &mut len,
            )
        };
        nix::errno::Errno::result(result)?;
        Ok((stats.tp_packets, stats.tp_drops))
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no slice of it outlives the value.
        // Nothing can be done about a failure, which would need a wrong length.
        let _ = unsafe { nix::sys::mman::munmap(self.map.cast(), self.len.get()) };
    }
}

/// Sets an option of a packet socket.
fn set<T>(socket: &Socket, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the buffer is as long as it is said to be, and the caller gives the option's own type.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
}
