//! The parent's memory. Where memory is short, the kernel kills the process of the control group that has the most, and
//! counts pages of the program's file too. A parent that has read its configuration has touched as many of them as a worker
//! that has just begun; it needs hardly any again, and must not be the one that is killed.
#![allow(unsafe_code)] // one call, with its reason

use nix::sys::mman::{MmapAdvise, madvise};
use std::{ffi::c_void, fs, ptr::NonNull};

/// Gives back the pages of program code. Those that are needed come again by themselves.
pub(super) fn forget_code() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (start, length) in maps.lines().filter_map(code) {
        let Some(start) = NonNull::new(start as *mut c_void) else {
            continue;
        };
        // SAFETY: a private mapping of a file that may be executed and not written has the file's bytes and no others, so
        // that a page that was dropped is read again as it was.
        // Where the kernel refuses, the pages stay, which is no failure.
        let _ = unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) };
    }
}

/// Start and length of a mapping (proc_pid_maps(5)) if it is code of a file.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (permissions, _offset, _device, inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if permissions != "r-xp" || inode == "0" {
        return None;
    }
    let parse = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (parse(start)?, parse(end)?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_alone_is_given_back_and_the_program_goes_on() {
        let line = |permissions, inode| format!("1000-3000 {permissions} 00001000 08:01 {inode} /bin/x");
        assert_eq!(code(&line("r-xp", 7)), Some((0x1000, 0x2000)));
        for other in [line("r--p", 7), line("rw-p", 7), line("rwxp", 7), line("r-xp", 0)] {
            assert_eq!(code(&other), None, "{other}");
        }
        forget_code();
        assert!(!format!("{:?}", code(&line("r-xp", 7))).is_empty());
    }
}
