//! Files of packets, rotated by size: `FILE`, and what it was before as `FILE.1`, `FILE.2` and so on, the oldest last. Each
//! is whole in itself.

use super::{Devices, Section};
use crate::Packet;
use std::{
    fs::{File, OpenOptions, rename},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use weir_records::Timestamp;

/// So much is written at once, at least.
const AT_ONCE: usize = 256 << 10;

/// Where packets are written, and how many bytes of them at most.
#[derive(Clone, Debug)]
pub struct Files {
    /// The newest file. One that is there is overwritten.
    pub path: PathBuf,
    /// A file that has so many bytes is put aside; 0 for never.
    pub size: u64,
    /// So many files are kept, the newest included.
    pub count: u32,
    /// Bytes of a packet that are kept, from its IP header on.
    pub snaplen: u32,
}

/// Why packets can't be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system's reason.
    #[error("cannot write packets to {}: {error}{}", path.display(), advice(error))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It has another link layer than those of a tap.
    #[error("packets of link type {0} can't be written: only those of a tap")]
    Link(u32),
}

/// What to do about it.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; create its directory",
        io::ErrorKind::PermissionDenied => "; choose a path where this user may write",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room on that file system, or keep less with a smaller file size, fewer files or a snaplen"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; choose a path on a writable file system",
        io::ErrorKind::IsADirectory => "; name a file",
        _ => "",
    }
}

/// Writes packets. Dropped, it is finished as well as it can be.
#[derive(Debug)]
pub struct PacketFile {
    files: Files,
    file: File,
    /// A pipe or a device is written to, and never put aside.
    is_regular: bool,
    section: Section,
    devices: Devices,
    /// Whole blocks that are not in the file yet.
    buffer: Vec<u8>,
    /// Bytes in the file.
    written: u64,
    /// Packets in this file, the buffer included.
    packets: u64,
    /// When the last of them was seen.
    last: Timestamp,
    lost: u64,
    finished: bool,
}

impl PacketFile {
    /// Begins a file that its owner alone may read.
    ///
    /// # Errors
    /// It can't be written.
    pub fn create(files: &Files) -> Result<Self, WriteError> {
        let failed = |error| WriteError::Io {
            path: files.path.clone(),
            error,
        };
        let file = create(&files.path).map_err(failed)?;
        let is_regular = file.metadata().map_err(failed)?.is_file();
        let mut packets = Self {
            files: files.clone(),
            file,
            is_regular,
            section: Section::default(),
            devices: Devices::new(),
            buffer: Vec::new(),
            written: 0,
            packets: 0,
            last: Timestamp(0),
            lost: 0,
            finished: false,
        };
        packets.begin();
        packets.flush()?;
        Ok(packets)
    }

    fn begin(&mut self) {
        self.section = Section::begin(&mut self.buffer, self.files.snaplen, &self.devices);
        self.packets = 0;
    }

    /// Writes a packet, at the latest with the next [`Self::flush`].
    ///
    /// # Errors
    /// The file can't be written or put aside, or the packet is none of a tap's. What the file holds then is whole.
    pub fn packet(&mut self, packet: &Packet<'_>) -> Result<(), WriteError> {
        let kind = packet.link.taken_off().ok_or(WriteError::Link(packet.link.0))?;
        let before = self.buffer.len();
        self.append(packet, kind);
        if self.is_regular && self.files.size > 0 && self.packets > 1 && self.size() > self.files.size {
            self.buffer.truncate(before);
            self.rotate()?;
            self.append(packet, kind);
        }
        self.devices.of(packet.interface).delivered += 1;
        self.last = self.last.max(packet.at);
        if self.buffer.len() >= AT_ONCE {
            self.flush()?;
        }
        Ok(())
    }

    fn append(&mut self, packet: &Packet<'_>, kind: u16) {
        let device = self.devices.of(packet.interface);
        self.section.packet(&mut self.buffer, packet, kind, device);
        self.packets += 1;
    }

    fn size(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// So many more packets were seen by the kernel and lost.
    pub fn lost(&mut self, packets: u64) {
        self.lost += packets;
    }

    /// Writes out what has been given so far.
    ///
    /// # Errors
    /// It can't be written; then the file is as it was before.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let result = self.file.write_all(&self.buffer);
        if let Err(error) = result {
            // Nothing more is tried, and what is there ends with a whole block.
            self.finished = true;
            if self.is_regular {
                self.file.set_len(self.written).ok();
            }
            return Err(self.failed(error));
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file with what is known of the interfaces.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(&mut self) -> Result<(), WriteError> {
        if self.finished {
            return Ok(());
        }
        self.finished = true;
        self.section
            .statistics(&mut self.buffer, &self.devices, self.last, self.lost);
        self.flush()
    }

    fn rotate(&mut self) -> Result<(), WriteError> {
        self.finish()?;
        shift(&self.files.path, self.files.count)
            .and_then(|()| create(&self.files.path))
            .map(|file| self.file = file)
            .map_err(|error| self.failed(error))?;
        self.finished = false;
        self.written = 0;
        self.begin();
        Ok(())
    }

    fn failed(&self, error: io::Error) -> WriteError {
        WriteError::Io {
            path: self.files.path.clone(),
            error,
        }
    }
}

impl Drop for PacketFile {
    fn drop(&mut self) {
        // Whoever wants to know has called it.
        self.finish().ok();
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// `FILE.1` becomes `FILE.2` and so on, and `FILE` becomes `FILE.1`, so that there is room for one more among so many.
fn shift(path: &Path, count: u32) -> io::Result<()> {
    for number in (1..count).rev() {
        match rename(numbered(path, number - 1), numbered(path, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}
