//! The file `STORE`: which store a folder holds, in which format, and how often it was opened.
//!
//! ```text
//! lux store
//! format 3
//! store-id 00f3...    16 hex digits
//! hash-seed 9a0c...   16 hex digits
//! openings 3
//! crc32 1b2c3d4e      of the lines before
//! ```
//!
//! It is replaced atomically at every opening, before anything else is written: incarnations
//! are numbered by opening, so that none is ever used twice.

use std::path::Path;

use crate::env::{FileSystem, OpenMode};
use crate::error::{Error, Result};

/// The on-disk format that this version reads and writes.
pub const FORMAT: u32 = 3;
const NAME: &str = "STORE";
const TEMPORARY: &str = "STORE.new";
/// The file is a few lines; anything longer is not ours.
const LEN_MAX: u64 = 4096;

/// What identifies a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub store_id: u64,
    pub hash_seed: u64,
    /// How often the store was opened, this time included.
    pub openings: u64,
}

impl Identity {
    /// Reads the folder's identity or makes one from `entropy`, and counts this opening. Durable
    /// when this returns.
    ///
    /// # Errors
    /// [`Error::Format`] for a folder of another format, [`Error::Corruption`] for a damaged file or data
    /// without one: nothing was changed. [`Error::NotWritable`] if it cannot be replaced.
    pub fn open(files: &dyn FileSystem, dir: &Path, entropy: [u64; 2]) -> Result<Identity> {
        let path = dir.join(NAME);
        let names = files.list(dir).map_err(|e| Error::io("list", dir, e))?;
        let mut identity = if names.iter().any(|name| name == NAME) {
            Identity::decode(&read(files, &path)?, &path)?
        } else {
            refuse_leftovers(files, dir)?;
            let [store_id, hash_seed] = entropy;
            Identity { store_id, hash_seed, openings: 0 }
        };
        identity.openings += 1;
        identity.write(files, dir)?;
        Ok(identity)
    }

    /// Reads the identity of a folder without opening it.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no store, else as [`Identity::open`].
    pub fn read(files: &dyn FileSystem, dir: &Path) -> Result<Identity> {
        let path = dir.join(NAME);
        Identity::decode(&read(files, &path)?, &path)
    }

    fn write(&self, files: &dyn FileSystem, dir: &Path) -> Result<()> {
        let temporary = dir.join(TEMPORARY);
        let io = |op: &'static str| move |e| Error::io(op, dir.join(TEMPORARY), e);
        let _ = files.remove(&temporary);
        let file = files
            .open(&temporary, OpenMode::CreateNew)
            .map_err(|e| Error::first_write("create", dir, &temporary, e))?;
        file.write_at(self.encode().as_bytes(), 0).map_err(io("write"))?;
        // DURABILITY: a crash before the rename is durable leaves the old file.
        file.sync_all().map_err(io("fsync"))?;
        files.rename(&temporary, &dir.join(NAME)).map_err(io("rename"))?;
        files.sync_dir(dir).map_err(|e| Error::io("fsync", dir, e))
    }

    fn encode(&self) -> String {
        let lines = format!(
            "lux store\nformat {FORMAT}\nstore-id {:016x}\nhash-seed {:016x}\nopenings {}\n",
            self.store_id, self.hash_seed, self.openings
        );
        let crc = crc32fast::hash(lines.as_bytes());
        format!("{lines}crc32 {crc:08x}\n")
    }

    fn decode(text: &str, path: &Path) -> Result<Identity> {
        let damaged = |detail: &str| Error::corruption(path.display().to_string(), 0, detail);
        if !text.starts_with("lux store\n") {
            return Err(damaged("not a store of Lux"));
        }
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or_else(|| damaged(&format!("no line '{name}'")))
        };
        // The format comes first: a newer one may have other lines and another checksum.
        let format = field("format")?;
        if format != FORMAT.to_string() {
            let detail = format!("the folder has format {format}, this version reads format {FORMAT}");
            return Err(Error::Format { path: path.to_path_buf(), detail });
        }
        let body = text.split("crc32 ").next().unwrap_or_default();
        let crc = u32::from_str_radix(field("crc32")?, 16);
        if crc != Ok(crc32fast::hash(body.as_bytes())) {
            return Err(damaged("checksum mismatch"));
        }
        let hex = |name: &str| {
            u64::from_str_radix(field(name)?, 16).map_err(|_| damaged(&format!("bad number in '{name}'")))
        };
        let openings = field("openings")?.parse().map_err(|_| damaged("bad number in 'openings'"))?;
        Ok(Identity { store_id: hex("store-id")?, hash_seed: hex("hash-seed")?, openings })
    }
}

/// `STORE` is the first file of a store. Data without it has lost its hash seed, and a new one would make
/// that loss final.
fn refuse_leftovers(files: &dyn FileSystem, dir: &Path) -> Result<()> {
    for name in ["wal", "cold"] {
        let is_empty = files.list(&dir.join(name)).map_or(true, |names| names.is_empty());
        if !is_empty {
            let detail = format!("the file is missing, but the folder holds data in {name}/");
            return Err(Error::corruption(dir.join(NAME).display().to_string(), 0, detail));
        }
    }
    Ok(())
}

fn read(files: &dyn FileSystem, path: &Path) -> Result<String> {
    let io = |op: &'static str| move |e| Error::io(op, path, e);
    let file = files.open(path, OpenMode::Read).map_err(io("open"))?;
    let len = file.len().map_err(io("stat"))?;
    if len > LEN_MAX {
        return Err(Error::corruption(path.display().to_string(), LEN_MAX, "file is too long"));
    }
    let mut bytes = vec![0; len as usize];
    let read = file.read_at(&mut bytes, 0).map_err(io("read"))?;
    bytes.truncate(read);
    String::from_utf8(bytes).map_err(|_| Error::corruption(path.display().to_string(), 0, "not text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::SimFiles;

    fn identity() -> Identity {
        Identity { store_id: 1 << 63, hash_seed: 7, openings: 3 }
    }

    #[test]
    fn openings_count_up_and_the_rest_stays() {
        let files = SimFiles::new();
        let dir = Path::new("/data");
        files.create_dir_all(dir).expect("new");
        let first = Identity::open(&files, dir, [5, 6]).expect("creates");
        let second = Identity::open(&files, dir, [7, 8]).expect("reads");
        assert_eq!(first, Identity { store_id: 5, hash_seed: 6, openings: 1 });
        assert_eq!(second, Identity { openings: 2, ..first });
    }

    #[test]
    fn data_without_its_identity_is_refused() {
        let files = SimFiles::new();
        let dir = Path::new("/data");
        files.create_dir_all(&dir.join("wal")).expect("new");
        files.open(&dir.join("wal/0000000000000001.seg"), OpenMode::CreateNew).expect("new");
        let error = Identity::open(&files, dir, [5, 6]).expect_err("no identity").to_string();
        assert!(error.contains("/data/STORE") && error.contains("wal/"), "{error}");
        assert_eq!(files.files().len(), 1, "nothing was made");
    }

    #[test]
    fn damage_and_other_formats_are_refused_by_name() {
        let path = Path::new("/data/STORE");
        let text = identity().encode();
        assert_eq!(Identity::decode(&text, path).expect("own text"), identity());
        let newer = text.replace("format 3", "format 4");
        let error = Identity::decode(&newer, path).expect_err("newer").to_string();
        assert!(error.contains("/data/STORE") && error.contains("format 4"), "{error}");
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(damaged) = String::from_utf8(bytes) {
                assert!(Identity::decode(&damaged, path).is_err(), "byte {at}");
            }
        }
    }
}
