//! Cached scripts, shebangs and function libraries.

use std::sync::Arc;

use super::super::*;
use super::fake::Fixture;
use crate::connection::output::Output;

fn script(body: &str) -> Arc<Script> {
    Arc::new(Script::parse(body.as_bytes()).unwrap())
}

#[test]
fn eval_scripts_are_dropped_oldest_first_and_loaded_ones_stay() {
    let mut cache = ScriptCache::default();
    cache.insert(&script("return 'loaded'"), true);
    cache.insert(&script("return 'promoted'"), false);
    cache.insert(&script("return 'promoted'"), true);
    for number in 0..EVAL_SCRIPTS_MAX + 10 {
        cache.insert(&script(&format!("return {number}")), false);
    }
    assert_eq!(cache.len(), EVAL_SCRIPTS_MAX + 2);
    assert_eq!(cache.evicted(), 10);
    let sha = |body: &str| sha1_hex(body.as_bytes());
    assert!(cache.get(sha("return 9").as_bytes()).is_none());
    assert!(cache.get(sha("return 10").as_bytes()).is_some());
    assert!(cache.get(sha("return 'loaded'").to_ascii_uppercase().as_bytes()).is_some());
    assert!(cache.get(sha("return 'promoted'").as_bytes()).is_some());
    assert!(cache.get(b"nonsense \xff").is_none());
    cache.clear();
    assert_eq!((cache.len(), cache.bytes(), cache.evicted()), (0, 0, 10));
}

#[test]
fn shebangs_are_checked() {
    for (body, text) in [
        ("#!lua", "ERR Invalid script shebang"),
        ("#!\nreturn 1", "ERR Unexpected engine in script shebang: #!"),
        ("#!not-lua\nreturn 1", "ERR Unexpected engine in script shebang: #!not-lua"),
        ("#!lua badger=data\nreturn 1", "ERR Unknown lua shebang option: badger=data"),
        ("#!lua flags=allow-oom,what?\nreturn 1", "ERR Unexpected flag in script shebang: what?"),
        ("#!lua flags=\"unclosed\nreturn 1", "ERR Invalid engine in script shebang"),
    ] {
        assert_eq!(Script::parse(body.as_bytes()).unwrap_err().text(), text, "{body}");
    }
    let parsed = script("#!lua flags=no-writes,allow-stale\nreturn 1");
    assert_eq!(parsed.flags.names().collect::<Vec<_>>(), ["no-writes", "allow-stale"]);
    assert_eq!(parsed.code(), b"\nreturn 1");
    assert!(script("return 1").flags.has(shebang::ScriptFlags::COMPATIBLE));
    let mut fixture = Fixture::new();
    assert!(
        fixture.eval("#!lua\nerror('x')").contains("user_script:2: x"),
        "lines are counted with the shebang"
    );
}

const MATH: &str = "#!lua name=math\n\
    local calls = 0\n\
    redis.register_function('double', function(keys, args) return args[1] * 2 end)\n\
    redis.register_function{function_name='count', callback=function(keys) calls = calls + 1 return {calls, keys[1]} end,\n\
    description='counts', flags={'no-writes', 'ALLOW-OOM'}}\n";

struct Loaded {
    fixture: Fixture,
    libraries: Libraries,
}

impl Loaded {
    fn new() -> Self {
        Loaded { fixture: Fixture::new(), libraries: Libraries::default() }
    }

    fn load(&mut self, code: &str, replace: bool) -> Result<(), ScriptError> {
        let library = Library::load(code.as_bytes(), &mut self.fixture.interpreter)?;
        self.libraries.insert(Arc::new(library), replace)
    }

    fn call(&mut self, name: &str, keys: &[&[u8]], args: &[&[u8]]) -> String {
        let Some((library, _)) = self.libraries.function(name) else { return "no function".to_owned() };
        let library = Arc::clone(library);
        let mut output = Output::default();
        let invocation = Invocation { keys, args };
        let fixture = &mut self.fixture;
        match fixture.interpreter.call(&library, name, invocation, &mut fixture.caller, &mut output) {
            Ok(()) => String::from_utf8_lossy(output.bytes()).trim_end().replace("\r\n", " "),
            Err(error) => format!("-{}", error.text()),
        }
    }
}

#[test]
fn functions_are_called() {
    let mut loaded = Loaded::new();
    loaded.load(MATH, false).unwrap();
    assert_eq!(loaded.call("double", &[], &[b"21"]), ":42");
    assert_eq!(loaded.call("count", &[b"k"], &[]), "*2 :1 $1 k");
    assert_eq!(loaded.call("count", &[b"k"], &[]), "*2 :2 $1 k");
    let (_, function) = loaded.libraries.function("count").unwrap();
    assert_eq!(function.flags.names().collect::<Vec<_>>(), ["no-writes", "allow-oom"]);
    assert_eq!(function.description.as_deref(), Some("counts"));
    assert_eq!((loaded.libraries.len(), loaded.libraries.functions_len()), (1, 2));
    loaded
        .load("#!lua name=bad\nserver.register_function('bad', function()\n error('oops') end)", false)
        .unwrap();
    assert_eq!(loaded.call("bad", &[], &[]), "-ERR user_function:3: oops script: bad, on @user_function:3.");
    loaded
        .load(
            "#!lua name=api\nredis.register_function('ping', function() return redis.call('ping') end)",
            false,
        )
        .unwrap();
    assert_eq!(loaded.call("ping", &[], &[]), "+PONG");
    assert!(loaded.libraries.remove("api"));
    assert!(!loaded.libraries.remove("api"));
    assert_eq!(loaded.call("ping", &[], &[]), "no function");
}

#[test]
fn a_replaced_library_is_loaded_anew() {
    let mut loaded = Loaded::new();
    loaded.load("#!lua name=l\nredis.register_function('f', function() return 1 end)", false).unwrap();
    assert_eq!(loaded.call("f", &[], &[]), ":1");
    loaded.load("#!lua name=l\nredis.register_function('f', function() return 2 end)", true).unwrap();
    assert_eq!(loaded.call("f", &[], &[]), ":2");
}

#[test]
fn bad_libraries_change_nothing() {
    let mut loaded = Loaded::new();
    loaded.load(MATH, false).unwrap();
    let register = "redis.register_function('f', function() end)";
    for (code, text) in [
        ("return 1".to_owned(), "Missing library metadata"),
        ("#!lua name=x".to_owned(), "Invalid library metadata"),
        (format!("#!lua\n{register}"), "Library name was not given"),
        (
            format!("#!lua name=a name=b\n{register}"),
            "Invalid metadata value, name argument was given multiple times",
        ),
        (format!("#!lua name=a foo=b\n{register}"), "Invalid metadata value given: foo=b"),
        (
            format!("#!lua name=a-b\n{register}"),
            "Library names can only contain letters, numbers, or underscores(_)",
        ),
        (format!("#!js name=a\n{register}"), "Engine 'js' not found"),
        (format!("#!lua name=math\n{register}"), "Library 'math' already exists"),
        ("#!lua name=a\n".to_owned(), "No functions registered"),
        ("#!lua name=a\nreturn +".to_owned(), "Error compiling function: user_function:2: "),
        (
            "#!lua name=a\nredis.register_function('double', function() end)".to_owned(),
            "Function double already exists",
        ),
        (
            "#!lua name=a\nredis.register_function('f')".to_owned(),
            "calling server.register_function with a single argument",
        ),
        (
            "#!lua name=a\nredis.register_function()".to_owned(),
            "wrong number of arguments to server.register_function",
        ),
        (
            "#!lua name=a\nredis.register_function('f', 1)".to_owned(),
            "second argument to server.register_function must be a function",
        ),
        (
            "#!lua name=a\nredis.register_function{function_name='f'}".to_owned(),
            "server.register_function must get a callback argument",
        ),
        (
            "#!lua name=a\nredis.register_function{function_name='f', callback=1}".to_owned(),
            "callback argument given to",
        ),
        (
            "#!lua name=a\nredis.register_function{function_name='f', callback=function() end, flags={'x'}}"
                .to_owned(),
            "unknown flag given",
        ),
        (
            "#!lua name=a\nredis.register_function{foo=1}".to_owned(),
            "unknown argument given to server.register_function",
        ),
        (
            "#!lua name=a\nredis.call('ping')".to_owned(),
            "attempted to access nonexistent global variable 'call'",
        ),
        (
            "#!lua name=a\nreturn string.rep('x', 2)".to_owned(),
            "attempted to access nonexistent global variable 'string'",
        ),
        ("#!lua name=a\na = 1".to_owned(), "Attempt to modify a readonly table"),
        ("#!lua name=a\nwhile true do end".to_owned(), "FUNCTION LOAD timeout"),
    ] {
        let error = loaded.load(&code, false).expect_err(&code);
        assert!(error.text().contains(text), "{code}: {error:?}");
        assert_eq!((loaded.libraries.len(), loaded.libraries.functions_len()), (1, 2));
    }
    assert_eq!(loaded.call("double", &[], &[b"1"]), ":2");
    let mut inside = Fixture::new();
    assert!(inside.eval("redis.register_function('f', function() end)").starts_with("-ERR"));
}

#[test]
fn libraries_survive_dump_and_restore() {
    let mut loaded = Loaded::new();
    loaded.load(MATH, false).unwrap();
    let payload = loaded.libraries.dump();
    let interpreter = &mut loaded.fixture.interpreter;
    let empty = Libraries::default();
    let restored = empty.restored(&payload, RestorePolicy::Append, interpreter).unwrap();
    assert_eq!(restored.get("math").unwrap().code, loaded.libraries.get("math").unwrap().code);
    let error = restored.restored(&payload, RestorePolicy::Append, interpreter).err().unwrap();
    assert_eq!(error.text(), "ERR Library math already exists");
    assert_eq!(restored.restored(&payload, RestorePolicy::Replace, interpreter).ok().unwrap().len(), 1);
    let other = "#!lua name=other\nredis.register_function('o', function() end)";
    let mut with_other = restored.clone();
    with_other.insert(Arc::new(Library::load(other.as_bytes(), interpreter).unwrap()), false).unwrap();
    assert_eq!(with_other.restored(&payload, RestorePolicy::Replace, interpreter).ok().unwrap().len(), 2);
    assert_eq!(with_other.restored(&payload, RestorePolicy::Flush, interpreter).ok().unwrap().len(), 1);
    let error = empty.restored(b"nonsense", RestorePolicy::Flush, interpreter).err().unwrap();
    assert_eq!(error.text(), "ERR DUMP payload version or checksum are wrong");
}
