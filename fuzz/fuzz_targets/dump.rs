//! DUMP payloads: any bytes are a value or an error, never a panic; a string restores to itself, and a
//! collection that was read is the same after it was written and read again, by itself and as the value
//! of a key. The input is also given a correct footer, in Redis's and in Valkey's version, since random
//! bytes never carry a right checksum.
//!
//! Memory is counted: however much a payload promises, reading it takes no more than a multiple of its
//! length. What compressed parts unpack to, at most 88 bytes for one, is what the multiples are for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lux_engine::dump::{
    Dumped, Limits, RDB_VERSION_MAX, RDB_VERSION_VALKEY, RdbString, crc64, dump_collection, dump_string,
    load_collection, open,
};

#[expect(dead_code, reason = "the texts and lengths are for the engine's own tests")]
#[path = "../../engine/src/dump/tests/content.rs"]
mod content;

#[path = "shared/counting.rs"]
mod counting;

use content::Content;
use counting::within;

/// Where the shared file looks for it.
mod dump {
    pub use lux_engine::dump::*;
}

/// Most memory that checking a payload and making a value of it may take: so much, and so many times its
/// length. Streams have a bound of their own in the engine; here the tree's leaves and the room of growing
/// buffers come on top.
const OPEN_MAX: (usize, usize) = (1 << 20, 1024);
const LOAD_MAX: (usize, usize) = (64 << 20, 8192);

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
    match within(OPEN_MAX, payload.len(), || open(payload)) {
        Err(_) => {}
        Ok(Dumped::String(string)) => {
            let bytes = string_bytes(&string);
            assert!(bytes.len() <= 512 * payload.len(), "{} bytes out of {}", bytes.len(), payload.len());
        }
        Ok(Dumped::Collection(collection)) => {
            let loaded =
                within(LOAD_MAX, payload.len(), || load_collection(&collection, &Limits::default(), 0));
            // What many entries share may be long: that is not copied here.
            if collection.totals().bytes > 64 << 20 {
                return;
            }
            let content = Content::of(&collection);
            let again = content.dump();
            let Ok(Dumped::Collection(collection)) = open(&again) else { panic!("what was written is read") };
            assert_eq!(Content::of(&collection), content, "a collection changed in its own dump");
            // A stream that no command could have made is refused, and a field may have run out.
            let Ok(value) = loaded else { return };
            let again = dump_collection(&value);
            let Ok(Dumped::Collection(dumped)) = open(&again) else { return assert!(value.is_vacant()) };
            if dumped.totals().count == collection.totals().count {
                assert_eq!(Content::of(&dumped), content, "a collection changed as a value");
            }
        }
    }
}

fn string_bytes(value: &RdbString<'_>) -> Vec<u8> {
    match value {
        RdbString::Int(number) => number.to_string().into_bytes(),
        RdbString::Bytes(bytes) => bytes.to_vec(),
    }
}
