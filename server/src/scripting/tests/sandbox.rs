//! What scripts cannot reach or change.

use super::fake::{Fixture, eval};

#[test]
fn dangerous_globals_are_absent() {
    for name in [
        "print", "dofile", "loadfile", "require", "module", "package", "io", "debug", "getfenv", "setfenv",
        "newproxy", "x",
    ] {
        let reply = eval(&format!("return {name}"));
        let text = format!("Script attempted to access nonexistent global variable '{name}'");
        assert!(reply.contains(&text), "{name}: {reply}");
    }
    assert_eq!(eval("local n = {} for k in pairs(os) do n[#n + 1] = k end return n"), "*1 $5 clock");
}

#[test]
fn nothing_global_can_be_changed() {
    for code in [
        "a = 1",
        "redis = 1",
        "KEYS = 1",
        "_G = {}",
        "_G.a = 1",
        "rawset(_G, 'a', 1)",
        "setmetatable(_G, {})",
        "getmetatable(_G).__index = {}",
        "redis.call = 1",
        "server.call = 1",
        "redis.extra = 1",
        "string.rep = 1",
        "cjson.encode = 1",
        "cmsgpack.pack = 1",
        "bit.band = 1",
        "math.pi = 3",
        "rawset(string, 'rep', 1)",
        "setmetatable(string, {})",
        "getmetatable('').__index = 1",
        "getmetatable('').__index.rep = 1",
        "function redis.call() end",
    ] {
        let reply = eval(code);
        assert!(reply.contains("Attempt to modify a readonly table"), "{code}: {reply}");
    }
    assert!(eval("getmetatable(redis).__index = 1").contains("attempt to index"));
}

#[test]
fn what_slips_into_a_library_is_swept_away() {
    let mut fixture = Fixture::new();
    fixture.eval("table.insert(string, 'x') table.insert(_G, 'y')");
    assert_eq!(fixture.eval("return tostring(rawget(string, 1))"), "$3 nil");
    assert_eq!(fixture.eval("return tostring(rawget(_G, 1))"), "$3 nil");
}

#[test]
fn libraries_can_be_listed_and_copies_are_harmless() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.eval("local n = 0 for k in pairs(bit) do n = n + 1 end return n"), ":12");
    fixture.eval("local _, copy = pairs(bit) copy.band = nil");
    assert_eq!(fixture.eval("return bit.band(6, 3)"), ":2");
    assert_eq!(fixture.eval("return type(next(string))"), "$6 string");
}

#[test]
fn bytecode_is_refused() {
    let reply = eval("return {loadstring(string.dump(function() return 1 end))}");
    assert_eq!(reply, "*0");
    assert_eq!(eval("return loadstring('return 1 + 1')()"), ":2");
    assert_eq!(
        eval("local t = {'return ', '7'} local i = 0 return load(function() i = i + 1 return t[i] end)()"),
        ":7"
    );
    assert!(eval("return loadstring('a = 1')()").contains("readonly"));
    assert!(eval("\x1bLua").starts_with("-ERR Error compiling script"));
}

#[test]
fn settings_of_json_end_with_the_script() {
    let mut fixture = Fixture::new();
    fixture.eval("cjson.encode_number_precision(3)");
    assert_eq!(fixture.eval("return cjson.encode(1.23456)"), "$7 1.23456");
}
