//! What can go wrong in the engine, by what the caller should do next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed engine call. Ordinary outcomes (a missing key) are values, not errors.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Stored bytes do not decode or do not match their checksum: the disk lost or changed them.
    /// Restore the data folder from a copy.
    #[error("corrupt data in {file} at offset {offset}: {detail}")]
    Corruption { file: String, offset: u64, detail: String },
    /// The operating system refused an operation.
    #[error("{op} {path}: {source}")]
    Io { op: &'static str, path: PathBuf, source: Arc<io::Error> },
    /// An earlier append, fsync or flush failed. Nothing is acknowledged until a restart.
    #[error("{cause}")]
    Latched { cause: Arc<str> },
    /// The disk or `maxdisk` is full. Service resumes when space returns.
    #[error("no space left for {what}")]
    NoSpace { what: &'static str },
    /// The memory bound is reached and write-back makes no progress.
    #[error("out of memory: {what}")]
    OutOfMemory { what: &'static str },
    /// One commit or value is larger than the store's bounds allow.
    #[error("{what} of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge { what: &'static str, bytes: u64, limit: u64 },
    /// A long read was given up: too much changed while it ran. Run it again.
    #[error(
        "the read was given up: what changed while it ran does not fit the {limit} bytes kept for long \
         reads (an eighth of maxmemory); run it again, or raise maxmemory"
    )]
    SnapshotLost { limit: u64 },
    /// The data folder has a format that this version does not read: run the version that wrote it.
    #[error("{path}: {detail}")]
    Format { path: PathBuf, detail: String },
    /// This user may not write there, or the file system is read-only.
    #[error("data folder {path} is not writable: {source}")]
    NotWritable { path: PathBuf, source: Arc<io::Error> },
    /// Another process has the data folder open.
    #[error("data folder {path} is in use by another process")]
    InUse { path: PathBuf },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
}

impl Error {
    /// Wraps an I/O error with what was attempted on which path.
    pub fn io(op: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Error::Io { op, path: path.as_ref().to_path_buf(), source: Arc::new(source) }
    }

    /// A failed first write into the data folder `dir`, which says whether it can be written at all.
    pub fn first_write(op: &'static str, dir: &Path, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::NotWritable { path: dir.to_path_buf(), source: Arc::new(source) }
            }
            _ => Error::io(op, path, source),
        }
    }

    /// Bytes that are whole but of a format this version does not know.
    pub fn newer(path: impl AsRef<Path>, what: &str, found: impl std::fmt::Display, known: u32) -> Self {
        let detail = format!("{what} {found} is not known to this version, which reads {known}");
        Error::Format { path: path.as_ref().to_path_buf(), detail }
    }

    /// A corruption report that names the file and the offset in it.
    pub fn corruption(file: impl Into<String>, offset: u64, detail: impl Into<String>) -> Self {
        Error::Corruption { file: file.into(), offset, detail: detail.into() }
    }
}
