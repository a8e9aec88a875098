//! The payload of FUNCTION DUMP: the code of each library behind its RDB opcode, then the footer.

use super::{DumpError, RDB_VERSION, RdbReader, RdbString, RdbWriter};

/// Opens a function library in an RDB file.
const OPCODE_LIBRARY: u8 = 245;
/// What Redis 7's release candidates wrote instead.
const OPCODE_LIBRARY_PRE_RELEASE: u8 = 246;

/// Why a payload holds no libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibrariesError {
    /// The footer is wrong.
    VersionOrChecksum,
    /// Written by a release candidate of Redis 7.
    PreRelease,
    /// It holds something else.
    NotALibrary,
    /// It ends in the middle, or a string in it is broken.
    BadData,
}

/// Packs the codes of libraries.
#[must_use]
pub fn dump_libraries<'a>(codes: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut writer = RdbWriter::empty();
    for code in codes {
        writer.raw(&[OPCODE_LIBRARY]);
        writer.string(code);
    }
    writer.finish(RDB_VERSION)
}

/// Unpacks the codes of libraries.
///
/// # Errors
/// When the payload is anything else.
pub fn load_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, LibrariesError> {
    let mut reader = RdbReader::open(payload).map_err(|_| LibrariesError::VersionOrChecksum)?;
    let bad = |_: DumpError| LibrariesError::BadData;
    let mut codes = Vec::new();
    while reader.len() > 0 {
        match reader.byte().map_err(bad)? {
            OPCODE_LIBRARY => {}
            OPCODE_LIBRARY_PRE_RELEASE => return Err(LibrariesError::PreRelease),
            _ => return Err(LibrariesError::NotALibrary),
        }
        codes.push(match reader.string().map_err(bad)? {
            RdbString::Bytes(code) => code.into_owned(),
            RdbString::Int(value) => value.to_string().into_bytes(),
        });
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_a_round_trip() {
        let long = [b"#!lua name=long\n".as_slice(), &b"-- the same line\n".repeat(100)].concat();
        let codes: [&[u8]; 3] = [b"#!lua name=a\nreturn", &long, b"12"];
        let payload = dump_libraries(codes);
        assert!(payload.len() < long.len(), "long code is compressed");
        assert_eq!(load_libraries(&payload).unwrap(), codes);
        assert_eq!(load_libraries(&dump_libraries([])).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let payload = dump_libraries([b"#!lua name=a\nreturn".as_slice()]);
        for bit in 0..payload.len() * 8 {
            let mut broken = payload.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(load_libraries(&broken), Err(LibrariesError::VersionOrChecksum), "bit {bit}");
        }
    }

    #[test]
    fn other_payloads_are_refused() {
        let mut writer = RdbWriter::empty();
        writer.raw(&[OPCODE_LIBRARY_PRE_RELEASE]);
        assert_eq!(load_libraries(&writer.finish(RDB_VERSION)), Err(LibrariesError::PreRelease));
        let mut writer = RdbWriter::empty();
        writer.raw(&[0, 1, b'x']);
        assert_eq!(load_libraries(&writer.finish(RDB_VERSION)), Err(LibrariesError::NotALibrary));
        let mut writer = RdbWriter::empty();
        writer.raw(&[OPCODE_LIBRARY, 50, b'x']);
        assert_eq!(load_libraries(&writer.finish(RDB_VERSION)), Err(LibrariesError::BadData));
    }
}
