//! The scripts that EVALSHA finds, by the SHA1 of their text.
//!
//! Those that came with EVAL are dropped oldest first beyond [`EVAL_SCRIPTS_MAX`], as in Valkey, so
//! that clients which build a new script per call do not fill the memory; SCRIPT LOAD keeps a script
//! until SCRIPT FLUSH.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::ScriptError;
use super::api::sha1_hex;
use super::shebang::{self, ScriptFlags};

/// How many scripts that only EVAL brought are kept.
pub const EVAL_SCRIPTS_MAX: usize = 500;

/// A script's text and what its first line says.
#[derive(Debug)]
pub struct Script {
    /// 40 hexadecimal digits.
    pub sha: Arc<str>,
    pub body: Box<[u8]>,
    pub flags: ScriptFlags,
    code_at: usize,
}

impl Script {
    /// Reads a script's first line.
    ///
    /// # Errors
    /// When its shebang is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, ScriptError> {
        let (flags, code) =
            shebang::parse_script(body).map_err(|text| ScriptError::new(format!("ERR {text}")))?;
        let code_at = body.len() - code.len();
        Ok(Script { sha: Arc::from(sha1_hex(body)), body: body.into(), flags, code_at })
    }

    /// The Lua code, behind the shebang but with its line feed.
    #[must_use]
    pub fn code(&self) -> &[u8] {
        &self.body[self.code_at..]
    }
}

struct Cached {
    script: Arc<Script>,
    is_loaded: bool,
}

/// See the module's documentation.
#[derive(Default)]
pub struct ScriptCache {
    scripts: HashMap<Arc<str>, Cached>,
    /// Scripts that EVAL brought, oldest first. May name some that SCRIPT LOAD kept since.
    evaluated: VecDeque<Arc<str>>,
    evaluated_count: usize,
    evicted: u64,
    bytes: usize,
}

impl ScriptCache {
    /// The script of `sha`, in any case.
    #[must_use]
    pub fn get(&self, sha: &[u8]) -> Option<Arc<Script>> {
        let sha = std::str::from_utf8(sha).ok()?;
        if let Some(cached) = self.scripts.get(sha) {
            return Some(Arc::clone(&cached.script));
        }
        self.scripts.get(sha.to_ascii_lowercase().as_str()).map(|cached| Arc::clone(&cached.script))
    }

    /// Keeps a script that compiled. `is_loaded`: SCRIPT LOAD brought it, not EVAL.
    pub fn insert(&mut self, script: &Arc<Script>, is_loaded: bool) {
        if let Some(cached) = self.scripts.get_mut(&script.sha) {
            if is_loaded && !cached.is_loaded {
                cached.is_loaded = true;
                self.evaluated_count -= 1;
                self.evaluated.retain(|sha| *sha != script.sha);
            }
            return;
        }
        if !is_loaded {
            while self.evaluated_count >= EVAL_SCRIPTS_MAX {
                self.evict_oldest();
            }
            self.evaluated.push_back(Arc::clone(&script.sha));
            self.evaluated_count += 1;
        }
        self.bytes += script.body.len();
        self.scripts.insert(Arc::clone(&script.sha), Cached { script: Arc::clone(script), is_loaded });
    }

    fn evict_oldest(&mut self) {
        let Some(sha) = self.evaluated.pop_front() else { return };
        self.evaluated_count -= 1;
        if let Some(cached) = self.scripts.remove(&sha) {
            self.bytes -= cached.script.body.len();
            self.evicted += 1;
        }
    }

    /// SCRIPT FLUSH.
    pub fn clear(&mut self) {
        let evicted = self.evicted;
        *self = ScriptCache { evicted, ..ScriptCache::default() };
    }

    /// How many scripts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// Bytes of all scripts' texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many scripts were dropped to make room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}
