//! What all workers share of scripting: the scripts' texts, the libraries, and what runs.
//!
//! Libraries are as durable as data: every change writes all of them to `functions.dump` in the data folder,
//! the payload of FUNCTION DUMP, and replaces the file in one step before the client gets its reply. They are
//! no part of the log: a library is code, belongs to no database, and no FLUSHALL takes it away.

use std::cell::{RefCell, RefMut};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::cache::ScriptCache;
use super::functions::{Libraries, Library, RestorePolicy};
use super::interpreter::Interpreter;
use super::run::Runs;
use super::{Limits, ScriptError};

/// The file of the libraries.
const FILE: &str = "functions.dump";

/// Limits of the interpreters that only load libraries.
const LOADING: Limits = Limits { memory_max: 64 << 20, busy_after: None, here_max: None };

/// See the module's documentation.
#[derive(Default)]
pub struct Scripts {
    pub runs: Arc<Runs>,
    pub cache: Mutex<ScriptCache>,
    libraries: RwLock<Arc<Libraries>>,
    /// Held while the libraries change.
    changing: Mutex<()>,
    /// Interpreters that compiled before this changed forget what they have.
    generation: AtomicU64,
    /// The data folder; empty keeps libraries in memory only.
    dir: PathBuf,
    /// Calls of commands whose keys the script had not declared.
    pub undeclared: AtomicU64,
    /// Scripts that ran for long and went on in a thread of their own.
    pub moved: AtomicU64,
}

impl Scripts {
    /// Reads the libraries of a data folder.
    ///
    /// # Errors
    /// When the file is there and cannot be read, or holds anything but libraries that load.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let scripts = Scripts { dir: dir.to_owned(), ..Scripts::default() };
        let path = dir.join(FILE);
        let payload = match fs::read(&path) {
            Ok(payload) => payload,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(scripts),
            Err(error) => return Err(format!("could not read {}: {error}", path.display())),
        };
        let failed = |error: ScriptError| {
            let text = error.text();
            format!(
                "{} holds no function libraries ({text}); move it away to start without them",
                path.display()
            )
        };
        let mut interpreter = scripts.loader().map_err(failed)?;
        let none = Libraries::default();
        let libraries = none.restored(&payload, RestorePolicy::Flush, &mut interpreter).map_err(failed)?;
        *scripts.libraries.write() = Arc::new(libraries);
        Ok(scripts)
    }

    /// The libraries as they are now.
    #[must_use]
    pub fn libraries(&self) -> Arc<Libraries> {
        Arc::clone(&self.libraries.read())
    }

    /// Changes when compiled scripts and functions are to be forgotten.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// SCRIPT FLUSH.
    pub fn flush_scripts(&self) {
        self.cache.lock().clear();
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// FUNCTION LOAD: the name of the library. Writes to disk; returns when the library is durable.
    ///
    /// # Errors
    /// The reply. Nothing changed then.
    pub fn load(&self, code: &[u8], replace: bool) -> Result<String, ScriptError> {
        let library = Library::load(code, &mut self.loader()?)?;
        let name = library.name.clone();
        self.change(|libraries| libraries.insert(Arc::new(library), replace))?;
        Ok(name)
    }

    /// FUNCTION DELETE; durable as [`Scripts::load`].
    ///
    /// # Errors
    /// The reply. Nothing changed then.
    pub fn delete(&self, name: &str) -> Result<(), ScriptError> {
        self.change(|libraries| match libraries.remove(name) {
            true => Ok(()),
            false => Err(ScriptError::new("ERR Library not found".to_owned())),
        })
    }

    /// FUNCTION FLUSH; durable as [`Scripts::load`].
    ///
    /// # Errors
    /// The reply. Nothing changed then.
    pub fn flush_libraries(&self) -> Result<(), ScriptError> {
        self.change(|libraries| {
            *libraries = Libraries::default();
            Ok(())
        })?;
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// FUNCTION RESTORE; durable as [`Scripts::load`].
    ///
    /// # Errors
    /// The reply. Nothing changed then.
    pub fn restore(&self, payload: &[u8], policy: RestorePolicy) -> Result<(), ScriptError> {
        let mut interpreter = self.loader()?;
        self.change(|libraries| {
            *libraries = libraries.restored(payload, policy, &mut interpreter)?;
            Ok(())
        })
    }

    /// An interpreter for code that is only looked at. Its state does not outlive the command.
    fn loader(&self) -> Result<Interpreter, ScriptError> {
        Interpreter::new(&self.runs, LOADING)
    }

    fn change(
        &self,
        body: impl FnOnce(&mut Libraries) -> Result<(), ScriptError>,
    ) -> Result<(), ScriptError> {
        let _alone = self.changing.lock();
        let mut changed = Libraries::clone(&self.libraries());
        body(&mut changed)?;
        self.write(&changed.dump()).map_err(|error| {
            ScriptError::new(format!("ERR could not write {}: {error}", self.dir.join(FILE).display()))
        })?;
        *self.libraries.write() = Arc::new(changed);
        Ok(())
    }

    fn write(&self, payload: &[u8]) -> io::Result<()> {
        if self.dir.as_os_str().is_empty() {
            return Ok(());
        }
        let (path, new) = (self.dir.join(FILE), self.dir.join(format!("{FILE}.new")));
        let mut file = File::create(&new)?;
        file.write_all(payload)?;
        // DURABILITY: the content before the name, the name before the reply.
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// The interpreter of one worker thread.
pub struct Slot {
    pub interpreter: Interpreter,
    /// [`Scripts::generation`] of what it compiled.
    generation: u64,
}

impl Slot {
    /// Lends a worker's interpreter; makes it for the first script.
    ///
    /// # Errors
    /// When the limits leave too little memory.
    pub fn lend<'w>(
        slot: &'w RefCell<Option<Slot>>,
        scripts: &Scripts,
        limits: Limits,
    ) -> Result<RefMut<'w, Slot>, ScriptError> {
        let mut slot = slot.borrow_mut();
        let generation = scripts.generation();
        if slot.is_none() {
            *slot = Some(Slot { interpreter: Interpreter::new(&scripts.runs, limits)?, generation });
        }
        let mut slot = RefMut::map(slot, |slot| slot.as_mut().expect("made above"));
        if slot.generation != generation {
            slot.interpreter.clear();
            slot.generation = generation;
        }
        slot.interpreter.set_limits(limits)?;
        Ok(slot)
    }
}
