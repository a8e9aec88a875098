//! A simulated disk and clock for tests: what is written and what is on the disk are kept apart.
//!
//! [`SimFiles`] is a whole file system in memory. Every file has its *written* bytes (what readers
//! see, the page cache) and its *synced* bytes (what a power cut cannot take), and remembers per
//! 512-byte sector which of the written ones are not synced. Names work alike: creations, removals
//! and renames are visible at once and durable after [`FileSystem::sync_dir`].
//!
//! - [`SimFiles::crash`] is a power cut: any subset of unsynced sectors and of unsynced names
//!   survives, chosen by a seeded generator. Lengths may or may not have reached the disk.
//! - [`SimFiles::kill`] is `kill -9`: all that was written is there and is still unsynced.
//!
//! Both return a copy with no faults set, so that threads of the run that "died" cannot reach it.
//! Faults: [`SimFiles::fail_next`], [`SimFiles::set_free_bytes`], [`SimFiles::power_off_after_sync`].
//! A sync that fails loses its sectors as Linux does: they read well, count as clean, and no later
//! sync brings them to the disk.
//!
//! Creating a folder is durable at once. Open handles keep a removed file readable.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Clock, File, FileSystem, OpenMode, Window};

const SECTOR: usize = 512;

/// A small seeded generator (SplitMix64): the same seed gives the same crash.
#[derive(Clone, Debug)]
pub struct SimRng(u64);

impl SimRng {
    /// A generator whose whole sequence follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        SimRng(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64().checked_rem(n).unwrap_or(0)
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct SimClock {
    unix_us: AtomicU64,
    monotonic_ns: AtomicU64,
}

impl SimClock {
    /// A clock that shows `unix_ms`.
    #[must_use]
    pub fn new(unix_ms: u64) -> Self {
        SimClock { unix_us: AtomicU64::new(unix_ms * 1000), monotonic_ns: AtomicU64::new(0) }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.unix_us.fetch_add(by.as_micros() as u64, Ordering::SeqCst);
        self.monotonic_ns.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }

    /// Steps the wall clock, as an administrator or NTP may; the monotonic clock stays.
    pub fn set_unix_ms(&self, unix_ms: u64) {
        self.unix_us.store(unix_ms * 1000, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn unix_ms(&self) -> u64 {
        self.unix_us() / 1000
    }

    fn unix_us(&self) -> u64 {
        self.unix_us.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::SeqCst)
    }
}

/// The operations that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimOp {
    /// `write_at`. A failing write leaves the first half of its bytes behind.
    Write,
    /// `sync_data` and `sync_all`. A failing sync loses its sectors.
    Sync,
    /// `sync_dir`.
    SyncDir,
    /// `allocate`.
    Allocate,
    /// `open`, in every mode.
    Open,
}

/// A file system in memory; clones share it.
#[derive(Clone, Debug)]
pub struct SimFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    dirs: BTreeSet<PathBuf>,
    /// Names as processes see them.
    live: BTreeMap<PathBuf, u64>,
    /// Names as they are on the disk.
    durable: BTreeMap<PathBuf, u64>,
    /// Changes of names since the folder's last sync, in order.
    pending: Vec<NameChange>,
    free: Option<u64>,
    unreserving: bool,
    faults: Vec<Fault>,
    syncs: u64,
    power_off_after: Option<u64>,
    power_off_before: Option<u64>,
    off: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    written: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors whose written bytes may differ from the synced ones.
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { path: PathBuf, inode: u64 },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, inode: u64 },
}

#[derive(Clone, Debug)]
struct Fault {
    op: SimOp,
    kind: ErrorKind,
    path_part: String,
}

impl Default for SimFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl SimFiles {
    /// An empty disk without limits.
    #[must_use]
    pub fn new() -> Self {
        SimFiles { disk: Arc::new(Mutex::new(Disk::default())) }
    }

    /// The disk after a power cut now.
    #[must_use]
    pub fn crash(&self, rng: &mut SimRng) -> SimFiles {
        let before = self.disk.lock().clone();
        // One rate per crash: runs in which nearly all or nearly nothing survives find other bugs
        // than runs at one half.
        let keep = [0, 10, 50, 90, 100][rng.below(5) as usize];
        let mut names = before.durable.clone();
        for change in &before.pending {
            if rng.chance(keep) {
                change.apply(&mut names);
            }
        }
        let inodes = names
            .values()
            .map(|id| {
                let image = before.inodes.get(id).map(|i| i.crashed(keep, rng)).unwrap_or_default();
                (*id, image)
            })
            .collect();
        SimFiles::from_disk(Disk {
            inodes,
            next_inode: before.next_inode,
            dirs: before.dirs,
            live: names.clone(),
            durable: names,
            free: before.free,
            unreserving: before.unreserving,
            ..Disk::default()
        })
    }

    /// The disk after `kill -9` now: everything written is readable, nothing more is synced.
    #[must_use]
    pub fn kill(&self) -> SimFiles {
        let mut disk = self.disk.lock().clone();
        disk.faults.clear();
        disk.power_off_after = None;
        disk.power_off_before = None;
        disk.off = false;
        disk.syncs = 0;
        disk.forget_unnamed();
        SimFiles::from_disk(disk)
    }

    fn from_disk(disk: Disk) -> SimFiles {
        SimFiles { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Lets the next `op` on a path that contains `path_part` fail with `kind`, once.
    pub fn fail_next(&self, op: SimOp, kind: ErrorKind, path_part: &str) {
        self.disk.lock().faults.push(Fault { op, kind, path_part: path_part.to_owned() });
    }

    /// Bounds how many more bytes files may grow by. Shrinking and removing files gives back.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.disk.lock().free = Some(bytes);
    }

    /// Makes `allocate` answer `Ok(false)`, as on a copy-on-write file system.
    pub fn set_unreserving(&self, unreserving: bool) {
        self.disk.lock().unreserving = unreserving;
    }

    /// Syncs of files and folders that succeeded so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk.lock().syncs
    }

    /// Cuts the power right after sync number `n` succeeded (0: now). From then on every operation
    /// fails and no byte reaches the disk; [`SimFiles::crash`] shows what is left.
    pub fn power_off_after_sync(&self, n: u64) {
        let mut disk = self.disk.lock();
        disk.power_off_after = Some(n);
        disk.off = disk.syncs >= n;
    }

    /// Cuts the power when sync number `n` is asked for: what was written since the one before it is
    /// at stake.
    pub fn power_off_before_sync(&self, n: u64) {
        self.disk.lock().power_off_before = Some(n);
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.disk.lock().off
    }

    /// Flips bits of one stored byte, in what is written and in what is on the disk.
    ///
    /// # Panics
    /// If the file or the byte does not exist.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) {
        let mut disk = self.disk.lock();
        let id = disk.live[path];
        let inode = disk.inodes.get_mut(&id).expect("every name has its file");
        inode.written[offset as usize] ^= mask;
        if let Some(byte) = inode.synced.get_mut(offset as usize) {
            *byte ^= mask;
        }
    }

    /// All names with the length of their files.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let disk = self.disk.lock();
        disk.live.iter().map(|(path, id)| (path.clone(), disk.inodes[id].written.len() as u64)).collect()
    }
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Create { path, .. } | NameChange::Remove { path } => path.parent(),
            NameChange::Rename { to, .. } => to.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Create { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Remove { path } => {
                names.remove(path);
            }
            NameChange::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl Inode {
    fn touch(&mut self, start: usize, end: usize) {
        if start < end {
            self.dirty.extend(start / SECTOR..=(end - 1) / SECTOR);
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.written.len() {
            self.resize(end);
        }
        self.written[offset..end].copy_from_slice(bytes);
        self.touch(offset, end);
    }

    fn resize(&mut self, len: usize) {
        let old = self.written.len();
        self.written.resize(len, 0);
        self.touch(old.min(len), old.max(len));
    }

    fn sync(&mut self) {
        self.synced.resize(self.written.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            copy_sector(&self.written, &mut self.synced, sector);
        }
    }

    fn crashed(&self, keep: u64, rng: &mut SimRng) -> Inode {
        let mut bytes = self.synced.clone();
        if rng.chance(keep) {
            bytes.resize(self.written.len(), 0);
        }
        for &sector in &self.dirty {
            if rng.chance(keep) {
                copy_sector(&self.written, &mut bytes, sector);
            }
        }
        Inode { written: bytes.clone(), synced: bytes, dirty: BTreeSet::new() }
    }
}

/// Copies one sector as far as both sides have it.
fn copy_sector(from: &[u8], to: &mut [u8], sector: usize) {
    let start = sector * SECTOR;
    let end = (start + SECTOR).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

impl Disk {
    /// Drops the files that no name leads to, now or after a power cut: their handles are gone.
    fn forget_unnamed(&mut self) {
        let pending = self.pending.iter().filter_map(|change| match change {
            NameChange::Create { inode, .. } | NameChange::Rename { inode, .. } => Some(inode),
            NameChange::Remove { .. } => None,
        });
        let named: BTreeSet<u64> =
            self.live.values().chain(self.durable.values()).chain(pending).copied().collect();
        self.inodes.retain(|id, _| named.contains(id));
    }

    fn check(&mut self, op: SimOp, path: &Path) -> io::Result<()> {
        if matches!(op, SimOp::Sync | SimOp::SyncDir) {
            self.off |= self.power_off_before.is_some_and(|n| self.syncs + 1 >= n);
        }
        self.check_power()?;
        let path = path.to_string_lossy();
        let hit = self.faults.iter().position(|f| f.op == op && path.contains(&f.path_part));
        match hit {
            Some(i) => Err(self.faults.remove(i).kind.into()),
            None => Ok(()),
        }
    }

    fn check_power(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the power is off")) } else { Ok(()) }
    }

    fn count_sync(&mut self) {
        self.syncs += 1;
        self.off |= self.power_off_after.is_some_and(|n| self.syncs >= n);
    }

    fn inode(&mut self, id: u64) -> &mut Inode {
        self.inodes.get_mut(&id).expect("files live as long as the disk")
    }

    fn lookup(&self, path: &Path) -> io::Result<u64> {
        self.live.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn reserve(&mut self, grow: u64) -> io::Result<()> {
        if let Some(free) = &mut self.free {
            *free = free.checked_sub(grow).ok_or(ErrorKind::StorageFull)?;
        }
        Ok(())
    }

    fn give_back(&mut self, inode: u64) {
        let bytes = self.inode(inode).written.len() as u64;
        if let Some(free) = &mut self.free {
            *free += bytes;
        }
    }
}

impl FileSystem for SimFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        disk.check(SimOp::Open, path)?;
        let inode = match (mode, disk.live.get(path)) {
            (OpenMode::CreateNew, Some(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, None) => {
                let known = path.parent().is_some_and(|dir| disk.dirs.contains(dir));
                if !known {
                    return Err(ErrorKind::NotFound.into());
                }
                let inode = disk.next_inode;
                disk.next_inode += 1;
                disk.inodes.insert(inode, Inode::default());
                disk.live.insert(path.to_path_buf(), inode);
                disk.pending.push(NameChange::Create { path: path.to_path_buf(), inode });
                inode
            }
            (_, Some(inode)) => *inode,
            (_, None) => return Err(ErrorKind::NotFound.into()),
        };
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(SimFile { disk: Arc::clone(&self.disk), path: path.to_path_buf(), inode, writable }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk.lock();
        disk.check_power()?;
        if !disk.dirs.contains(dir) {
            return Err(ErrorKind::NotFound.into());
        }
        let inside = disk.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        disk.dirs.extend(dir.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        let inode = disk.lookup(path)?;
        disk.give_back(inode);
        disk.live.remove(path);
        disk.pending.push(NameChange::Remove { path: path.to_path_buf() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        let inode = disk.lookup(from)?;
        disk.live.remove(from);
        if let Some(replaced) = disk.live.insert(to.to_path_buf(), inode) {
            disk.give_back(replaced);
        }
        let change = NameChange::Rename { from: from.to_path_buf(), to: to.to_path_buf(), inode };
        disk.pending.push(change);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check(SimOp::SyncDir, dir)?;
        let (synced, rest) =
            std::mem::take(&mut disk.pending).into_iter().partition(|c| c.dir() == Some(dir));
        disk.pending = rest;
        let synced: Vec<NameChange> = synced;
        for change in synced {
            change.apply(&mut disk.durable);
        }
        disk.count_sync();
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        let disk = self.disk.lock();
        disk.check_power()?;
        Ok(disk.free.unwrap_or(1 << 40))
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    inode: u64,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(ErrorKind::PermissionDenied.into()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if let Err(e) = disk.check(SimOp::Sync, &self.path) {
            if !disk.off {
                disk.inode(self.inode).dirty.clear();
            }
            return Err(e);
        }
        disk.inode(self.inode).sync();
        disk.count_sync();
        Ok(())
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        Ok(disk.inode(self.inode).written.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        disk.check_power()?;
        let bytes = &disk.inode(self.inode).written;
        let start = (offset as usize).min(bytes.len());
        let n = buf.len().min(bytes.len() - start);
        buf[..n].copy_from_slice(&bytes[start..start + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        let failed = disk.check(SimOp::Write, &self.path).err();
        if disk.off {
            return Err(io::Error::other("the power is off"));
        }
        let bytes = if failed.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        let end = offset + bytes.len() as u64;
        let grow = end.saturating_sub(disk.inode(self.inode).written.len() as u64);
        disk.reserve(grow)?;
        disk.inode(self.inode).write(offset as usize, bytes);
        failed.map_or(Ok(()), Err)
    }

    fn allocate(&self, len: u64) -> io::Result<bool> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        disk.check(SimOp::Allocate, &self.path)?;
        if disk.unreserving {
            return Ok(false);
        }
        let old = disk.inode(self.inode).written.len() as u64;
        disk.reserve(len.saturating_sub(old))?;
        disk.inode(self.inode).resize(len.max(old) as usize);
        Ok(true)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        disk.check_power()?;
        let old = disk.inode(self.inode).written.len() as u64;
        disk.reserve(len.saturating_sub(old))?;
        if let Some(free) = &mut disk.free {
            *free += old.saturating_sub(len);
        }
        disk.inode(self.inode).resize(len as usize);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn window(&self, offset: u64, len: usize) -> io::Result<Box<dyn Window>> {
        self.check_writable()?;
        if offset + len as u64 > self.len()? {
            return Err(io::Error::new(ErrorKind::InvalidInput, "window beyond the end of the file"));
        }
        Ok(Box::new(SimWindow { disk: Arc::clone(&self.disk), inode: self.inode, offset, len }))
    }
}

struct SimWindow {
    disk: Arc<Mutex<Disk>>,
    inode: u64,
    offset: u64,
    len: usize,
}

impl Window for SimWindow {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn len(&self) -> usize {
        self.len
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len, "write beyond the window");
        let mut disk = self.disk.lock();
        if !disk.off {
            let inode = disk.inode(self.inode);
            assert!(self.offset as usize + at + bytes.len() <= inode.written.len(), "SIGBUS: file was cut");
            inode.write(self.offset as usize + at, bytes);
        }
    }

    fn prefault(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with_file() -> (SimFiles, Arc<dyn File>) {
        let files = SimFiles::new();
        files.create_dir_all(Path::new("/d")).unwrap();
        let file = files.open(Path::new("/d/f"), OpenMode::CreateNew).unwrap();
        (files, file)
    }

    fn read(files: &SimFiles, path: &str) -> Option<Vec<u8>> {
        let file = files.open(Path::new(path), OpenMode::Read).ok()?;
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        Some(bytes)
    }

    #[test]
    fn synced_bytes_survive_and_any_subset_of_the_others_may() {
        let (files, file) = disk_with_file();
        file.write_at(&[1; 4096], 0).unwrap();
        file.sync_data().unwrap();
        files.sync_dir(Path::new("/d")).unwrap();
        file.window(0, 4096).unwrap().write(0, &[2; 2048]);
        let (mut mixed, mut holes) = (false, false);
        for seed in 0..200 {
            let bytes = read(&files.crash(&mut SimRng::new(seed)), "/d/f").unwrap();
            assert_eq!(bytes[2048..], [1; 2048]);
            let news: Vec<bool> = bytes[..2048].chunks(512).map(|s| s == [2; 512]).collect();
            mixed |= news.contains(&true) && news.contains(&false);
            holes |= !news[0] && news[3];
        }
        assert!(mixed && holes);
    }

    #[test]
    fn unsynced_names_may_vanish_and_synced_ones_stay() {
        let (files, file) = disk_with_file();
        file.write_at(b"x", 0).unwrap();
        file.sync_all().unwrap();
        let present = |files: &SimFiles| {
            let seeds = 0..50;
            seeds.filter(|s| read(&files.crash(&mut SimRng::new(*s)), "/d/f").is_some()).count()
        };
        assert!((1..50).contains(&present(&files)));
        files.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(present(&files), 50);
        files.rename(Path::new("/d/f"), Path::new("/d/g")).unwrap();
        for seed in 0..50 {
            let after = files.crash(&mut SimRng::new(seed));
            assert!(read(&after, "/d/f").is_some() ^ read(&after, "/d/g").is_some());
        }
    }

    #[test]
    fn kill_keeps_what_a_later_power_cut_can_still_take() {
        let (files, file) = disk_with_file();
        files.sync_dir(Path::new("/d")).unwrap();
        file.write_at(b"page cache", 0).unwrap();
        let killed = files.kill();
        assert_eq!(read(&killed, "/d/f").unwrap(), b"page cache");
        file.write_at(b"after that", 0).unwrap();
        assert_eq!(read(&killed, "/d/f").unwrap(), b"page cache");
        let lost = (0..50).filter(|s| read(&killed.crash(&mut SimRng::new(*s)), "/d/f").unwrap().is_empty());
        assert!(lost.count() > 0);
    }

    #[test]
    fn a_failed_sync_loses_its_sectors_for_good() {
        let (files, file) = disk_with_file();
        files.sync_dir(Path::new("/d")).unwrap();
        file.write_at(&[7; 512], 0).unwrap();
        files.fail_next(SimOp::Sync, ErrorKind::Other, "/f");
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(read(&files, "/d/f").unwrap(), [7; 512]);
        assert_eq!(read(&files.crash(&mut SimRng::new(1)), "/d/f").unwrap(), [0; 512]);
    }

    #[test]
    fn space_is_bounded_and_comes_back() {
        let (files, file) = disk_with_file();
        files.set_free_bytes(1000);
        assert!(file.allocate(1000).unwrap());
        file.write_at(&[1; 1000], 0).unwrap();
        assert_eq!(file.write_at(&[1], 1000).unwrap_err().kind(), ErrorKind::StorageFull);
        files.remove(Path::new("/d/f")).unwrap();
        assert_eq!(files.free_bytes(Path::new("/d")).unwrap(), 1000);
    }

    #[test]
    fn nothing_reaches_the_disk_without_power() {
        let (files, file) = disk_with_file();
        file.write_at(&[1; 10], 0).unwrap();
        files.sync_dir(Path::new("/d")).unwrap();
        let mut window = file.window(0, 10).unwrap();
        files.power_off_after_sync(files.syncs() + 1);
        file.sync_data().unwrap();
        assert!(files.is_off());
        window.write(0, &[2; 10]);
        assert!(file.write_at(&[3; 10], 0).is_err() && file.sync_data().is_err());
        assert_eq!(read(&files.crash(&mut SimRng::new(4)), "/d/f").unwrap(), [1; 10]);
    }
}
