//! One Lua state: compiles scripts and libraries and runs them against a [`Caller`].

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlua::{Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};

use super::api;
use super::cache::Script;
use super::functions::{Library, LibraryFunction};
use super::host::{Host, Registered, Stop};
use super::native;
use super::reply::Fields;
use super::run::{Kind, Runs};
use super::{Caller, Cause, Limits, ScriptError};
use crate::dispatch::reply::ReplySink;

/// How many instructions pass between two looks at whether the script shall end: about 1 ms.
const INSTRUCTIONS_BETWEEN_CHECKS: u32 = 100_000;

/// How many compiled EVAL scripts are kept; beyond that all are dropped and compiled again.
const COMPILED_MAX: usize = 1000;

/// How long a library may load.
const LOAD_TIME_MAX: Duration = Duration::from_millis(500);

/// The keys and arguments of one invocation.
#[derive(Clone, Copy, Default)]
pub struct Invocation<'a> {
    pub keys: &'a [&'a [u8]],
    pub args: &'a [&'a [u8]],
}

/// An interpreter. Belongs to the thread that made it.
pub struct Interpreter {
    lua: Lua,
    host: Rc<Host>,
    runs: Arc<Runs>,
    fields: Fields,
    entry: Entry,
    /// By SHA1.
    compiled: HashMap<Arc<str>, Function>,
    /// By name, with the library they came from.
    functions: HashMap<String, (Arc<Library>, Function)>,
}

/// What the prelude returns.
struct Entry {
    eval_globals: Table,
    compile_eval: Function,
    compile_library: Function,
    eval: Function,
    call: Function,
    load_library: Function,
    sweep: Function,
    reset_json: Function,
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        self.runs.forget(&self.host.run);
    }
}

impl Interpreter {
    /// Starts an interpreter whose scripts are visible in `runs`.
    ///
    /// # Errors
    /// When `limits` leave too little memory for the libraries.
    pub fn new(runs: &Arc<Runs>, limits: Limits) -> Result<Self, ScriptError> {
        let host = Rc::new(Host::new(runs.register(), limits.memory_max));
        host.busy_after.set(limits.busy_after);
        match Self::build(runs, &host) {
            Ok(interpreter) => {
                interpreter.set_limits(limits)?;
                Ok(interpreter)
            }
            Err(error) => {
                runs.forget(&host.run);
                Err(internal(&error))
            }
        }
    }

    fn build(runs: &Arc<Runs>, host: &Rc<Host>) -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        let h = Rc::clone(host);
        let triggers = HookTriggers::new().every_nth_instruction(INSTRUCTIONS_BETWEEN_CHECKS);
        lua.set_global_hook(triggers, move |lua, _| {
            if h.wants_stop() {
                let mut at = h.stopped_at.borrow_mut();
                if at.is_none() {
                    *at = native::place(lua);
                }
                return Err(mlua::Error::runtime("script killed"));
            }
            Ok(VmState::Continue)
        })?;
        let natives = api::natives(&lua, host)?;
        let reset_json = natives.raw_get::<Table>("cjson")?.raw_get("reset")?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude");
        let entry: Table = prelude.call((natives, api::constants(&lua)?))?;
        let entry = Entry {
            eval_globals: entry.raw_get("eval_globals")?,
            compile_eval: entry.raw_get("compile_eval")?,
            compile_library: entry.raw_get("compile_library")?,
            eval: entry.raw_get("eval")?,
            call: entry.raw_get("call")?,
            load_library: entry.raw_get("load_library")?,
            sweep: entry.raw_get("sweep")?,
            reset_json,
        };
        let fields = Fields::new(&lua)?;
        Ok(Interpreter {
            lua,
            host: Rc::clone(host),
            runs: Arc::clone(runs),
            fields,
            entry,
            compiled: HashMap::new(),
            functions: HashMap::new(),
        })
    }

    /// Changes the limits for the next scripts.
    ///
    /// # Errors
    /// None that callers can cause.
    pub fn set_limits(&self, limits: Limits) -> Result<(), ScriptError> {
        self.host.busy_after.set(limits.busy_after);
        self.host.here_max.set(limits.here_max);
        self.host.memory_max.set(limits.memory_max);
        self.lua.set_memory_limit(limits.memory_max).map_err(|error| internal(&error))?;
        Ok(())
    }

    /// Bytes the interpreter holds.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.lua.used_memory()
    }

    /// Forgets all compiled scripts and functions (SCRIPT FLUSH, FUNCTION FLUSH).
    pub fn clear(&mut self) {
        self.compiled.clear();
        self.functions.clear();
        self.collect();
    }

    /// Whether `script` compiles (SCRIPT LOAD).
    ///
    /// # Errors
    /// The reply when it does not.
    pub fn compile(&mut self, script: &Script) -> Result<(), ScriptError> {
        self.compiled_script(script).map(|_| ())
    }

    fn compiled_script(&mut self, script: &Script) -> Result<Function, ScriptError> {
        if let Some(function) = self.compiled.get(&script.sha) {
            return Ok(function.clone());
        }
        let code = script.code();
        let result = self.lua.create_string(code).and_then(|code| self.entry.compile_eval.call(code));
        match result {
            Ok((true, Value::Function(function))) => {
                if self.compiled.len() >= COMPILED_MAX {
                    self.compiled.clear();
                }
                self.compiled.insert(Arc::clone(&script.sha), function.clone());
                Ok(function)
            }
            Ok((_, message)) => {
                let message = string_of(&message);
                Err(ScriptError::new(format!("ERR Error compiling script (new function): {message}")))
            }
            Err(error) => Err(self.recovered(&error)),
        }
    }

    /// Runs an EVAL script and writes its reply into `sink`.
    ///
    /// # Errors
    /// The script's error; nothing was written into `sink` then. See [`ScriptError::cause`].
    pub fn eval(
        &mut self,
        script: &Script,
        invocation: Invocation<'_>,
        caller: &mut dyn Caller,
        sink: &mut dyn ReplySink,
    ) -> Result<(), ScriptError> {
        let function = self.compiled_script(script)?;
        let name = Arc::clone(&script.sha);
        self.run(Kind::Eval, name, caller, sink, |this| {
            let globals = &this.entry.eval_globals;
            globals.raw_set("KEYS", this.strings(invocation.keys)?)?;
            globals.raw_set("ARGV", this.strings(invocation.args)?)?;
            this.entry.eval.call(function)
        })
    }

    /// Runs a function of a library and writes its reply into `sink`.
    ///
    /// # Errors
    /// As for [`Interpreter::eval`].
    pub fn call(
        &mut self,
        library: &Arc<Library>,
        name: &str,
        invocation: Invocation<'_>,
        caller: &mut dyn Caller,
        sink: &mut dyn ReplySink,
    ) -> Result<(), ScriptError> {
        let function = self.loaded_function(library, name)?;
        self.run(Kind::Function, Arc::from(name), caller, sink, |this| {
            let (keys, args) = (this.strings(invocation.keys)?, this.strings(invocation.args)?);
            this.entry.call.call((function, keys, args))
        })
    }

    /// The function in this interpreter. Its library is loaded here at the first call.
    fn loaded_function(&mut self, library: &Arc<Library>, name: &str) -> Result<Function, ScriptError> {
        if let Some((from, function)) = self.functions.get(name)
            && Arc::ptr_eq(from, library)
        {
            return Ok(function.clone());
        }
        // What an older version of the library registered goes with it.
        self.functions.retain(|_, (from, _)| from.name != library.name);
        for (registered, function) in self.load_code(library.code_without_shebang())? {
            self.functions.insert(registered.name, (Arc::clone(library), function));
        }
        let function = self.functions.get(name).map(|(_, function)| function.clone());
        function.ok_or_else(|| ScriptError::new("ERR Function not found".to_owned()))
    }

    /// Runs a library's code to see which functions it registers.
    ///
    /// # Errors
    /// The reply of FUNCTION LOAD.
    pub fn load(&mut self, code: &[u8]) -> Result<Vec<LibraryFunction>, ScriptError> {
        Ok(self.load_code(code)?.into_iter().map(|(registered, _)| registered).collect())
    }

    fn load_code(&mut self, code: &[u8]) -> Result<Vec<(LibraryFunction, Function)>, ScriptError> {
        let compiled = self.lua.create_string(code).and_then(|code| self.entry.compile_library.call(code));
        let body = match compiled {
            Ok((true, Value::Function(body))) => body,
            Ok((_, message)) => {
                return Err(ScriptError::new(format!(
                    "ERR Error compiling function: {}",
                    string_of(&message)
                )));
            }
            Err(error) => return Err(self.recovered(&error)),
        };
        self.host.reset();
        self.host.load_deadline.set(Some(Instant::now() + LOAD_TIME_MAX));
        *self.host.registered.borrow_mut() = Some(Vec::new());
        let result: mlua::Result<(bool, Value)> = self.entry.load_library.call(body);
        self.host.load_deadline.set(None);
        let registered = self.host.registered.borrow_mut().take().unwrap_or_default();
        self.tidy();
        let stop = self.host.stop();
        let message = match (stop, result) {
            (Some(stop), _) => api::stop_text(stop, false).to_owned(),
            (None, Ok((true, _))) => {
                let entry = |one: Registered| {
                    let function =
                        LibraryFunction { name: one.name, description: one.description, flags: one.flags };
                    (function, one.callback)
                };
                return Ok(registered.into_iter().map(entry).collect());
            }
            (None, Ok((false, Value::Table(table)))) => error_field(&table),
            (None, Ok((false, other))) => format!("ERR {}", string_of(&other)),
            (None, Err(error)) => return Err(self.recovered(&error)),
        };
        Err(ScriptError::new(format!("ERR Error registering functions: {message}")))
    }

    fn strings(&self, values: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(values.len(), 0)?;
        for (index, value) in values.iter().enumerate() {
            table.raw_set(index + 1, self.lua.create_string(value)?)?;
        }
        Ok(table)
    }

    fn run(
        &mut self,
        kind: Kind,
        name: Arc<str>,
        caller: &mut dyn Caller,
        sink: &mut dyn ReplySink,
        body: impl FnOnce(&Self) -> mlua::Result<(bool, Value)>,
    ) -> Result<(), ScriptError> {
        let host = Rc::clone(&self.host);
        host.reset();
        *host.current.borrow_mut() = Some((kind, Arc::clone(&name)));
        host.run.begin();
        let result = host.with_caller(caller, || body(self));
        host.run.end(self.lua.used_memory());
        *host.current.borrow_mut() = None;
        let mark = sink.mark();
        let result = match (host.stop(), result) {
            (Some(stop), _) => {
                let text = api::stop_text(stop, kind == Kind::Eval).to_owned();
                let place = host.stopped_at.borrow_mut().take();
                let text =
                    place.map_or(text.clone(), |(source, line)| with_place(&text, &name, &source, line));
                Err(ScriptError { text, cause: cause_of(stop) })
            }
            (None, Ok((true, value))) => {
                self.fields.write(&value, host.is_resp3.get(), sink).map_err(|error| self.recovered(&error))
            }
            (None, Ok((false, Value::Table(table)))) => Err(ScriptError::new(uncaught(&table, &name))),
            (None, Ok((false, other))) => {
                Err(ScriptError::new(format!("ERR Error running script {name}, {}", string_of(&other))))
            }
            (None, Err(error)) => Err(self.recovered(&error)),
        };
        if result.is_err() {
            sink.rewind(mark);
        }
        self.tidy();
        result
    }

    /// Takes back what a script may have left behind for the next.
    fn tidy(&self) {
        let globals = &self.entry.eval_globals;
        let cleared = globals.raw_set("KEYS", Value::Nil).and_then(|()| globals.raw_set("ARGV", Value::Nil));
        let swept = cleared.and_then(|()| self.entry.sweep.call::<()>(()));
        let reset = swept.and_then(|()| self.entry.reset_json.call::<()>(()));
        if reset.is_err() || self.lua.used_memory() > self.host.memory_max.get() / 2 {
            self.collect();
        }
    }

    fn collect(&self) {
        if let Err(error) = self.lua.gc_collect() {
            tracing::warn!("the Lua collector failed: {error}");
        }
    }

    /// An error from outside the script's own code; usually no memory, so garbage is collected.
    fn recovered(&self, error: &mlua::Error) -> ScriptError {
        self.collect();
        internal(error)
    }
}

fn cause_of(stop: Stop) -> Cause {
    match stop {
        Stop::Killed | Stop::LoadTimeout => Cause::Killed,
        Stop::Interrupted => Cause::Interrupted,
        Stop::TooLong => Cause::TooLong,
    }
}

fn internal(error: &mlua::Error) -> ScriptError {
    match error {
        mlua::Error::MemoryError(_) => ScriptError::new("ERR not enough memory".to_owned()),
        error => {
            let text = error.to_string();
            ScriptError::new(format!("ERR Error running script: {}", text.lines().next().unwrap_or_default()))
        }
    }
}

fn string_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string_lossy(),
        Value::Error(error) => match &**error {
            mlua::Error::MemoryError(_) => "not enough memory".to_owned(),
            error => error.to_string().lines().next().unwrap_or_default().to_owned(),
        },
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        _ => "execution failure".to_owned(),
    }
}

fn error_field(table: &Table) -> String {
    match table.raw_get("err") {
        Ok(Value::String(text)) => text.to_string_lossy(),
        _ => "ERR unknown error".to_owned(),
    }
}

fn with_place(text: &str, name: &str, source: &str, line: usize) -> String {
    format!("{text} script: {name}, on {source}:{line}.")
}

/// The reply of an error nobody caught.
fn uncaught(table: &Table, name: &str) -> String {
    let text = error_field(table);
    let text = text.strip_prefix('-').unwrap_or(&text);
    match (table.raw_get("source"), table.raw_get("line")) {
        (Ok(Value::String(source)), Ok(Value::Integer(line))) => {
            with_place(text, name, &source.to_string_lossy(), usize::try_from(line).unwrap_or(0))
        }
        _ => text.to_owned(),
    }
}
