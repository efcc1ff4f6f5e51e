//! What the sinks that write files share.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt, path::Path};

/// Which file a path led to when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// False if the file was moved away or deleted: what is written to it then is lost to whoever looks at the path.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        path.metadata().is_ok_and(|metadata| Self::of(&metadata) == self)
    }
}

/// An error with what to do about it.
pub(crate) fn explain(path: &Path, error: &io::Error) -> String {
    let help = match error.kind() {
        io::ErrorKind::NotFound => "; create its directory",
        io::ErrorKind::PermissionDenied => {
            "; let this user write there (the sidecar runs as uid 1337), or choose another path"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on that file system",
        io::ErrorKind::ReadOnlyFilesystem => "; choose a path on a writable file system",
        io::ErrorKind::IsADirectory => "; name a file",
        _ => "",
    };
    format!("{}: {error}{help}", path.display())
}
