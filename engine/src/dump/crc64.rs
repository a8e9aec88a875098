//! The CRC-64 that guards RDB payloads: Jones' polynomial, reflected, starting at 0.

/// The polynomial with its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// `TABLES[k][b]` is the checksum of byte `b` followed by `k` zero bytes.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut entry = 0;
    while entry < 7 * 256 {
        let shorter = tables[entry / 256][entry % 256];
        tables[entry / 256 + 1][entry % 256] = tables[0][(shorter & 0xff) as usize] ^ shorter >> 8;
        entry += 1;
    }
    tables
}

/// Continues the checksum `crc` (0 at the start) over `bytes`.
#[must_use]
pub fn crc64(mut crc: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
        crc = mixed.iter().zip(TABLES.iter().rev()).fold(0, |sum, (byte, table)| sum ^ table[*byte as usize]);
    }
    rest.iter().fold(crc, |crc, byte| TABLES[0][((crc ^ u64::from(*byte)) & 0xff) as usize] ^ crc >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_value_of_the_algorithm() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(0, b""), 0);
    }

    #[test]
    fn tables_after_the_first_are_only_faster() {
        for (byte, expected) in TABLES[0].iter().enumerate() {
            assert_eq!(crc64(0, &[byte as u8]), *expected);
        }
    }

    proptest! {
        #[test]
        fn checksums_continue(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            let bytewise = bytes.iter().fold(0, |crc, byte| crc64(crc, &[*byte]));
            prop_assert_eq!(crc64(crc64(0, a), b), bytewise);
            prop_assert_eq!(crc64(0, &bytes), bytewise);
        }
    }
}
