//! DUMP payloads: any bytes are a value or an error, never a panic, and a dumped string restores to
//! itself. The input is also given a correct footer, since random bytes never carry a right checksum.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lux_engine::dump::{self, DumpedValue, RDB_VERSION, RdbString};

fuzz_target!(|data: &[u8]| {
    let _ = dump::restore(data);
    let mut sealed = data.to_vec();
    sealed.extend_from_slice(&RDB_VERSION.to_le_bytes());
    let checksum = dump::crc64(0, &sealed);
    sealed.extend_from_slice(&checksum.to_le_bytes());
    if let Ok(value) = dump::restore(&sealed) {
        let bytes = string_bytes(&value);
        assert!(bytes.len() <= 512 * sealed.len(), "{} bytes out of {}", bytes.len(), sealed.len());
    }
    let payload = dump::dump_string(data);
    let value = dump::restore(&payload).expect("a dumped string restores");
    assert_eq!(string_bytes(&value), data, "a string changed in its own dump");
});

fn string_bytes(value: &DumpedValue<'_>) -> Vec<u8> {
    match value {
        DumpedValue::String(RdbString::Int(number)) => number.to_string().into_bytes(),
        DumpedValue::String(RdbString::Bytes(bytes)) => bytes.to_vec(),
    }
}
