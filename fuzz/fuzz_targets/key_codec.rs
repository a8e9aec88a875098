//! Keys and rows of the cold tier: any bytes decode to a value or an error, what was encoded decodes to
//! itself, and encoded keys sort as their parts do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lux_engine::ids::{DbId, ExpireAt};
use lux_engine::tier::schema;

fuzz_target!(|data: &[u8]| {
    let _ = schema::split_row_key(data);
    let _ = schema::read_hint(data, b"");
    let _ = schema::read_hint(data, schema::ELEMENT_HINT);
    if let Ok(row) = schema::read_row(data) {
        let mut again = Vec::new();
        schema::put_row(&mut again, &row);
        assert_eq!(schema::read_row(&again).as_ref(), Ok(&row), "a row changed in its own encoding");
    }
    let Some((first, rest)) = data.split_first_chunk::<16>() else { return };
    let Some((second, keys)) = rest.split_first_chunk::<16>() else { return };
    let (left_key, right_key) = keys.split_at(keys.len() / 2);
    compare(parts(first), left_key, parts(second), right_key);
});

/// Database, bucket and deadline out of 16 bytes.
fn parts(bytes: &[u8; 16]) -> (u32, u32, u64) {
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (word(0), word(4), u64::from(word(8)) << 16 | u64::from(word(12)) & 0xffff)
}

fn compare(left: (u32, u32, u64), left_key: &[u8], right: (u32, u32, u64), right_key: &[u8]) {
    let row = |(db, bucket, _): (u32, u32, u64), key: &[u8]| {
        let mut out = Vec::new();
        schema::put_row_key(&mut out, DbId(db), bucket, key);
        assert_eq!(schema::split_row_key(&out), Ok((DbId(db), bucket, key)));
        out
    };
    assert_eq!(
        row(left, left_key).cmp(&row(right, right_key)),
        (left.0, left.1, left_key).cmp(&(right.0, right.1, right_key)),
        "row keys do not sort by database, bucket, key"
    );
    let expires = |(db, bucket, at): (u32, u32, u64), key: &[u8]| {
        let mut out = Vec::new();
        let (db, at) = (DbId(db), ExpireAt(at));
        schema::put_element_hint_key(&mut out, db, at, bucket, key);
        let hint = schema::Hint { db, at, key, is_of_elements: true };
        assert_eq!(schema::read_hint(&out, schema::ELEMENT_HINT), Ok(hint));
        out.clear();
        schema::put_expires_key(&mut out, db, at, bucket, key);
        let hint = schema::Hint { is_of_elements: false, ..hint };
        assert_eq!(schema::read_hint(&out, b""), Ok(hint));
        out
    };
    let (a, b) = (expires(left, left_key), expires(right, right_key));
    if left.0 == right.0 && left.2 != right.2 {
        assert_eq!(a.cmp(&b), left.2.cmp(&right.2), "expiry hints do not sort by deadline");
    }
}
