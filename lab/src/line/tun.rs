//! A TUN interface: packets that the kernel sends through it are read from a file, and what is written to that is received
//! (Documentation/networking/tuntap.rst).
#![allow(unsafe_code, reason = "an ioctl, which has no safe form")]

use nix::libc;
use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
};

nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);

/// Makes one in the namespace of this thread. It is gone when the file is closed; reads do not wait.
pub(super) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    let request = libc::ifreq {
        ifr_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
        },
    };
    // SAFETY: the descriptor is open, and the request lives as long as the call, which only reads it.
    unsafe { set_interface(file.as_raw_fd(), &request) }?;
    Ok(file)
}
