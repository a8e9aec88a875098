//! Payloads of strings, and the footer that all payloads have.

mod collections;
mod content;
mod values;

use proptest::prelude::*;

use super::*;

fn text(bytes: &[u8]) -> RdbString<'_> {
    RdbString::Bytes(Cow::Borrowed(bytes))
}

fn int(value: i64) -> RdbString<'static> {
    RdbString::Int(value)
}

/// Reads the payload of a string.
fn restore(payload: &[u8]) -> Result<RdbString<'_>, DumpError> {
    match open(payload)? {
        Dumped::String(string) => Ok(string),
        Dumped::Collection(_) => Err(DumpError::BadData),
    }
}

/// A payload around any bytes, with a right footer.
fn sealed(value: &[u8], version: u16) -> Vec<u8> {
    let mut payload = [value, &version.to_le_bytes()].concat();
    payload.extend_from_slice(&crc64(0, &payload).to_le_bytes());
    payload
}

// Payloads that redis-server 7.0.15 replied to DUMP.
#[test]
fn payloads_of_redis_are_read() {
    for (payload, expected) in [
        (&b"\x00\xc0\x0a\x0a\x00\x6e\x9f\x57\x45\x0e\xae\x63\xbb"[..], int(10)),
        (b"\x00\x03bar\x0a\x00\xe6\xbe\x49\x60\xee\x66\xfd\x17", text(b"bar")),
        (b"\x00\x0a4294967296\x0a\x00\xa5\xa3\x89\xc8\x1a\x8c\x46\x56", int(1 << 32)),
        (
            b"\x00\xc3\x09\x1e\x01aa\xe0\x11\x00\x01aa\x0a\x00\x45\x73\x7c\xbb\x2b\x64\x7b\xbb",
            text(&[b'a'; 30]),
        ),
    ] {
        assert_eq!(restore(payload).as_ref(), Ok(&expected));
    }
}

#[test]
fn every_encoding_of_strings_is_read() {
    for (value, expected) in [
        (&b"\x00\x00"[..], text(b"")),
        (b"\x00\x05hello", text(b"hello")),
        (b"\x00\x40\x05hello", text(b"hello")),
        (b"\x00\x80\x00\x00\x00\x05hello", text(b"hello")),
        (b"\x00\x81\x00\x00\x00\x00\x00\x00\x00\x05hello", text(b"hello")),
        (b"\x00\x0242", int(42)),
        (b"\x00\x03042", text(b"042")),
        (b"\x00\xc0\x80", int(-128)),
        (b"\x00\xc1\x00\x80", int(-32_768)),
        (b"\x00\xc2\xff\xff\xff\x7f", int(0x7fff_ffff)),
        (b"\x00\xc3\x04\x06\x00a\x60\x00", text(b"aaaaaa")),
    ] {
        assert_eq!(restore(&sealed(value, 11)).as_ref(), Ok(&expected), "{value:?}");
    }
}

#[test]
fn malformed_values_are_bad_data() {
    for value in [
        &b""[..],
        b"\x00",
        b"\x01\x00",
        b"\xff\x00",
        b"\x00\x05hell",
        b"\x00\x05hello!",
        b"\x00\x40",
        b"\x00\x80\xff\xff\xff\xffhello",
        b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xffhello",
        b"\x00\x82\x00\x00\x00\x05hello",
        b"\x00\xc1\x00",
        b"\x00\xc4\x00",
        b"\x00\xc3\x05\x05\x04hel",
        b"\x00\xc3\x02\x80\x20\x00\x00\x00\x00a",
        b"\x00\xc3\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00a",
        b"\x00\xc3\xc3\x05",
    ] {
        assert_eq!(restore(&sealed(value, 11)), Err(DumpError::BadData), "{value:?}");
    }
}

#[test]
fn newer_versions_and_short_payloads_are_refused() {
    let value = b"\x00\x03bar";
    assert!(restore(&sealed(value, 0)).is_ok());
    assert!(restore(&sealed(value, RDB_VERSION_MAX)).is_ok());
    assert_eq!(restore(&sealed(value, RDB_VERSION_MAX + 1)), Err(DumpError::VersionOrChecksum));
    for len in 0..FOOTER_BYTES {
        assert_eq!(restore(&dump_string(b"bar")[..len]), Err(DumpError::VersionOrChecksum));
    }
    assert_eq!(restore(&sealed(b"", 11)), Err(DumpError::BadData));
}

#[test]
fn long_strings_are_compressed() {
    let long = b"some text that comes again and again. ".repeat(100);
    let payload = dump_string(&long);
    assert!(payload.len() < long.len() / 10);
    assert_eq!(restore(&payload), Ok(text(&long)));
}

proptest! {
    #[test]
    fn strings_round_trip(bytes: Vec<u8>, copies in 1usize..40) {
        let bytes = bytes.repeat(copies);
        let payload = dump_string(&bytes);
        prop_assert_eq!(restore(&payload), Ok(match parse_int(&bytes) {
            Some(value) => int(value),
            None => text(&bytes),
        }));
    }

    #[test]
    fn integers_round_trip(value: i64, shift in 0u32..64) {
        let value = value >> shift;
        let payload = dump_int(value);
        prop_assert_eq!(restore(&payload), Ok(int(value)));
        prop_assert_eq!(payload, dump_string(value.to_string().as_bytes()));
    }

    #[test]
    fn lengths_round_trip(len: u64, shift in 0u32..64) {
        let len = len >> shift;
        let mut writer = RdbWriter::new(RdbType::String);
        writer.put_len(len);
        let payload = writer.finish(RDB_VERSION);
        let mut reader = RdbReader::open(&payload).unwrap();
        reader.value_type().unwrap();
        prop_assert_eq!(reader.read_len(), Ok(len));
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_flipped_bit_is_found(bytes: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
        let mut payload = dump_string(&bytes);
        let at = at.index(payload.len());
        payload[at] ^= 1 << bit;
        prop_assert_eq!(restore(&payload), Err(DumpError::VersionOrChecksum));
    }

    #[test]
    fn hostile_payloads_are_read_or_refused(payload: Vec<u8>, version in 0u16..14) {
        let _ = restore(&payload);
        let _ = restore(&sealed(&payload, version));
        let _ = restore(&sealed(&[&[0], &payload[..]].concat(), version));
        let _ = restore(&sealed(&[&[0, 0xc3], &payload[..]].concat(), version));
    }
}
