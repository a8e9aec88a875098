//! `cjson`, `cmsgpack`, `struct`, `bit` and the replaced functions of `string`.

use proptest::prelude::*;

use super::fake::{Fixture, eval};

fn all(cases: &[(&str, &str)]) {
    let mut fixture = Fixture::new();
    for (code, reply) in cases {
        assert_eq!(fixture.eval(&format!("return {code}")), *reply, "{code}");
    }
}

fn fails(cases: &[(&str, &str)]) {
    let mut fixture = Fixture::new();
    for (code, text) in cases {
        // Not `return f(...)`: a tail call leaves no line to name.
        let reply = fixture.eval(&format!("local result = {code} return result"));
        assert!(reply.starts_with(&format!("-ERR user_script:1: {text} script: ")), "{code}: {reply}");
    }
}

#[test]
fn strings_work_as_in_lua() {
    all(&[
        ("{string.find('hello world', 'o w')}", "*2 :5 :7"),
        ("{string.find('hello', 'l')}", "*2 :3 :3"),
        ("{string.find('a.b', '.', 1, true)}", "*2 :2 :2"),
        ("{string.find('hello', '(l)(l)')}", "*4 :3 :4 $1 l $1 l"),
        ("{string.find('hello', '', 10)}", "*2 :6 :5"),
        ("{string.find('hello', 'l', -2)}", "*2 :4 :4"),
        ("{('key=val'):match('(%w+)=(%w+)')}", "*2 $3 key $3 val"),
        ("string.match('2024-01-02', '%d+', 6)", "$2 01"),
        ("string.match('abc', '^b')", "$-1"),
        ("string.match('  x', '^%s*()')", ":3"),
        ("{string.gsub('hello world', 'o', '0')}", "*2 $11 hell0 w0rld :2"),
        ("{string.gsub('hello world', '(%w+)', '<%1>', 1)}", "*2 $13 <hello> world :1"),
        ("{string.gsub('abc', '', '-')}", "*2 $7 -a-b-c- :4"),
        ("{string.gsub('abc', '%w', '%%%0')}", "*2 $6 %a%b%c :3"),
        ("{string.gsub('$name is $age', '%$(%w+)', {name='lux', age=1})}", "*2 $8 lux is 1 :2"),
        ("{string.gsub('abc', '%w', function(c) if c == 'b' then return 'X' end end)}", "*2 $3 aXc :3"),
        ("{string.gsub('abc', '^a', function() return 'z' end)}", "*2 $3 zbc :1"),
        ("{string.gsub('hello', '', {})}", "*2 $5 hello :6"),
        ("string.rep('ab', 3)", "$6 ababab"),
        ("#string.rep('ab', -1)", ":0"),
        ("#string.rep('', 1e15)", ":0"),
    ]);
    assert_eq!(
        eval(
            "local t = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do t[#t + 1] = k .. v end return t"
        ),
        "*2 $2 a1 $2 b2"
    );
    assert_eq!(eval("local n = 0 for _ in ('abc'):gmatch('') do n = n + 1 end return n"), ":4");
    fails(&[
        ("string.find(nil, 'x')", "bad argument #1 to 'find' (string expected, got nil)"),
        ("string.rep('x')", "bad argument #2 to 'rep' (number expected, got no value)"),
        ("string.gsub('x', 'x')", "bad argument #3 to 'gsub' (string/function/table expected)"),
        ("string.gsub('x', 'x', '%2')", "invalid capture index"),
        ("string.find('x', '[a')", "malformed pattern (missing ']')"),
    ]);
}

#[test]
fn bit_works_as_bitop() {
    all(&[
        ("bit.tobit(0xffffffff)", ":-1"),
        ("bit.tobit(2^40 + 5)", ":5"),
        ("bit.bnot(0)", ":-1"),
        ("bit.band(0x12345678, 0xff)", ":120"),
        ("bit.bor(1, 2, 4, 8)", ":15"),
        ("bit.bxor(0xa5a5f0f0, 0xaa55ff00)", ":267390960"),
        ("bit.lshift(1, 31)", ":-2147483648"),
        ("bit.lshift(1, 32)", ":1"),
        ("bit.rshift(-1, 28)", ":15"),
        ("bit.arshift(-256, 8)", ":-1"),
        ("bit.rol(0x12345678, 12)", ":1164411171"),
        ("bit.ror(0x12345678, 12)", ":1736516421"),
        ("bit.bswap(0x12345678)", ":2018915346"),
        ("bit.tohex(1)", "$8 00000001"),
        ("bit.tohex(-1, 4)", "$4 ffff"),
        ("bit.tohex(-1, -4)", "$4 FFFF"),
        ("bit.tohex(255, 100)", "$8 000000ff"),
        ("bit.band('3', 1)", ":1"),
    ]);
    fails(&[("bit.band()", "bad argument #1 to 'band' (number expected, got no value)")]);
}

#[test]
fn struct_packs_and_unpacks() {
    all(&[
        ("{struct.unpack('>I2<i4', struct.pack('>I2<i4', 258, -2))}", "*3 :258 :-2 :7"),
        ("struct.pack('>I2', 258)", "$2 \u{1}\u{2}"),
        ("{struct.unpack('s', struct.pack('s', 'hey'))}", "*2 $3 hey :5"),
        ("{struct.unpack('Bc0', struct.pack('Bc0', 3, 'hey'))}", "*2 $3 hey :5"),
        ("{struct.unpack('c2', 'hey')}", "*2 $2 he :3"),
        ("struct.size('!4 b i')", ":8"),
        ("struct.size('bi')", ":5"),
        ("#struct.pack('!8 b d', 1, 2)", ":16"),
        ("tostring(struct.unpack('d', struct.pack('d', 0.1)))", "$3 0.1"),
        ("{struct.unpack('>f', struct.pack('>f', 1.5))}", "*2 :1 :5"),
        ("{struct.unpack('b', 'xyz', 2)}", "*2 :121 :3"),
        ("{struct.unpack('i3', struct.pack('i3', -5))}", "*2 :-5 :4"),
    ]);
    fails(&[
        ("struct.pack('Z', 1)", "bad argument #1 to 'pack' (invalid format option 'Z')"),
        ("struct.pack('i33', 1)", "integral size 33 is larger than limit of 32"),
        ("struct.pack('i2147483648', 1)", "integral size overflow"),
        ("struct.pack('!3', 1)", "alignment 3 is not a power of 2"),
        ("struct.unpack('i', 'abc')", "bad argument #2 to 'unpack' (data string too short)"),
        ("struct.unpack('i', 'abcd', 2147483647)", "bad argument #2 to 'unpack' (data string too short)"),
        ("struct.unpack('c2147483646', 'abcd')", "bad argument #2 to 'unpack' (data string too short)"),
        ("struct.unpack('i', 'abcd', 0)", "bad argument #3 to 'unpack' (offset must be 1 or greater)"),
        ("struct.unpack('c0', 'abc')", "format 'c0' needs a previous size"),
        ("struct.unpack('s', 'abc')", "unfinished string in data"),
        ("struct.size('s')", "bad argument #1 to 'size' (option 's' has no fixed size)"),
        ("struct.pack('c5', 'abc')", "bad argument #3 to 'pack' (string too short)"),
    ]);
}

#[test]
fn json_is_written_as_lua_cjson_writes_it() {
    all(&[
        ("cjson.encode({1, 2, 3})", "$7 [1,2,3]"),
        ("cjson.encode({})", "$2 {}"),
        ("cjson.encode({a={}})", "$8 {\"a\":{}}"),
        ("cjson.encode({1, nil, 3})", "$10 [1,null,3]"),
        ("cjson.encode('a/b\"\\\\\\n\\127\\1')", "$24 \"a\\/b\\\"\\\\\\n\\u007f\\u0001\""),
        ("cjson.encode(0.1)", "$3 0.1"),
        ("cjson.encode(1/3)", "$16 0.33333333333333"),
        ("cjson.encode(1e15)", "$5 1e+15"),
        ("cjson.encode(123456789012345)", "$19 1.2345678901234e+14"),
        ("cjson.encode(-0.00001)", "$6 -1e-05"),
        ("cjson.encode(100)", "$3 100"),
        ("cjson.encode(true)", "$4 true"),
        ("cjson.encode(nil)", "$4 null"),
        ("cjson.encode(cjson.null)", "$4 null"),
        ("cjson.encode({[1.5]=1})", "$9 {\"1.5\":1}"),
        ("{cjson.encode_sparse_array(true), cjson.encode({[1000]=1})}", "*2 :1 $10 {\"1000\":1}"),
    ]);
    fails(&[
        ("cjson.encode()", "bad argument #1 to 'encode' (expected 1 argument)"),
        ("cjson.encode({[1000]=1})", "Cannot serialise table: excessively sparse array"),
        ("cjson.encode(function() end)", "Cannot serialise function: type not supported"),
        ("cjson.encode({[{}]=1})", "Cannot serialise table: table key must be a number or string"),
        ("cjson.encode(1/0)", "Cannot serialise number: must not be NaN or Inf"),
        (
            "cjson.encode_max_depth(0)",
            "bad argument #1 to 'encode_max_depth' (expected integer between 1 and 2147483647)",
        ),
        ("cjson.encode_max_depth(1, 2)", "bad argument #2 to 'encode_max_depth' (found too many arguments)"),
    ]);
    assert!(eval("cjson.encode_max_depth(2) return cjson.encode({{{}}})").contains("excessive nesting (3)"));
    assert_eq!(
        eval("cjson.encode_invalid_numbers('null') return cjson.encode({1/0, 0/0})"),
        "$11 [null,null]"
    );
    assert_eq!(
        eval("cjson.encode_invalid_numbers(true) return cjson.encode({1/0, -1/0, 0/0})"),
        "$14 [inf,-inf,nan]"
    );
    assert_eq!(
        eval("local j = cjson.new() j.encode_number_precision(3) return {j.encode(1/3), cjson.encode(1/3)}"),
        "*2 $5 0.333 $16 0.33333333333333"
    );
}

#[test]
fn json_is_read_as_lua_cjson_reads_it() {
    all(&[
        ("cjson.decode('[1, 2.5e0, \"x\", true]')", "*4 :1 :2 $1 x :1"),
        ("cjson.decode('{\"a\": {\"b\": [3]}}').a.b[1]", ":3"),
        ("cjson.decode('\"\\\\u00e9\\\\ud83d\\\\ude00\\\\/\"')", "$7 é😀/"),
        ("tostring(cjson.decode('null') == cjson.null)", "$4 true"),
        ("type(cjson.decode('[null]')[1])", "$8 userdata"),
        ("tostring(cjson.decode('Infinity'))", "$3 inf"),
        ("tostring(cjson.decode('-inf'))", "$4 -inf"),
        ("cjson.decode('0x10')", ":16"),
        ("cjson.decode('+5')", ":5"),
        ("cjson.decode('  7 ')", ":7"),
        ("cjson.decode('12345678901234567')", ":12345678901234568"),
    ]);
    fails(&[
        ("cjson.decode('')", "Expected value but found T_END at character 1"),
        ("cjson.decode('[1,')", "Expected value but found T_END at character 4"),
        ("cjson.decode('[1 2]')", "Expected comma or array end but found T_NUMBER at character 4"),
        ("cjson.decode('{1:2}')", "Expected object key string but found T_NUMBER at character 2"),
        ("cjson.decode('{\"a\" 1}')", "Expected colon but found T_NUMBER at character 6"),
        ("cjson.decode('{\"a\":1 \"b\"}')", "Expected comma or object end but found T_STRING at character 8"),
        ("cjson.decode('1 2')", "Expected the end but found T_NUMBER at character 3"),
        ("cjson.decode('\"abc')", "Expected value but found unexpected end of string at character 5"),
        ("cjson.decode('\"\\\\x\"')", "Expected value but found invalid escape code at character 2"),
        (
            "cjson.decode('\"\\\\ud800\"')",
            "Expected value but found invalid unicode escape code at character 2",
        ),
        ("cjson.decode('tru')", "Expected value but found invalid token at character 1"),
        ("cjson.decode('-')", "Expected value but found invalid number at character 1"),
        ("cjson.decode('a\\0')", "JSON parser does not support UTF-16 or UTF-32"),
        (
            "cjson.decode(string.rep('[', 1001))",
            "Found too many nested data structures (1001) at character 1001",
        ),
    ]);
    assert!(
        eval("cjson.decode_invalid_numbers(false) return cjson.decode('0x10')").contains("invalid number")
    );
    assert!(eval("cjson.decode_max_depth(1) return cjson.decode('[[]]')").contains("too many nested"));
}

#[test]
fn message_pack_has_the_original_bytes() {
    let hex = |code: &str| {
        eval(&format!("return (string.gsub(cmsgpack.pack({code}), '.', function(c) return string.format('%02x', c:byte()) end))"))
            .split(' ').next_back().unwrap_or_default().to_owned()
    };
    for (code, bytes) in [
        ("nil", "c0"),
        ("true", "c3"),
        ("false", "c2"),
        ("0", "00"),
        ("127", "7f"),
        ("128", "cc80"),
        ("256", "cd0100"),
        ("65536", "ce00010000"),
        ("2^32", "cf0000000100000000"),
        ("-1", "ff"),
        ("-32", "e0"),
        ("-33", "d0df"),
        ("-129", "d1ff7f"),
        ("-32769", "d2ffff7fff"),
        ("-2^31 - 1", "d3ffffffff7fffffff"),
        ("1.5", "ca3fc00000"),
        ("0.1", "cb3fb999999999999a"),
        ("'a'", "a161"),
        ("{1, 2}", "920102"),
        ("{a=1}", "81a16101"),
        ("{}", "90"),
        ("1, 2", "0102"),
        ("{[2]=1}", "810201"),
    ] {
        assert_eq!(hex(code), bytes, "{code}");
    }
    all(&[
        ("{cmsgpack.unpack(cmsgpack.pack(1, 'x', {true}))}", "*3 :1 $1 x *1 :1"),
        ("{cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3))}", "*2 :1 :1"),
        ("{cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 2)}", "*2 :-1 :3"),
        ("{cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2)}", "*3 :2 :1 :2"),
        ("{cmsgpack.unpack('')}", "*0"),
        ("#cmsgpack.pack(string.rep('x', 300))", ":303"),
        ("#cmsgpack.unpack(cmsgpack.pack(string.rep('x', 70000)))", ":70000"),
    ]);
    fails(&[
        ("cmsgpack.pack()", "bad argument #0 to 'pack' (MessagePack pack needs input.)"),
        ("cmsgpack.unpack(string.char(0x92, 1))", "Missing bytes in input."),
        ("cmsgpack.unpack(string.char(0xdb, 255, 255, 255, 255))", "Missing bytes in input."),
        ("cmsgpack.unpack(string.char(0xdd, 255, 255, 255, 255))", "Missing bytes in input."),
        ("cmsgpack.unpack(string.char(0xc1))", "Bad data format in input."),
        ("cmsgpack.unpack_one('a', 5)", "Start offset 5 greater than input length 1."),
        ("cmsgpack.unpack_one('a', -1)", "Invalid request to unpack with offset of -1 and limit of 1."),
    ]);
}

/// A Lua expression that survives both formats.
fn value() -> impl Strategy<Value = String> {
    let text = proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| {
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03}")).collect();
        format!("\"{escaped}\"")
    });
    let leaf = prop_oneof![
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<i32>().prop_map(|number| number.to_string()),
        (-1000..1000i32).prop_map(|number| format!("{}", f64::from(number) / 8.0)),
        text.clone(),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..6)
                .prop_map(|items| format!("{{{}}}", items.join(","))),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 1..6).prop_map(|fields| {
                let fields: Vec<String> =
                    fields.iter().map(|(key, value)| format!("[\"{key}\"]={value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

const SAME: &str = "local function same(a, b) if type(a) ~= 'table' then return a == b end \
    for k, v in pairs(a) do if not same(v, b[k]) then return false end end \
    for k in pairs(b) do if a[k] == nil then return false end end return true end ";

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_survive_json(value in value()) {
        let code = format!("{SAME} local v = {value} return tostring(same(v, cjson.decode(cjson.encode(v))))");
        prop_assert_eq!(eval(&code), "$4 true");
    }

    #[test]
    fn values_survive_message_pack(value in value()) {
        let code = format!("{SAME} local v = {value} return tostring(same(v, cmsgpack.unpack(cmsgpack.pack(v))))");
        prop_assert_eq!(eval(&code), "$4 true");
    }

    #[test]
    fn no_bytes_upset_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..64), format in "[ -~]{0,12}") {
        let mut fixture = Fixture::new();
        let code = "return {pcall(cjson.decode, ARGV[1]), pcall(cmsgpack.unpack, ARGV[1]), \
                    pcall(struct.unpack, ARGV[2], ARGV[1]), pcall(struct.pack, ARGV[2], ARGV[1], 1, 2, 3), \
                    pcall(string.find, ARGV[1], ARGV[2]), pcall(string.gsub, ARGV[2], ARGV[1], ARGV[2])} and 1";
        prop_assert_eq!(fixture.run(code, &[], &[&bytes, format.as_bytes()]).unwrap(), ":1\r\n");
    }
}

#[test]
fn large_tables_are_packed() {
    let script = "local map, list = {}, {}
        for i = 1, 50000 do map['k' .. i] = 'v' .. i list[i] = 's' .. i end
        local json, packed = cjson.decode(cjson.encode({map, list})), cmsgpack.unpack(cmsgpack.pack({map, list}))
        return {json[1].k777, json[2][50000], packed[1].k777, packed[2][50000]}";
    assert_eq!(eval(script), "*4 $4 v777 $6 s50000 $4 v777 $6 s50000");
}
