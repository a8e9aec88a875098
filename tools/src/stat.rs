//! `luxctl stat`: what a data folder holds, from its files alone. Works beside a running server.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use lux_engine::env::real::SystemFiles;
use lux_engine::{Error, Identity};

/// Describes a data folder, a line per fact.
pub fn run(dir: &Path) -> Result<String, Error> {
    let identity = Identity::read(&SystemFiles, dir)?;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<16}{value}");
    };
    line("store id", format!("{:016x}", identity.store_id));
    line("openings", identity.openings.to_string());
    for (part, what) in [("wal", "log"), ("cold", "cold tier")] {
        let path = dir.join(part);
        let (files, bytes) = folder_size(&path).map_err(|error| Error::io("read", &path, error))?;
        line(what, format!("{files} files, {bytes} bytes"));
    }
    Ok(out)
}

/// Number and bytes of the files of a folder.
fn folder_size(dir: &Path) -> io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let metadata = entry?.metadata()?;
        if metadata.is_file() {
            files += 1;
            bytes += metadata.len();
        }
    }
    Ok((files, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_store_is_named() {
        let error = run(Path::new("/nowhere/at/all")).expect_err("there is nothing").to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
