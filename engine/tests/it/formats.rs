//! Data of a newer version is refused by name, and nothing of it is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lux_engine::Error;
use lux_engine::env::sim::SimFiles;
use lux_engine::env::{FileSystem, OpenMode};
use lux_engine::tier::{ColdBatch, ColdStore, Family, Lookup, ReadTier};
use lux_engine::wal::{frame, segment};

use crate::rig::Rig;

fn read(files: &SimFiles, path: &Path) -> Vec<u8> {
    let file = files.open(path, OpenMode::Read).expect("it is there");
    let mut bytes = vec![0; file.len().expect("has a length") as usize];
    assert_eq!(file.read_at(&mut bytes, 0).expect("reads"), bytes.len());
    bytes
}

fn image(files: &SimFiles) -> Vec<(PathBuf, Vec<u8>)> {
    files.files().into_iter().map(|(path, _)| (path.clone(), read(files, &path))).collect()
}

/// A store with a few commits whose process was killed: its files.
fn killed() -> (Rig, SimFiles) {
    let rig = Rig::new();
    rig.set(b"key", b"value");
    rig.checkpoint();
    rig.set(b"key", b"newer");
    rig.engine.stop();
    let files = rig.files.kill();
    (rig, files)
}

/// Opens the files with the cold tier of the rig; what it says, by `Error::Format`.
fn refusal(rig: &Rig, files: &SimFiles) -> String {
    let cold = rig.cold.crash(rig.cold.pending_batches());
    match Rig::open(files.clone(), Arc::clone(&rig.clock), cold, rig.options) {
        Err(error @ Error::Format { .. }) => error.to_string(),
        Err(other) => panic!("not an error of the format: {other}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// The last segment that holds a record, its id, and its path.
fn last_segment(files: &SimFiles) -> (u64, PathBuf) {
    let holds_a_record = |path: &Path| read(files, path).iter().skip(64).any(|byte| *byte != 0);
    let names = files.list(Path::new("/data/wal")).expect("lists");
    let segments = names.iter().filter_map(|name| segment::segment_id(name));
    let mut paths = segments.map(|id| (id, Path::new("/data/wal").join(segment::segment_name(id))));
    paths.rfind(|(_, path)| holds_a_record(path)).expect("the log has records")
}

/// Changes one byte of the first commit of the last segment, and makes its checksum right again.
fn change_frame(rig: &Rig, files: &SimFiles, at: usize, value: u8) -> PathBuf {
    let (id, path) = last_segment(files);
    let segment = read(files, &path);
    let body_len =
        |offset: usize| u32::from_le_bytes(*segment[offset..].first_chunk::<4>().expect("a header")) as usize;
    let mut offset = segment::SEGMENT_HEADER_BYTES;
    while segment[offset + 24] != frame::FrameKind::Commit as u8 {
        offset += frame::bytes_for(body_len(offset));
    }
    let mut bytes = segment[offset..][..frame::HEADER_BYTES + body_len(offset)].to_vec();
    bytes[at] = value;
    let seed = frame::seed(rig.engine.open_report().identity.store_id, id, offset as u64).to_le_bytes();
    let hashed = [&bytes[frame::HEADER_BYTES..], &bytes[..4], &bytes[8..26], &seed].concat();
    bytes[4..8].copy_from_slice(&crc32fast::hash(&hashed).to_le_bytes());
    files
        .open(&path, OpenMode::ReadWrite)
        .and_then(|file| file.write_at(&bytes, offset as u64))
        .expect("writes");
    path
}

#[test]
fn a_folder_of_a_newer_format_is_refused_and_left_alone() {
    let (rig, files) = killed();
    let path = Path::new("/data/STORE");
    let text = String::from_utf8(read(&files, path)).expect("text").replace("format 3\n", "format 4\n");
    files.open(path, OpenMode::ReadWrite).and_then(|file| file.write_at(text.as_bytes(), 0)).expect("writes");
    let before = image(&files);
    let refusal = refusal(&rig, &files);
    assert!(refusal.contains("/data/STORE") && refusal.contains("format 4"), "{refusal}");
    assert_eq!(image(&files), before);
}

/// Each opening counts itself in `STORE` first; nothing else may have changed.
fn assert_only_counted(before: &[(PathBuf, Vec<u8>)], after: &[(PathBuf, Vec<u8>)]) {
    let rest = |image: &[(PathBuf, Vec<u8>)]| -> Vec<(PathBuf, Vec<u8>)> {
        image.iter().filter(|(path, _)| path != Path::new("/data/STORE")).cloned().collect()
    };
    assert_eq!(rest(after), rest(before));
}

#[test]
fn a_newer_marker_is_refused() {
    let (rig, files) = killed();
    let mut marker = Vec::new();
    let found = rig.cold.get(Family::Meta, b"marker", ReadTier::Disk, &mut marker).expect("reads");
    assert!(matches!(found, Lookup::Found(_)));
    let body = marker.len() - 4;
    marker[0] = 9;
    let crc = crc32fast::hash(&marker[..body]).to_be_bytes();
    marker[body..].copy_from_slice(&crc);
    let mut batch = ColdBatch::default();
    batch.put(Family::Meta, b"marker", &marker);
    rig.cold.write(&batch).expect("writes");
    let before = image(&files);
    let refusal = refusal(&rig, &files);
    assert!(refusal.contains("marker version 9"), "{refusal}");
    assert_only_counted(&before, &image(&files));
}

#[test]
fn an_older_record_is_refused() {
    let (rig, files) = killed();
    change_frame(&rig, &files, frame::HEADER_BYTES, 1);
    let refusal = refusal(&rig, &files);
    assert!(refusal.contains("record version 1"), "{refusal}");
}

#[test]
fn a_newer_record_is_refused() {
    let (rig, files) = killed();
    let path = change_frame(&rig, &files, frame::HEADER_BYTES, 9);
    let before = image(&files);
    let refusal = refusal(&rig, &files);
    assert!(refusal.contains(&*path.to_string_lossy()), "{refusal}");
    assert!(refusal.contains("record version 9"), "{refusal}");
    assert_only_counted(&before, &image(&files));
}

/// The story: a frame of an unknown kind passed for the torn end of the log, which was cut there.
#[test]
fn a_newer_frame_is_refused_and_not_cut() {
    for (at, value, what) in [(24, 7, "frame kind 7"), (25, 4, "frame flags 0x04")] {
        let (rig, files) = killed();
        let path = change_frame(&rig, &files, at, value);
        let before = image(&files);
        let refusal = refusal(&rig, &files);
        assert!(refusal.contains(&*path.to_string_lossy()) && refusal.contains(what), "{refusal}");
        assert_only_counted(&before, &image(&files));
    }
}
