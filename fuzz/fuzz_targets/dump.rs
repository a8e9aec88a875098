//! DUMP payloads: any bytes are a value or an error, never a panic; a string restores to itself, and a
//! collection that was read is the same after it was written and read again. The input is also given
//! a correct footer, in Redis's and in Valkey's version, since random bytes never carry a right checksum.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lux_engine::dump::{Dumped, RDB_VERSION_MAX, RDB_VERSION_VALKEY, RdbString, crc64, dump_string, open};

#[expect(dead_code, reason = "the texts and lengths are for the engine's own tests")]
#[path = "../../engine/src/dump/tests/content.rs"]
mod content;

use content::Content;

/// Where the shared file looks for it.
mod dump {
    pub use lux_engine::dump::*;
}

fuzz_target!(|data: &[u8]| {
    let _ = open(data);
    for version in [RDB_VERSION_MAX, RDB_VERSION_VALKEY] {
        let mut sealed = data.to_vec();
        sealed.extend_from_slice(&version.to_le_bytes());
        let checksum = crc64(0, &sealed);
        sealed.extend_from_slice(&checksum.to_le_bytes());
        check(&sealed);
    }
    let payload = dump_string(data);
    let Ok(Dumped::String(string)) = open(&payload) else { panic!("a dumped string restores") };
    assert_eq!(string_bytes(&string), data, "a string changed in its own dump");
});

fn check(payload: &[u8]) {
    match open(payload) {
        Err(_) => {}
        Ok(Dumped::String(string)) => {
            let bytes = string_bytes(&string);
            assert!(bytes.len() <= 512 * payload.len(), "{} bytes out of {}", bytes.len(), payload.len());
        }
        Ok(Dumped::Collection(collection)) => {
            // What many entries share may be long: that is not copied here.
            if collection.totals().bytes > 64 << 20 {
                return;
            }
            let content = Content::of(&collection);
            let again = content.dump();
            let Ok(Dumped::Collection(collection)) = open(&again) else { panic!("what was written is read") };
            assert_eq!(Content::of(&collection), content, "a collection changed in its own dump");
        }
    }
}

fn string_bytes(value: &RdbString<'_>) -> Vec<u8> {
    match value {
        RdbString::Int(number) => number.to_string().into_bytes(),
        RdbString::Bytes(bytes) => bytes.to_vec(),
    }
}
