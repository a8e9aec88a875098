//! Function libraries: what FUNCTION LOAD keeps and FCALL finds.
//!
//! A library is its code. Each interpreter runs the code once, at its first call of one of the
//! library's functions, so what a library keeps in local variables is per worker thread and gone
//! after a restart; Redis's documentation gives no promise for it either.

use std::collections::BTreeMap;
use std::sync::Arc;

use lux_engine::dump::{LibrariesError, dump_libraries, load_libraries};
use mlua::{MultiValue, Table, Value};

use super::ScriptError;
use super::host::{Host, Registered};
use super::interpreter::Interpreter;
use super::shebang::{self, ScriptFlags};

/// One function of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryFunction {
    pub name: String,
    pub description: Option<String>,
    pub flags: ScriptFlags,
}

/// A library that was loaded.
#[derive(Debug)]
pub struct Library {
    pub name: String,
    /// The whole code, shebang included.
    pub code: Box<[u8]>,
    code_at: usize,
    /// Sorted by name.
    pub functions: Vec<LibraryFunction>,
}

impl Library {
    /// Reads a library's shebang and runs its code to see what it registers.
    ///
    /// # Errors
    /// The reply of FUNCTION LOAD.
    pub fn load(code: &[u8], interpreter: &mut Interpreter) -> Result<Self, ScriptError> {
        let (name, body) =
            shebang::parse_library(code).map_err(|text| ScriptError::new(format!("ERR {text}")))?;
        let mut functions = interpreter.load(body)?;
        if functions.is_empty() {
            return Err(ScriptError::new("ERR No functions registered".to_owned()));
        }
        functions.sort_by(|one, other| one.name.cmp(&other.name));
        let code_at = code.len() - body.len();
        Ok(Library { name, code: code.into(), code_at, functions })
    }

    /// The Lua code, behind the shebang but with its line feed.
    #[must_use]
    pub fn code_without_shebang(&self) -> &[u8] {
        &self.code[self.code_at..]
    }
}

/// What FUNCTION RESTORE does with the libraries there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePolicy {
    Append,
    Replace,
    Flush,
}

/// All libraries, by name.
#[derive(Clone, Default)]
pub struct Libraries {
    libraries: BTreeMap<String, Arc<Library>>,
    /// The library of each function. Functions are found in any case, so they are kept in lower case.
    functions: BTreeMap<String, Arc<Library>>,
}

impl Libraries {
    /// The library of a function, and the function.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<(&Arc<Library>, &LibraryFunction)> {
        let library = self.functions.get(&name.to_ascii_lowercase())?;
        let function = library.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name))?;
        Some((library, function))
    }

    /// The library of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Library>> {
        self.libraries.get(name)
    }

    /// All libraries, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Library>> {
        self.libraries.values()
    }

    /// How many libraries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.libraries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.libraries.is_empty()
    }

    /// How many functions there are.
    #[must_use]
    pub fn functions_len(&self) -> usize {
        self.functions.len()
    }

    /// Adds a library; with `replace` in place of one of the same name.
    ///
    /// # Errors
    /// When the name, or a function's, is taken. Nothing changed then.
    pub fn insert(&mut self, library: Arc<Library>, replace: bool) -> Result<(), ScriptError> {
        let old = self.libraries.get(&library.name);
        if old.is_some() && !replace {
            return Err(ScriptError::new(format!("ERR Library '{}' already exists", library.name)));
        }
        let is_taken = |function: &&LibraryFunction| {
            let owner = self.functions.get(&function.name.to_ascii_lowercase());
            owner.is_some_and(|owner| owner.name != library.name)
        };
        if let Some(taken) = library.functions.iter().find(is_taken) {
            return Err(ScriptError::new(format!("ERR Function {} already exists", taken.name)));
        }
        self.remove(&library.name.clone());
        for function in &library.functions {
            self.functions.insert(function.name.to_ascii_lowercase(), Arc::clone(&library));
        }
        self.libraries.insert(library.name.clone(), library);
        Ok(())
    }

    /// Removes a library; false when there is none of that name.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(library) = self.libraries.remove(name) else { return false };
        for function in &library.functions {
            self.functions.remove(&function.name.to_ascii_lowercase());
        }
        true
    }

    /// The payload of FUNCTION DUMP.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        dump_libraries(self.iter().map(|library| &*library.code))
    }

    /// The libraries after FUNCTION RESTORE; these stay as they are.
    ///
    /// # Errors
    /// When the payload or a library in it is wrong, or a name is taken.
    pub fn restored(
        &self,
        payload: &[u8],
        policy: RestorePolicy,
        interpreter: &mut Interpreter,
    ) -> Result<Self, ScriptError> {
        let codes = load_libraries(payload).map_err(restore_error)?;
        let mut loaded = Libraries::default();
        for code in codes {
            let library = Library::load(&code, interpreter)?;
            loaded.insert(Arc::new(library), false)?;
        }
        if policy == RestorePolicy::Flush {
            return Ok(loaded);
        }
        let mut joined = self.clone();
        let is_replace = policy == RestorePolicy::Replace;
        if let Some(taken) = loaded.iter().find(|library| !is_replace && self.get(&library.name).is_some()) {
            return Err(ScriptError::new(format!("ERR Library {} already exists", taken.name)));
        }
        // A function may move from one replaced library to another: all old ones go first.
        for library in loaded.iter() {
            joined.remove(&library.name);
        }
        for library in loaded.libraries.into_values() {
            joined.insert(library, false)?;
        }
        Ok(joined)
    }
}

fn restore_error(error: LibrariesError) -> ScriptError {
    let text = match error {
        LibrariesError::VersionOrChecksum => "ERR DUMP payload version or checksum are wrong",
        LibrariesError::PreRelease => "ERR Pre-GA function format not supported",
        LibrariesError::NotALibrary => "ERR given type is not a function",
        LibrariesError::BadData => "ERR failed loading the given functions payload",
    };
    ScriptError::new(text.to_owned())
}

/// `redis.register_function(name, callback)` or `redis.register_function{...}`
pub(super) fn register(host: &Host, values: &MultiValue) -> Result<(), String> {
    if host.registered.borrow().is_none() {
        return Err("server.register_function can only be called on FUNCTION LOAD command".to_owned());
    }
    let registered = match (values.len(), values.front(), values.get(1)) {
        (1, Some(Value::Table(named)), _) => named_arguments(named)?,
        (1, ..) => {
            return Err(
                "calling server.register_function with a single argument is only applicable to Lua table \
                        (representing named arguments)."
                    .to_owned(),
            );
        }
        (2, Some(name), Some(callback)) => positional_arguments(name, callback)?,
        _ => return Err("wrong number of arguments to server.register_function".to_owned()),
    };
    if !shebang::is_valid_name(&registered.name) {
        return Err(
            "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                    character long"
                .to_owned(),
        );
    }
    let mut all = host.registered.borrow_mut();
    let all = all.get_or_insert_default();
    if all.iter().any(|other| other.name.eq_ignore_ascii_case(&registered.name)) {
        return Err("Function already exists in the library".to_owned());
    }
    all.push(registered);
    Ok(())
}

fn string(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string_lossy()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn positional_arguments(name: &Value, callback: &Value) -> Result<Registered, String> {
    let name = string(name).ok_or("first argument to server.register_function must be a string")?;
    let Value::Function(callback) = callback else {
        return Err("second argument to server.register_function must be a function".to_owned());
    };
    let callback = callback.clone();
    Ok(Registered { name, description: None, flags: ScriptFlags::default(), callback })
}

fn named_arguments(named: &Table) -> Result<Registered, String> {
    let (mut name, mut description, mut flags, mut callback) = (None, None, ScriptFlags::default(), None);
    for pair in named.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| error.to_string())?;
        let key =
            string(&key).ok_or("named argument key given to server.register_function is not a string")?;
        match (key.to_ascii_lowercase().as_str(), value) {
            ("function_name", value) => {
                let value = string(&value);
                name = Some(
                    value
                        .ok_or("function_name argument given to server.register_function must be a string")?,
                );
            }
            ("description", value) => {
                let value = string(&value);
                description = Some(
                    value.ok_or("description argument given to server.register_function must be a string")?,
                );
            }
            ("callback", Value::Function(function)) => callback = Some(function),
            ("callback", _) => {
                return Err(
                    "callback argument given to server.register_function must be a function".to_owned()
                );
            }
            ("flags", Value::Table(list)) => flags = flags_of(&list)?,
            ("flags", _) => {
                return Err(
                    "flags argument to server.register_function must be a table representing function flags"
                        .to_owned(),
                );
            }
            _ => return Err("unknown argument given to server.register_function".to_owned()),
        }
    }
    let name = name.ok_or("server.register_function must get a function name argument")?;
    let callback = callback.ok_or("server.register_function must get a callback argument")?;
    Ok(Registered { name, description, flags, callback })
}

fn flags_of(list: &Table) -> Result<ScriptFlags, String> {
    let mut flags = ScriptFlags::default();
    for value in list.sequence_values::<Value>() {
        let value = value.map_err(|error| error.to_string())?;
        let flag = string(&value).and_then(|name| ScriptFlags::named(&name.to_ascii_lowercase()));
        flags = flags.with(flag.ok_or("unknown flag given")?);
    }
    Ok(flags)
}
