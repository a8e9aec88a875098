//! Every error text a client can see, in Redis's words. Clients parse these strings.

use super::reply::CommandError;

const fn fixed(text: &'static str) -> CommandError {
    CommandError::fixed(text)
}

pub const SYNTAX: CommandError = fixed("ERR syntax error");
pub const NOT_AN_INTEGER: CommandError = fixed("ERR value is not an integer or out of range");
pub const NOT_A_FLOAT: CommandError = fixed("ERR value is not a valid float");
pub const WRONG_TYPE: CommandError =
    fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
pub const NO_SUCH_KEY: CommandError = fixed("ERR no such key");
pub const SAME_OBJECT: CommandError = fixed("ERR source and destination objects are the same");
pub const INDEX_OUT_OF_RANGE: CommandError = fixed("ERR index out of range");
pub const BELOW_LONG_MAX: CommandError =
    fixed("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
pub const BEYOND_32_BITS: CommandError =
    fixed("ERR value is out of range, value must between -2147483648 and 2147483647");
pub const LPOS_RANK: CommandError = fixed(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to \
     start from the end of the list",
);
pub const LPOS_COUNT: CommandError = fixed("ERR COUNT can't be negative");
pub const LPOS_MAXLEN: CommandError = fixed("ERR MAXLEN can't be negative");
pub const OFFSET_OUT_OF_RANGE: CommandError = fixed("ERR offset is out of range");
pub const STRING_TOO_LONG: CommandError =
    fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
pub const INCREMENT_OVERFLOW: CommandError = fixed("ERR increment or decrement would overflow");
pub const OUT_OF_RANGE: CommandError = fixed("ERR value is out of range");
pub const MUST_BE_POSITIVE: CommandError = fixed("ERR value is out of range, must be positive");
pub const NAN_OR_INFINITY: CommandError = fixed("ERR value is NaN or Infinity");
pub const NUMFIELDS: CommandError =
    fixed("ERR numfields should be greater than 0 and match the provided number of fields");
pub const NUMKEYS_NOT_POSITIVE: CommandError = fixed("ERR numkeys should be greater than 0");
pub const NUMKEYS_TOO_LARGE: CommandError = fixed("ERR Number of keys can't be greater than number of args");
pub const LIMIT_NEGATIVE: CommandError = fixed("ERR LIMIT can't be negative");
pub const SCAN_NOSCORES: CommandError = fixed("ERR NOSCORES option can only be used in ZSCAN");
pub const SCAN_NOVALUES: CommandError = fixed("ERR NOVALUES option can only be used in HSCAN");
pub const DECREMENT_OVERFLOW: CommandError = fixed("ERR decrement would overflow");
pub const INCREMENT_NAN: CommandError = fixed("ERR increment would produce NaN or Infinity");
pub const BIT_OFFSET: CommandError = fixed("ERR bit offset is not an integer or out of range");
pub const BIT_VALUE: CommandError = fixed("ERR bit is not an integer or out of range");
pub const BIT_ARGUMENT: CommandError = fixed("ERR The bit argument must be 1 or 0.");
pub const BITOP_NOT: CommandError = fixed("ERR BITOP NOT must be called with a single source key.");
pub const BITFIELD_TYPE: CommandError =
    fixed("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");
pub const BITFIELD_OVERFLOW: CommandError = fixed("ERR Invalid OVERFLOW type specified");
pub const BITFIELD_RO: CommandError = fixed("ERR BITFIELD_RO only supports the GET subcommand");
pub const LCS_NOT_STRINGS: CommandError = fixed("ERR The specified keys must contain string values");
pub const LCS_LEN_AND_IDX: CommandError =
    fixed("ERR If you want both the length and indexes, please just use IDX.");
pub const INVALID_CURSOR: CommandError = fixed("ERR invalid cursor");
pub const INVALID_TTL: CommandError = fixed("ERR Invalid TTL value, must be >= 0");
pub const BUSYKEY: CommandError = fixed("BUSYKEY Target key name already exists.");
pub const INVALID_IDLETIME: CommandError = fixed("ERR Invalid IDLETIME value, must be >= 0");
pub const INVALID_FREQ: CommandError = fixed("ERR Invalid FREQ value, must be >= 0 and <= 255");
pub const LFU_NOT_SELECTED: CommandError = fixed(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
pub const LFU_SELECTED: CommandError = fixed(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
     between policies at runtime LRU and LFU data will take some time to adjust.",
);
pub const STREAM_ID: CommandError = fixed("ERR Invalid stream ID specified as stream command argument");
pub const STREAM_ID_ZERO: CommandError = fixed("ERR The ID specified in XADD must be greater than 0-0");
pub const STREAM_ID_SMALL: CommandError =
    fixed("ERR The ID specified in XADD is equal or smaller than the target stream top item");
pub const STREAM_EXHAUSTED: CommandError =
    fixed("ERR The stream has exhausted the last possible ID, unable to add more items");
pub const STREAM_START: CommandError = fixed("ERR invalid start ID for the interval");
pub const STREAM_END: CommandError = fixed("ERR invalid end ID for the interval");
pub const TRIM_TWICE: CommandError =
    fixed("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
pub const TRIM_MAXLEN: CommandError = fixed("ERR The MAXLEN argument must be >= 0.");
pub const TRIM_LIMIT: CommandError = fixed("ERR The LIMIT argument must be >= 0.");
pub const TRIM_LIMIT_ALONE: CommandError =
    fixed("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
pub const TRIM_LIMIT_EXACT: CommandError =
    fixed("ERR syntax error, LIMIT cannot be used without the special ~ option");
pub const TRIM_MISSING: CommandError =
    fixed("ERR syntax error, XTRIM must be called with a trimming strategy");
pub const IDS_COUNT: CommandError = fixed("ERR Number of IDs must be a positive integer");
pub const IDS_DIFFER: CommandError = fixed("ERR The `numids` parameter must match the number of arguments");
pub const XSETID_ADDED: CommandError = fixed("ERR entries_added must be positive");
pub const XSETID_GIVEN_DELETED: CommandError =
    fixed("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id");
pub const XSETID_DELETED: CommandError =
    fixed("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
pub const XSETID_TOP: CommandError =
    fixed("ERR The ID specified in XSETID is smaller than the target stream top item");
pub const XSETID_LEN: CommandError =
    fixed("ERR The entries_added specified in XSETID is smaller than the target stream length");
pub const XGROUP_NO_KEY: CommandError = fixed(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
     MKSTREAM option to create an empty stream automatically.",
);
pub const XGROUP_READ: CommandError = fixed("ERR value for ENTRIESREAD must be positive or -1");
pub const BUSYGROUP: CommandError = fixed("BUSYGROUP Consumer Group name already exists");
pub const XREAD_GROUP: CommandError =
    fixed("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.");
pub const XREAD_NOACK: CommandError =
    fixed("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.");
pub const XREAD_NEW: CommandError = fixed(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
);
pub const XREADGROUP_NO_GROUP: CommandError = fixed("ERR Missing GROUP option for XREADGROUP");
pub const XREADGROUP_LAST: CommandError = fixed(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer \
     by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty \
     result set.",
);
pub const XREADGROUP_TOP: CommandError = fixed(
    "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer \
     by specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty \
     result set.",
);
pub const XCLAIM_MIN_IDLE: CommandError = fixed("ERR Invalid min-idle-time argument for XCLAIM");
pub const XCLAIM_IDLE: CommandError = fixed("ERR Invalid IDLE option argument for XCLAIM");
pub const XCLAIM_TIME: CommandError = fixed("ERR Invalid TIME option argument for XCLAIM");
pub const XCLAIM_RETRYCOUNT: CommandError = fixed("ERR Invalid RETRYCOUNT option argument for XCLAIM");
pub const XAUTOCLAIM_MIN_IDLE: CommandError = fixed("ERR Invalid min-idle-time argument for XAUTOCLAIM");
pub const XAUTOCLAIM_COUNT: CommandError = fixed("ERR COUNT must be > 0");
pub const DB_INDEX: CommandError = fixed("ERR DB index is out of range");
pub const BUCKETS_REVERSED: CommandError = fixed("ERR the first bucket of 'BUCKETS' is above the last");
pub const KEY_AND_BUCKETS: CommandError = fixed("ERR 'KEY' and 'BUCKETS' exclude each other");
pub const META_HAS_NO_KEYS: CommandError = fixed("ERR family 'meta' has no databases, keys or buckets");
pub const NUMKEYS: CommandError = fixed("ERR invalid numkeys value or out of range");
pub const INVALID_FIRST_DB_INDEX: CommandError = fixed("ERR invalid first DB index");
pub const INVALID_SECOND_DB_INDEX: CommandError = fixed("ERR invalid second DB index");
pub const EXPIRE_NX_AND_OTHERS: CommandError =
    fixed("ERR NX and XX, GT or LT options at the same time are not compatible");
pub const EXPIRE_GT_AND_LT: CommandError = fixed("ERR GT and LT options at the same time are not compatible");

pub const COUNT_POSITIVE: CommandError = fixed("ERR count should be greater than 0");
pub const ZADD_NX_AND_XX: CommandError = fixed("ERR XX and NX options at the same time are not compatible");
pub const ZADD_GT_LT_NX: CommandError =
    fixed("ERR GT, LT, and/or NX options at the same time are not compatible");
pub const ZADD_INCR_PAIRS: CommandError = fixed("ERR INCR option supports a single increment-element pair");
pub const SCORE_NAN: CommandError = fixed("ERR resulting score is not a number (NaN)");
pub const SCORE_RANGE: CommandError = fixed("ERR min or max is not a float");
pub const LEX_RANGE: CommandError = fixed("ERR min or max not valid string range item");
pub const LIMIT_OF_RANKS: CommandError =
    fixed("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
pub const SCORES_OF_LEX: CommandError =
    fixed("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
pub const WEIGHT: CommandError = fixed("ERR weight value is not a float");
pub const GEO_UNIT: CommandError = fixed("ERR unsupported unit provided. please use M, KM, FT, MI");
pub const GEO_RADIUS: CommandError = fixed("ERR need numeric radius");
pub const GEO_RADIUS_NEGATIVE: CommandError = fixed("ERR radius cannot be negative");
pub const GEO_WIDTH: CommandError = fixed("ERR need numeric width");
pub const GEO_HEIGHT: CommandError = fixed("ERR need numeric height");
pub const GEO_BOX_NEGATIVE: CommandError = fixed("ERR height or width cannot be negative");
pub const GEO_COUNT: CommandError = fixed("ERR COUNT must be > 0");
pub const GEO_ANY: CommandError = fixed("ERR the ANY argument requires COUNT argument");
pub const GEO_FEW_VERTICES: CommandError = fixed("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices");
pub const GEO_VERTICES: CommandError = fixed("ERR invalid number of vertices");

pub const PFDEBUG_NO_KEY: CommandError = fixed("ERR The specified key does not exist");
pub const PFDEBUG_NOT_SPARSE: CommandError = fixed("ERR HLL encoding is not sparse");
pub const SORT_WEIGHT: CommandError = fixed("ERR One or more scores can't be converted into double");

pub const NO_AUTH: CommandError = fixed("NOAUTH Authentication required.");
pub const WRONG_PASS: CommandError = fixed("WRONGPASS invalid username-password pair or user is disabled.");
pub const NO_PASSWORD_SET: CommandError = fixed(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
     configuration is correct?",
);
pub const HELLO_NO_AUTH: CommandError = fixed(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
     <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
     the same time",
);
pub const NO_PROTO: CommandError = fixed("NOPROTO unsupported protocol version");
pub const PROTOCOL_VERSION: CommandError = fixed("ERR Protocol version is not an integer or out of range");
pub const CLIENT_NAME: CommandError =
    fixed("ERR Client names cannot contain spaces, newlines or special characters.");
pub const NO_SUCH_CLIENT: CommandError = fixed("ERR No such client");
pub const INVALID_CLIENT_ID: CommandError = fixed("ERR Invalid client ID");
pub const CLIENT_ID_POSITIVE: CommandError = fixed("ERR client-id should be greater than 0");
pub const TIMEOUT_NOT_AN_INTEGER: CommandError = fixed("ERR timeout is not an integer or out of range");
pub const TIMEOUT_NOT_A_FLOAT: CommandError = fixed("ERR timeout is not a float or out of range");
pub const TIMEOUT_OUT_OF_RANGE: CommandError = fixed("ERR timeout is out of range");
pub const UNBLOCKED: CommandError = fixed("UNBLOCKED client unblocked via CLIENT UNBLOCK");
pub const TIMEOUT_NEGATIVE: CommandError = fixed("ERR timeout is negative");
pub const MAXAGE_NOT_AN_INTEGER: CommandError = fixed("ERR maxage is not an integer or out of range");
pub const MAXAGE_POSITIVE: CommandError = fixed("ERR maxage should be greater than 0");
pub const PAUSE_MODE: CommandError = fixed("ERR CLIENT PAUSE mode must be WRITE or ALL");
pub const UNBLOCK_REASON: CommandError = fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
pub const DEBUG_DISABLED: CommandError = fixed(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
     from a local connection, otherwise you need to set this option in the configuration file, and then \
     restart the server.",
);
pub const DEBUG_PROTOCOL: CommandError = fixed(
    "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|\
     map|attrib|push|verbatim|true|false",
);
pub const PUSH_NEEDS_RESP3: CommandError =
    fixed("ERR RESP2 is not supported by this command, please upgrade to RESP3");
pub const YES_OR_NO: CommandError = fixed("ERR argument must be 'yes' or 'no'");
pub const SLOWLOG_COUNT: CommandError = fixed("ERR count should be greater than or equal to -1");
pub const CONFIG_NO_FILE: CommandError = fixed("ERR The server is running without a config file");
pub const NO_SHUTDOWN: CommandError = fixed("ERR No shutdown in progress.");
pub const KEYS_NONE: CommandError = fixed("ERR The command has no key arguments");
pub const KEYS_INVALID_ARGS: CommandError = fixed("ERR Invalid arguments specified for command");
pub const KEYS_INVALID_ARITY: CommandError = fixed("ERR Invalid number of arguments specified for command");
pub const KEYS_INVALID_COMMAND: CommandError = fixed("ERR Invalid command specified");
pub const DISK_FULL: CommandError = fixed(
    "OOM command not allowed: the disk is full or 'maxdisk' is reached. Delete keys or free disk space.",
);
pub const OOM: CommandError = fixed("OOM command not allowed when used memory > 'maxmemory'.");
pub const OFFLOADED_JOB_LOST: CommandError =
    fixed("ERR internal error: a background job ended without a result");

/// `ERR wrong number of arguments for 'config|get' command`; the name is in lower case.
#[must_use]
pub fn wrong_arity(full_name: &str) -> CommandError {
    CommandError::composed(format!("ERR wrong number of arguments for '{full_name}' command"))
}

/// `ERR at least 1 input key is needed for 'zunion' command`; the name is in lower case.
#[must_use]
pub fn no_input_key(name: &str) -> CommandError {
    CommandError::composed(format!("ERR at least 1 input key is needed for '{name}' command"))
}

/// `ERR invalid longitude,latitude pair 200.000000,1.000000`
#[must_use]
pub fn geo_pair(longitude: f64, latitude: f64) -> CommandError {
    CommandError::composed(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
}

/// `ERR member x does not exist`
#[must_use]
pub fn no_such_member(member: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR member {} does not exist", String::from_utf8_lossy(member)))
}

/// `ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options`
#[must_use]
pub fn geo_store(what: &str) -> CommandError {
    CommandError::composed(format!(
        "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
    ))
}

/// `ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geosearch`, the command as it was written.
#[must_use]
pub fn geo_exactly_one(options: &str, command: &[u8]) -> CommandError {
    CommandError::composed(format!(
        "ERR exactly one of {options} can be specified for {}",
        String::from_utf8_lossy(command)
    ))
}

/// `ERR unknown command 'foo', with args beginning with: 'a' 'b' `. Names are cut at 128 bytes,
/// and arguments are added until they pass 128 bytes together.
#[must_use]
pub fn unknown_command<'a>(name: &[u8], args: impl Iterator<Item = &'a [u8]>) -> CommandError {
    let mut shown = String::new();
    for arg in args {
        if shown.len() >= 128 {
            break;
        }
        let room = 128 - shown.len();
        shown.push('\'');
        shown.push_str(&lossy(arg, room));
        shown.push_str("' ");
    }
    CommandError::composed(format!(
        "ERR unknown command '{}', with args beginning with: {shown}",
        lossy(name, 128)
    ))
}

/// `ERR unknown subcommand 'x'. Try CONFIG HELP.`
#[must_use]
pub fn unknown_subcommand(container: &str, subcommand: &[u8]) -> CommandError {
    CommandError::composed(format!(
        "ERR unknown subcommand '{}'. Try {container} HELP.",
        lossy(subcommand, 128)
    ))
}

/// `ERR Unknown PFDEBUG subcommand 'x'`
#[must_use]
pub fn unknown_pfdebug(subcommand: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR Unknown PFDEBUG subcommand '{}'", lossy(subcommand, 128)))
}

/// `ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.`
#[must_use]
pub fn subcommand_syntax(container: &str, subcommand: &[u8]) -> CommandError {
    CommandError::composed(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {container} HELP.",
        lossy(subcommand, 128)
    ))
}

/// `NOGROUP No such key 'k' or consumer group 'g'`, with more words behind.
#[must_use]
pub fn no_group_or_key(key: &[u8], group: &[u8], behind: &str) -> CommandError {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    CommandError::composed(format!("NOGROUP No such key '{key}' or consumer group '{group}'{behind}"))
}

/// `NOGROUP No such consumer group 'g' for key name 'k'`
#[must_use]
pub fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    CommandError::composed(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"))
}

/// `ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.`
#[must_use]
pub fn unbalanced_streams(command: &str, symbol: char) -> CommandError {
    CommandError::composed(format!(
        "ERR Unbalanced '{command}' list of streams: for each stream key an ID or '{symbol}' must be specified."
    ))
}

/// `ERR Unrecognized XCLAIM option 'x'`
#[must_use]
pub fn xclaim_option(option: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR Unrecognized XCLAIM option '{}'", lossy(option, 128)))
}

/// `ERR invalid expire time in 'set' command`; the name is in lower case.
#[must_use]
pub fn invalid_expire(name: &str) -> CommandError {
    CommandError::composed(format!("ERR invalid expire time in '{name}' command"))
}

/// `ERR Syntax error in HELLO option 'x'`
#[must_use]
pub fn hello_option(option: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR Syntax error in HELLO option '{}'", lossy(option, 128)))
}

/// `ERR Unrecognized option 'x'`
#[must_use]
pub fn unrecognized_option(option: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR Unrecognized option '{}'", lossy(option, 128)))
}

/// `ERR LIB-NAME cannot contain spaces, newlines or special characters.`
#[must_use]
pub fn client_attribute(attribute: &[u8]) -> CommandError {
    let attribute = lossy(attribute, 128);
    CommandError::composed(format!("ERR {attribute} cannot contain spaces, newlines or special characters."))
}

/// `ERR Unknown client type 'x'`
#[must_use]
pub fn unknown_client_type(name: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR Unknown client type '{}'", lossy(name, 128)))
}

/// `ERR No such user 'x'`
#[must_use]
pub fn no_such_user(name: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR No such user '{}'", lossy(name, 128)))
}

/// `ERR CONFIG SET failed (possibly related to argument 'x') - reason`
#[must_use]
pub fn config_set(name: &str, reason: &str) -> CommandError {
    CommandError::composed(format!(
        "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
    ))
}

/// Why CONFIG SET refuses a `maxclients`.
#[must_use]
pub fn too_many_clients(possible: u64) -> String {
    format!("The operating system is not able to handle the specified number of clients, try with {possible}")
}

/// `ERR Unknown option or number of arguments for CONFIG SET - 'x'`
#[must_use]
pub fn config_unknown(name: &[u8]) -> CommandError {
    CommandError::composed(format!(
        "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
        lossy(name, 128)
    ))
}

/// `ERR Rewriting config file: reason`
#[must_use]
pub fn config_rewrite(reason: &std::io::Error) -> CommandError {
    CommandError::composed(format!("ERR Rewriting config file: {reason}"))
}

/// `ERR unknown subcommand or wrong number of arguments for 'x'. Try DEBUG HELP.`
#[must_use]
pub fn debug_unknown(word: &[u8]) -> CommandError {
    CommandError::composed(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try DEBUG HELP.",
        lossy(word, 128)
    ))
}

/// `ERR unknown point, use one of: ...`
#[must_use]
pub fn unknown_crash_point(names: &[&str]) -> CommandError {
    CommandError::composed(format!("ERR unknown point, use one of: {}", names.join(", ")))
}

/// `ERR No samples available for event 'x'`
#[must_use]
pub fn no_latency_samples(event: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR No samples available for event '{}'", lossy(event, 128)))
}

/// `ERR Unknown category 'x'`
#[must_use]
pub fn unknown_category(name: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR Unknown category '{}'", lossy(name, 128)))
}

/// `ERR internal error ...`: a handler panicked before anything changed.
#[must_use]
pub fn internal(name: &str) -> CommandError {
    CommandError::composed(format!("ERR internal error in '{name}', nothing was changed. Check the log."))
}

/// Any error of the engine, by the code clients branch on.
#[must_use]
pub fn engine(error: &lux_engine::error::Error) -> CommandError {
    use lux_engine::error::Error;
    match error {
        Error::Latched { .. } => misconf(error),
        Error::NoSpace { .. } | Error::OutOfMemory { .. } => {
            CommandError::composed(format!("OOM command not allowed: {error}"))
        }
        other => CommandError::composed(format!("ERR {other}")),
    }
}

/// `MISCONF ...`: the log cannot take writes any more; the reason and the way out.
#[must_use]
pub fn misconf(reason: &dyn std::fmt::Display) -> CommandError {
    CommandError::composed(format!(
        "MISCONF Errors writing to the log: {reason}. Nothing is acknowledged until the server is restarted."
    ))
}

/// `ERR` and a sentence that names the offending word, escaped and cut at 128 bytes.
#[must_use]
pub fn about_word(sentence: &str, word: &[u8]) -> CommandError {
    CommandError::composed(format!("ERR {sentence} '{}'", escape(word, 128)))
}

/// Bytes as text, cut at `max` bytes; what is no UTF-8 becomes the replacement character.
fn lossy(bytes: &[u8], max: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).into_owned()
}

/// Bytes in printable ASCII with `\xNN` escapes, cut at `max` bytes.
#[must_use]
pub fn escape(bytes: &[u8], max: usize) -> String {
    bytes[..bytes.len().min(max)].escape_ascii().to_string()
}
