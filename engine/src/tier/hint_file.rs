//! Small files beside the store that may be old, damaged or missing: what was hot, which keys have rows.
//!
//! They are written whole beside their predecessor and renamed into place. Nothing is synced: the last
//! four bytes are the CRC32 (big endian) of all before, which tells a torn file, and what an old one
//! means is up to its reader.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{File, FileSystem, OpenMode};
use crate::error::{Error, Result};

/// A hint file being written. Dropped before [`HintWriter::finish`], it leaves the predecessor alone.
pub struct HintWriter<'f> {
    files: &'f dyn FileSystem,
    file: Arc<dyn File>,
    temporary: PathBuf,
    path: PathBuf,
    offset: u64,
    crc: crc32fast::Hasher,
}

impl<'f> HintWriter<'f> {
    /// Starts the file `name` of a folder, as `name.new`.
    pub fn create(files: &'f dyn FileSystem, dir: &Path, name: &str) -> Result<HintWriter<'f>> {
        let temporary = dir.join(format!("{name}.new"));
        let _ = files.remove(&temporary);
        let opened = files.open(&temporary, OpenMode::CreateNew);
        let file = opened.map_err(|e| Error::io("create", &temporary, e))?;
        let (path, crc) = (dir.join(name), crc32fast::Hasher::new());
        Ok(HintWriter { files, file, temporary, path, offset: 0, crc })
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.crc.update(bytes);
        self.append(bytes)
    }

    /// Ends the file with its checksum and puts it in place.
    pub fn finish(mut self) -> Result<()> {
        let crc = self.crc.clone().finalize();
        self.append(&crc.to_be_bytes())?;
        self.files.rename(&self.temporary, &self.path).map_err(|e| Error::io("rename", &self.temporary, e))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_at(bytes, self.offset).map_err(|e| Error::io("write", &self.temporary, e))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// The bytes of a hint file without its checksum; `None` if there is none, it is damaged, or it is longer
/// than `len_max` bytes.
#[must_use]
pub fn read(files: &dyn FileSystem, dir: &Path, name: &str, len_max: u64) -> Option<Vec<u8>> {
    let file = files.open(&dir.join(name), OpenMode::Read).ok()?;
    let len = file.len().ok().filter(|len| *len <= len_max)?;
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    if file.read_at(&mut bytes, 0).ok()? != bytes.len() {
        return None;
    }
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let is_whole = crc32fast::hash(body) == u32::from_be_bytes(*crc);
    bytes.truncate(bytes.len() - 4);
    is_whole.then_some(bytes)
}
