//! Scripts that try not to end, or to take the process with them.

use std::sync::Arc;

use super::super::*;
use super::fake::{Fixture, LIMITS, eval};

/// Runs a script that ends only by being killed, which its own slowness triggers.
fn killed(code: &str) -> ScriptError {
    let mut fixture = Fixture::new();
    let runs = Arc::clone(&fixture.runs);
    fixture.caller.on_slow = Some(Box::new(move || runs.kill(Kind::Eval).unwrap()));
    let error = fixture.run(code, &[], &[]).expect_err(code);
    assert!(!fixture.runs.is_busy(), "{code}");
    assert_eq!(fixture.runs.running(), None);
    assert_eq!(fixture.eval("return 1"), ":1", "the interpreter goes on after {code}");
    error
}

#[test]
fn endless_scripts_can_be_killed() {
    for code in [
        "while true do end",
        "repeat until false",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(pcall, function() while true do end end) end",
        "local function again() return again() end again()",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "coroutine.wrap(function() while true do end end)()",
        "while true do local f = coroutine.wrap(function() coroutine.yield() end) f() end",
        "string.find(string.rep('a', 10000), string.rep('.-', 30) .. 'b')",
        "string.gsub(string.rep('a', 10000), string.rep('.-', 30) .. 'b', '')",
        "for _ in string.gmatch(string.rep('a', 10000), string.rep('.-', 30) .. 'b') do end",
        "while true do pcall(string.find, string.rep('a', 10000), string.rep('.-', 30) .. 'b') end",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "string.gsub('x', 'x', function() while true do end end)",
        "setmetatable({}, {__index = function() while true do end end}).x = setmetatable({}, {__index = function() while true do end end}).y",
        "while true do pcall(redis.call, 'echo', 'x') end",
    ] {
        let error = killed(code);
        assert_eq!(error.cause(), Cause::Killed, "{code}: {error:?}");
        assert!(error.text().starts_with("ERR Script killed by user with SCRIPT KILL."), "{error:?}");
    }
}

#[test]
fn a_killed_script_says_where() {
    let code = "local x = 1\nwhile true do x = x + 1 end";
    let text = killed(code).text().to_owned();
    assert!(text.ends_with(&format!(" script: {}, on @user_script:2.", sha1_hex(code.as_bytes()))), "{text}");
}

#[test]
fn a_script_that_wrote_is_not_killed() {
    let mut fixture = Fixture::new();
    let runs = Arc::clone(&fixture.runs);
    fixture.caller.on_slow = Some(Box::new(move || {
        assert!(runs.is_busy());
        assert_eq!(runs.busy_kind(), Some(Kind::Eval));
        assert_eq!(runs.kill(Kind::Eval), Err(KillError::HasWritten));
        assert_eq!(runs.kill(Kind::Function), Err(KillError::OtherKind));
        let running = runs.running().unwrap();
        assert_eq!((running.kind, running.command[0].as_slice()), (Kind::Eval, &b"EVAL"[..]));
    }));
    let code = "redis.call('write') local n = 0 while n < 3e7 do n = n + 1 end return n";
    assert_eq!(fixture.eval(code), ":30000000");
    assert!(fixture.caller.slow > 0);
    assert_eq!(fixture.runs.kill(Kind::Eval), Err(KillError::NotBusy));
}

/// A kill and a first write race: whoever comes second must lose.
#[test]
fn a_killed_script_cannot_write() {
    let mut fixture = Fixture::new();
    let runs = Arc::clone(&fixture.runs);
    fixture.caller.on_slow = Some(Box::new(move || runs.kill(Kind::Eval).unwrap()));
    let error = fixture.run("while true do end redis.call('write')", &[], &[]).unwrap_err();
    assert_eq!(error.cause(), Cause::Killed);
    assert!(fixture.caller.calls.is_empty());
}

#[test]
fn memory_is_bounded() {
    let mut fixture = Fixture::new();
    for code in [
        "local t = {} while true do t[#t + 1] = string.rep('x', 1000) end",
        "local s = 'x' while true do s = s .. s end",
        "return string.rep('x', 1e15)",
        "return string.rep('x', 2^53)",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "return ('x'):rep(1e8)",
        "local f = function(...) return ... end local t = {} for i = 1, 1e8 do t[i] = {} end",
        "local t = {string.rep('x', 2^24)} for i = 2, 100 do t[i] = t[1] end return cjson.encode(t)",
        "local t = {string.rep('x', 2^24)} for i = 2, 100 do t[i] = t[1] end return cmsgpack.pack(t)",
        "local t = {string.rep('x', 2^24)} for i = 2, 100 do t[i] = t[1] end return table.concat(t)",
        "return string.gsub(string.rep('x', 2^20), 'x', string.rep('y', 2^20))",
        "local c = {} while true do c[#c + 1] = coroutine.create(function() end) end",
    ] {
        let reply = fixture.eval(code);
        assert!(reply.contains("not enough memory") || reply.contains("memory"), "{code}: {reply}");
        assert!(fixture.interpreter.memory_used() <= LIMITS.memory_max);
        assert_eq!(fixture.eval("return 1"), ":1", "the interpreter goes on after {code}");
    }
    let caught = "local ok, e = pcall(function() return ('x'):rep(1e15) end) return {tostring(ok), e}";
    assert!(fixture.eval(caught).contains("not enough memory"));
}

#[test]
fn recursion_is_bounded() {
    for code in [
        "local function f() return 1 + f() end return f()",
        "local function f() f() end pcall(f) error('x')",
        "local t = {} t.t = t return cjson.encode(t)",
        "return cjson.decode(string.rep('[', 1e6))",
        "return cmsgpack.unpack(string.rep(string.char(0x91), 1e6))",
        "return loadstring(string.rep('(', 1e5))()",
        "return string.find(string.rep('a', 1e6), string.rep('a?', 1e6))",
        "local function f(s) return string.gsub(s, '.', f) end return f('x')",
        "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x",
        "return select('#', unpack({}, 1, 1e7))",
        "local c = function(f) return coroutine.wrap(f)(f) end return c(c)",
        // Each coroutine as deep in C as it gets, then the next.
        "local function c(n) if n > 0 then local ok, e = pcall(c, n - 1) if not ok then error(e, 0) end \
         else coroutine.wrap(c)(180) end end coroutine.wrap(c)(180)",
    ] {
        let reply = eval(code);
        assert!(reply.starts_with('-'), "{code}: {reply}");
    }
    // Packing a circular table is no error: it is cut at 16 levels.
    assert!(eval("local t = {} t[1] = t return #cmsgpack.pack(t)").starts_with(':'));
}

#[test]
fn a_script_ends_quietly_when_nobody_asks() {
    let runs = Arc::new(Runs::default());
    let limits = Limits { busy_after: None, ..LIMITS };
    let mut fixture = Fixture { interpreter: Interpreter::new(&runs, limits).unwrap(), ..Fixture::new() };
    assert_eq!(fixture.eval("local n = 0 for i = 1, 1e7 do n = n + 1 end return n"), ":10000000");
    assert_eq!(fixture.caller.slow, 0);
}

#[test]
fn an_interrupted_command_ends_the_script_whatever_it_catches() {
    for code in [
        "redis.call('cold') return 1",
        "redis.pcall('cold') return 1",
        "pcall(redis.call, 'cold') return 1",
        "coroutine.wrap(function() redis.pcall('cold') end)() return 1",
    ] {
        let mut fixture = Fixture::new();
        let error = fixture.run(code, &[], &[]).unwrap_err();
        assert_eq!(error.cause(), Cause::Interrupted, "{code}: {error:?}");
        assert_eq!(fixture.eval("return 1"), ":1");
    }
}

#[test]
fn a_script_that_runs_for_long_is_to_go_on_elsewhere() {
    let mut fixture = Fixture::new();
    let limits = Limits { busy_after: None, here_max: Some(Duration::from_millis(5)), ..LIMITS };
    fixture.interpreter.set_limits(limits).unwrap();
    for code in [
        "while true do end",
        "while true do redis.call('ping') end",
        "pcall(function() while true do end end)",
    ] {
        let error = fixture.run(code, &[], &[]).unwrap_err();
        assert_eq!(error.cause(), Cause::TooLong, "{code}: {error:?}");
    }
    assert_eq!(fixture.eval("return 1"), ":1");
}
