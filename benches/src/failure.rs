//! The harness's one error: a sentence for the person who reads the terminal.

use std::fmt;

/// Why a run was given up.
#[derive(Debug)]
pub struct Failure(String);

/// Result of everything in the harness.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Makes a failure out of a sentence.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self(std::io::Error::from(error).to_string())
    }
}
