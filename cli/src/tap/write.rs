//! `weir tap --write`: the packets that are decoded, kept in files as well.

use super::tell;
use anyhow::Result;
use std::path::PathBuf;
use weir_capture::{Files, Packet, PacketFile, WriteError};
use weir_config::Bytes;

/// Where packets are kept
#[derive(clap::Args)]
pub struct WriteArgs {
    /// Write the packets to this file (pcapng) as well; one that is there is overwritten
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Put a file of this size aside, as FILE.1, FILE.2 and so on, the oldest last; 0B for never
    #[arg(long, value_name = "BYTES", requires = "write", default_value_t = Bytes::mib(100))]
    write_size: Bytes,
    /// Keep so many of them, FILE included
    #[arg(long, value_name = "N", requires = "write", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    write_files: u32,
}

impl WriteArgs {
    /// True if packets are to be kept.
    pub fn is_wanted(&self) -> bool {
        self.write.is_some()
    }
}

/// The files while they are written. Once that fails, nothing more is written, and looking goes on.
pub struct Kept {
    file: Option<PacketFile>,
    failed: bool,
}

impl Kept {
    /// Begins them, if they are wanted.
    ///
    /// # Errors
    /// They can't be written at all.
    pub fn begin(args: &WriteArgs, snaplen: u32) -> Result<Self> {
        let files = args.write.as_ref().map(|path| Files {
            path: path.clone(),
            size: args.write_size.0,
            count: args.write_files,
            snaplen,
        });
        Ok(Self {
            file: files.as_ref().map(PacketFile::create).transpose()?,
            failed: false,
        })
    }

    /// Keeps a packet.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.try_to(|file| file.packet(packet));
    }

    /// Whoever reads the files while they are written sees what has been seen so far.
    pub fn flush(&mut self, lost: u64) {
        self.try_to(|file| {
            file.lost(lost);
            file.flush()
        });
    }

    /// Ends them; false if a packet is missing that was seen.
    pub fn finish(mut self) -> bool {
        self.try_to(PacketFile::finish);
        !self.failed
    }

    fn try_to(&mut self, act: impl FnOnce(&mut PacketFile) -> Result<(), WriteError>) {
        if let Some(file) = &mut self.file
            && let Err(error) = act(file)
        {
            self.file = None;
            self.failed = true;
            tell(format_args!(
                "{error}; no more packets are written, what was written can be read, and looking goes on"
            ));
        }
    }
}
