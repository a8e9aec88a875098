//! `redis.*`, replies in both directions, and the texts of errors.

use super::fake::{Fixture, eval};

#[test]
fn values_become_replies() {
    assert_eq!(eval("return 1"), ":1");
    assert_eq!(eval("return 3.99"), ":3");
    assert_eq!(eval("return -3.99"), ":-3");
    assert_eq!(eval("return 'x'"), "$1 x");
    assert_eq!(eval("return true"), ":1");
    assert_eq!(eval("return false"), "$-1");
    assert_eq!(eval("return nil"), "$-1");
    assert_eq!(eval("return"), "$-1");
    assert_eq!(eval("return {1,2,{'a'},nil,5}"), "*3 :1 :2 *1 $1 a");
    assert_eq!(eval("return {}"), "*0");
    assert_eq!(eval("return {ok='FINE'}"), "+FINE");
    assert_eq!(eval("return {ok='two\\nlines'}"), "+two lines");
    assert_eq!(eval("return {err='MY problem'}"), "-MY problem");
    assert_eq!(eval("return {double=3.5}"), "$3 3.5");
    assert_eq!(eval("return {big_number='123'}"), "$3 123");
    assert_eq!(eval("return {verbatim_string={format='txt', string='hi'}}"), "$2 hi");
    assert_eq!(eval("return {map={a=1}}"), "*2 $1 a :1");
    assert_eq!(eval("return {set={a=true}}"), "*1 $1 a");
    assert_eq!(eval("return function() end"), "$-1");
}

#[test]
fn values_become_resp3_replies() {
    let mut fixture = Fixture::new();
    fixture.is_resp3 = true;
    for (code, reply) in [
        ("return nil", "_"),
        ("return true", ":1"),
        ("return false", "_"),
        ("redis.setresp(3) return true", "#t"),
        ("redis.setresp(3) return false", "#f"),
        ("return {double=3.5}", ",3.5"),
        ("return {map={a=1}}", "%1 $1 a :1"),
        ("return {set={a=true}}", "~1 $1 a"),
        ("return {big_number='12'}", "(12"),
        ("return {verbatim_string={format='txt', string='hi'}}", "=6 txt:hi"),
    ] {
        assert_eq!(fixture.eval(code), reply, "{code}");
    }
}

#[test]
fn replies_become_values() {
    for (code, reply) in [
        ("return redis.call('echo', 'x')", "$1 x"),
        ("return redis.call('ping')", "+PONG"),
        ("return redis.call('ping').ok", "$4 PONG"),
        ("return redis.call('int') + 1", ":43"),
        ("return tostring(redis.call('null'))", "$5 false"),
        ("return tostring(redis.call('nullarray'))", "$5 false"),
        ("local t = redis.call('array') return {#t, t[1], t[2], tostring(t[3])}", "*4 :3 :1 $3 two $5 false"),
        ("return redis.call('map')", "*2 $3 key $5 value"),
        ("return redis.call('set')", "*2 $1 a $1 b"),
        ("return redis.call('double')", "$4 3.25"),
        ("return redis.call('true')", ":1"),
        ("return redis.call('big')", "$37 1234567999999999999999999999999999999"),
        ("return redis.call('verbatim')", "$5 hello"),
        ("return redis.call('attribute')", ":7"),
        ("return redis.call('half')", "$5 whole"),
        (
            "return redis.pcall('wrong').err",
            "$65 WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ] {
        assert_eq!(eval(code), reply, "{code}");
    }
}

#[test]
fn resp3_replies_become_values() {
    for (code, reply) in [
        ("return redis.call('map').map.key", "$5 value"),
        ("return tostring(redis.call('set').set.a)", "$4 true"),
        ("return tostring(redis.call('double').double)", "$4 3.25"),
        ("return tostring(redis.call('null'))", "$3 nil"),
        ("return tostring(redis.call('false'))", "$5 false"),
        ("return redis.call('big').big_number", "$37 1234567999999999999999999999999999999"),
        ("return redis.call('verbatim').verbatim_string.format", "$3 txt"),
        ("return redis.call('attribute')", ":7"),
    ] {
        assert_eq!(eval(&format!("redis.setresp(3); {code}")), reply, "{code}");
    }
    let mut fixture = Fixture::new();
    fixture.eval("redis.setresp(3)");
    assert_eq!(
        fixture.eval("return redis.call('map')"),
        "*2 $3 key $5 value",
        "the choice ends with the script"
    );
}

#[test]
fn arguments_are_passed_as_written() {
    let mut fixture = Fixture::new();
    fixture.eval("redis.call('echo', 'a\\0b', 1, 1.5, 1e9, 2^53, -0.25, 1e300)");
    let args: Vec<String> =
        fixture.caller.calls[0][1..].iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    assert_eq!(args, ["a\0b", "1", "1.5", "1000000000", "9007199254740992", "-0.25", "1e+300"]);
    assert_eq!(
        fixture.eval("return redis.pcall()"),
        "-ERR Please specify at least one argument for this call"
    );
    assert_eq!(
        fixture.eval("return redis.pcall('echo', {})"),
        "-ERR Command arguments must be strings or integers"
    );
}

#[test]
fn keys_and_arguments_arrive() {
    let mut fixture = Fixture::new();
    let reply = fixture.run("return {KEYS[1], KEYS[2], ARGV[1], #ARGV}", &[b"k1", b"k2"], &[b"a1"]).unwrap();
    assert_eq!(reply, "*4\r\n$2\r\nk1\r\n$2\r\nk2\r\n$2\r\na1\r\n:1\r\n");
    assert_eq!(fixture.eval("return #KEYS"), ":0", "nothing stays");
}

/// The sha in an error is the script's.
fn placed(text: &str, code: &str, line: usize) -> String {
    format!("-{text} script: {}, on @user_script:{line}.", crate::scripting::sha1_hex(code.as_bytes()))
}

#[test]
fn uncaught_errors_name_script_and_line() {
    for (code, text, line) in [
        ("error('oops')", "ERR user_script:1: oops", 1),
        ("\n\nerror('oops')", "ERR user_script:3: oops", 3),
        ("error({err='My Err'})", "My Err", 1),
        ("local x = nil\nreturn x.y", "ERR user_script:2: attempt to index local 'x' (a nil value)", 2),
        ("redis.call('wrong')", "WRONGTYPE Operation against a key holding the wrong kind of value", 1),
        ("local x = redis.call('nosuch')", "ERR Unknown command called from script", 1),
        (
            "\nlocal x = cjson.decode('x')",
            "ERR user_script:2: Expected value but found invalid token at character 1",
            2,
        ),
        (
            "return nosuch",
            "ERR user_script:1: Script attempted to access nonexistent global variable 'nosuch'",
            1,
        ),
        ("redis.sha1hex()", "ERR wrong number of arguments", 1),
        ("return redis.error_reply('a', 'b')", "", 0),
        ("redis.setresp(4)", "ERR RESP version must be 2 or 3.", 1),
        ("redis.log(1)", "ERR server.log() requires two arguments or more.", 1),
        ("redis.log(9, 'x')", "ERR Invalid log level.", 1),
        (
            "redis.set_repl(9)",
            "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
            1,
        ),
    ] {
        let reply = eval(code);
        if line == 0 {
            assert_eq!(reply, "-ERR wrong number or type of arguments");
        } else {
            assert_eq!(reply, placed(text, code, line), "{code}");
        }
    }
    assert_eq!(
        eval("return +"),
        "-ERR Error compiling script (new function): user_script:1: unexpected symbol near '+'"
    );
}

#[test]
fn error_replies_get_a_code() {
    for (code, reply) in [
        ("return redis.error_reply('My Err')", "-My Err"),
        ("return redis.error_reply('-My Err')", "-My Err"),
        ("return redis.error_reply('MYERR')", "-ERR MYERR"),
        ("return redis.error_reply('-MYERR')", "-ERR MYERR"),
        ("return redis.error_reply('My Err\\r\\n')", "-My Err"),
        ("return redis.error_reply(1)", "-ERR wrong number or type of arguments"),
        ("return redis.status_reply('FINE')", "+FINE"),
        ("return redis.status_reply()", "-ERR wrong number or type of arguments"),
    ] {
        assert_eq!(eval(code), reply, "{code}");
    }
}

#[test]
fn pcall_gives_the_text_of_an_error() {
    for (code, reply) in [
        ("return {pcall(function() return 1, 2 end)}", "*3 :1 :1 :2"),
        (
            "local ok, e = pcall(redis.call, 'nosuch') return {tostring(ok), type(e), e}",
            "*3 $5 false $6 string $38 ERR Unknown command called from script",
        ),
        ("local ok, e = pcall(error, {x=1}) return {type(e), e.x}", "*2 $5 table :1"),
        (
            "local ok, e = pcall(cjson.decode, '[') return {type(e), e}",
            "*2 $6 string $45 Expected value but found T_END at character 2",
        ),
        (
            "local ok, e = xpcall(function() error('a') end, function(m) return m .. '!' end) return e",
            "$17 user_script:1: a!",
        ),
    ] {
        assert_eq!(eval(code), reply, "{code}");
    }
}

#[test]
fn small_functions_work() {
    for (code, reply) in [
        ("return redis.sha1hex('')", "$40 da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("return redis.sha1hex('Pizza & Mandolino')", "$40 74822d82031af7493c20eefa13bd07ec4fada82f"),
        ("return redis.acl_check_cmd('get', 'x')", ":1"),
        ("return redis.acl_check_cmd('set', 'x', 1)", "$-1"),
        ("return redis.REDIS_VERSION", "$5 7.2.4"),
        ("return redis.REDIS_VERSION_NUM", ":459268"),
        ("return tostring(redis == server)", "$4 true"),
        ("return redis.LOG_WARNING", ":3"),
        ("return redis.REPL_ALL", ":3"),
        ("return redis.set_repl(redis.REPL_ALL)", "$-1"),
        ("return tostring(redis.replicate_commands())", "$4 true"),
        ("return tostring(redis.breakpoint())", "$5 false"),
        ("redis.log(redis.LOG_NOTICE, 'hello', 1)", "$-1"),
    ] {
        assert_eq!(eval(code), reply, "{code}");
    }
}

#[test]
fn random_numbers_repeat() {
    let mut fixture = Fixture::new();
    let draw =
        "local t = {} for i = 1, 5 do t[i] = tostring(math.random(1000)) end return table.concat(t, ' ')";
    let first = fixture.eval(draw);
    assert_eq!(fixture.eval(draw), first);
    assert_ne!(fixture.eval(&format!("math.randomseed(7) {draw}")), first);
    assert_eq!(fixture.eval("return math.random(0)").split(' ').next(), Some("-ERR"));
}

#[test]
fn an_error_in_the_returned_call_has_its_place() {
    let script = "return redis.call('wrong')";
    let text = eval(script);
    assert!(
        text.ends_with(&format!("script: {}, on @user_script:1.", super::super::sha1_hex(script.as_bytes()))),
        "{text}"
    );
    assert!(eval("return cjson.decode('[')").contains("user_script:1: Expected"));
}

#[test]
fn a_circular_reply_ends() {
    let reply = eval("local a = {} a[1] = a return a");
    assert!(reply.ends_with("-ERR reached lua stack limit"), "{}", &reply[reply.len() - 60..]);
}
