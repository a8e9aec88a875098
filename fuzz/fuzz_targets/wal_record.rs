//! Log frames and the effects inside them: any bytes decode to a value or an error, never a panic, and
//! what was encoded decodes to itself.
//!
//! Checksums would hide the code behind them from random bytes, so the input is also taken as a body:
//! framed properly, then read back, then read back with one byte changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lux_engine::ids::Lsn;
use lux_engine::wal::effect::{RecordBody, put_effect};
use lux_engine::wal::frame::{self, FrameKind};

const SEED: u64 = 7;

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = frame::decode(data, SEED) {
        let mut scratch = Vec::new();
        if let Ok(body) = frame.body(&mut scratch) {
            read_body(body);
        }
    }
    read_body(data);
    round_trip(data);
});

/// Reads all effects; each survives its own encoding.
fn read_body(bytes: &[u8]) {
    let Ok(mut body) = RecordBody::decode(bytes) else { return };
    while let Ok(Some(effect)) = body.next_effect() {
        let mut again = Vec::new();
        put_effect(&mut again, &effect);
        let mut reader = lux_engine::codec::Reader::new(&again);
        let read = lux_engine::wal::effect::read_effect(&mut reader);
        assert_eq!(read.as_ref(), Ok(&effect), "an effect changed in its own encoding");
        assert!(reader.is_empty(), "an effect left bytes behind");
    }
}

fn round_trip(data: &[u8]) {
    let lsn = Lsn(data.len() as u64 + 1);
    let mut bytes = frame::encode(FrameKind::Commit, lsn, Lsn(0), data, SEED);
    {
        let frame = frame::decode(&bytes, SEED).expect("an encoded frame decodes");
        let mut scratch = Vec::new();
        assert_eq!(frame.body(&mut scratch).expect("its body decodes"), data);
        assert_eq!((frame.lsn, frame.bytes), (lsn, bytes.len()));
    }
    assert!(frame::decode(&bytes, SEED + 1).is_err(), "the seed belongs to the checksum");
    let place =
        data.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31) + usize::from(*byte)) % bytes.len();
    bytes[place] ^= 1 << (data.len() % 8);
    assert!(frame::decode(&bytes, SEED).is_err(), "a flipped bit at {place} went unnoticed");
}
