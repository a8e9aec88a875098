//! What a record of the log says: resolved effects and the totals they lead to.
//!
//! An effect names database, key and operation and depends on nothing but its own record: no
//! clock, no randomness, no other key. *Absolute* effects replace a record whatever it was;
//! *deltas* (`SetDeadline`, `Append`, `SetRange`, `Edit`) carry the LSN of the state that they change.
//! An effect that moves a deadline carries the old one, so that replay can remove its hint row.
//!
//! ```text
//! body     version (1 byte, 4) | commit time, Unix ms (varint) | totals | effects
//! totals   count (varint), then each: db id | shard (1 byte) | keys | keys with deadline
//! effect   tag (1 byte) | operation (1 byte) | db id | key | fields of the tag
//!   1 PutBytes     flags (1 byte) | deadline? | old hint? | old pages? | bytes
//!   2 PutInt       flags (1 byte) | deadline? | old hint? | old pages? | zigzag integer
//!   3 Delete       old hint (0: none) | old pages (0: none)
//!   4 SetDeadline  base LSN | deadline (0: none) | old hint (0: none)
//!   5 Append       base LSN | bytes
//!   6 SetRange     base LSN | offset | bytes
//!   7 MapDb        (no key) index (1 byte); the effect's db id is the new one
//!   8 PutPaged     flags (1 byte) | deadline? | old hint? | old pages? | incarnation | length
//!   9 Part         incarnation | first page | bytes
//!  10 PutCollection flags (1 byte) | deadline? | old hint? | old pages? | type (1 byte) | bytes
//!  12 PutPagedCollection  flags (1 byte) | deadline? | old hint? | old pages? | type | incarnation | length
//!  11 Edit         base LSN (0: the key was not there) | type (1 byte) | old pages (0: none) | bytes
//!  13 Leave        old hint (0: none) | key that the value goes to
//!  14 Arrive       flags (1 byte) | deadline? | old hint? | old pages? | key that the value comes from
//! ```
//!
//! Numbers are varints, keys and bytes are length-prefixed. Flags of a put: 1 deadline follows,
//! 2 old hint follows, 4 the string was made by editing, 8 old pages follow. The old hint is the
//! deadline whose row in `expires` may exist, the old pages are the incarnation whose rows in
//! `elements` die with this change.
//!
//! A value too large for one record comes as parts: pages of an incarnation that no key has yet, in
//! records of their own. The record with `PutPaged` gives it to the key that every part names.

use crate::codec::{DecodeError, Reader, put_bytes, put_varint, put_zigzag};
use crate::ids::{DbId, DbIndex, ExpireAt, Incarnation, Lsn, ShardId};
use crate::value::TypeTag;
use crate::value::string::STRING_MAX;

/// The version of records that is written and read.
pub const VERSION: u8 = 4;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What a client did to a key, as events name it. The numbers are on disk: append only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each is the command of that name")]
        pub enum Operation { $($(#[$doc])* $name = $code,)* }

        impl Operation {
            /// All operations.
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            /// The name in events: the command in lower case.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Operation::$name => $text,)* }
            }

            fn from_byte(byte: u8) -> Option<Operation> {
                match byte { $($code => Some(Operation::$name),)* _ => None }
            }
        }
    };
}

operations! {
    Set = 1, "set";
    Del = 2, "del";
    Expire = 3, "expire";
    Persist = 4, "persist";
    Append = 5, "append";
    SetRange = 6, "setrange";
    IncrBy = 7, "incrby";
    IncrByFloat = 8, "incrbyfloat";
    SetBit = 9, "setbit";
    Rename = 10, "rename";
    Copy = 11, "copy";
    Move = 12, "move";
    Restore = 13, "restore";
    Expired = 14, "expired";
    Evicted = 15, "evicted";
    FlushDb = 16, "flushdb";
    FlushAll = 17, "flushall";
    SwapDb = 18, "swapdb";
    BitOp = 19, "bitop";
    BitField = 20, "bitfield";
    GetEx = 21, "getex";
    GetDel = 22, "getdel";
    GetSet = 23, "getset";
    SetEx = 24, "setex";
    PSetEx = 25, "psetex";
    SetNx = 26, "setnx";
    MSet = 27, "mset";
    MSetNx = 28, "msetnx";
    Incr = 29, "incr";
    Decr = 30, "decr";
    DecrBy = 31, "decrby";
    PExpire = 32, "pexpire";
    ExpireAt = 33, "expireat";
    PExpireAt = 34, "pexpireat";
    Unlink = 35, "unlink";
    RenameNx = 36, "renamenx";
    DelIfEq = 37, "delifeq";
    HSet = 40, "hset";
    HIncrBy = 41, "hincrby";
    HIncrByFloat = 42, "hincrbyfloat";
    HDel = 43, "hdel";
    HExpire = 44, "hexpire";
    HPersist = 45, "hpersist";
    HExpired = 46, "hexpired";
    SAdd = 47, "sadd";
    SRem = 48, "srem";
    SPop = 49, "spop";
    SInterStore = 50, "sinterstore";
    SUnionStore = 51, "sunionstore";
    SDiffStore = 52, "sdiffstore";
    ZAdd = 70, "zadd";
    ZIncr = 71, "zincr";
    ZRem = 72, "zrem";
    ZRemRangeByRank = 73, "zremrangebyrank";
    ZRemRangeByScore = 74, "zremrangebyscore";
    ZRemRangeByLex = 75, "zremrangebylex";
    ZPopMin = 76, "zpopmin";
    ZPopMax = 77, "zpopmax";
    ZUnionStore = 78, "zunionstore";
    ZInterStore = 79, "zinterstore";
    ZDiffStore = 80, "zdiffstore";
    ZRangeStore = 81, "zrangestore";
    GeoSearchStore = 82, "geosearchstore";
    GeoRadiusStore = 83, "georadiusstore";
    LPush = 100, "lpush";
    RPush = 101, "rpush";
    LPop = 102, "lpop";
    RPop = 103, "rpop";
    LSet = 104, "lset";
    LInsert = 105, "linsert";
    LRem = 106, "lrem";
    LTrim = 107, "ltrim";
    XAdd = 120, "xadd";
    XTrim = 121, "xtrim";
    XDel = 122, "xdel";
    XSetId = 123, "xsetid";
    XGroupCreate = 124, "xgroup-create";
    XGroupSetId = 125, "xgroup-setid";
    XGroupDestroy = 126, "xgroup-destroy";
    XGroupCreateConsumer = 127, "xgroup-createconsumer";
    XGroupDelConsumer = 128, "xgroup-delconsumer";
    XReadGroup = 129, "xreadgroup";
    XAck = 130, "xack";
    XClaim = 131, "xclaim";
    XAutoClaim = 132, "xautoclaim";
    SortStore = 145, "sortstore";
    PfAdd = 146, "pfadd";
    /// PFCOUNT noted the count in the sketch.
    PfCount = 147, "pfcount";
    PfDebug = 148, "pfdebug";
}

impl Operation {
    /// The operation of a command, by its lower-case name.
    #[must_use]
    pub fn of(name: &str) -> Option<Operation> {
        Operation::ALL.iter().copied().find(|op| op.name() == name)
    }
}

/// New absolute counters of one database in one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    pub db: DbId,
    pub shard: ShardId,
    /// Keys in both tiers.
    pub keys: u64,
    /// Of these, keys with a deadline.
    pub expires: u64,
}

/// The body of a string to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringBody<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    /// The bytes came as parts and are rows of `elements`: those of a string, or of a collection as its
    /// type encodes it.
    Paged {
        tag: TypeTag,
        incarnation: Incarnation,
        len: u64,
    },
    /// A whole collection, as its type encodes it.
    Collection {
        tag: TypeTag,
        bytes: &'a [u8],
    },
}

/// Derived rows of the state that an absolute effect replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Deadline whose hint row may exist and is no longer right.
    pub hint: Option<ExpireAt>,
    /// Incarnation whose pages die.
    pub pages: Option<Incarnation>,
}

/// One resolved change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect<'a> {
    pub operation: Operation,
    pub db: DbId,
    /// Empty for [`Change::MapDb`].
    pub key: &'a [u8],
    pub change: Change<'a>,
}

/// What an effect does to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The key holds this string with this deadline, whatever it was.
    Put { body: StringBody<'a>, deadline: Option<ExpireAt>, old: Replaced, is_raw: bool },
    /// The key is gone.
    Delete { old: Replaced },
    /// Only the deadline changes.
    SetDeadline { base: Lsn, deadline: Option<ExpireAt>, old_hint: Option<ExpireAt> },
    /// Bytes are added to a string.
    Append { base: Lsn, bytes: &'a [u8] },
    /// Bytes of a string are overwritten, a gap is zero-filled.
    SetRange { base: Lsn, offset: u64, bytes: &'a [u8] },
    /// A collection changes as its type says. With base 0 the key did not exist: it is an empty collection
    /// first.
    Edit {
        base: Lsn,
        tag: TypeTag,
        bytes: &'a [u8],
        /// The pages that the collection was published as: from this change on they are of no use.
        pages: Option<Incarnation>,
    },
    /// The value goes to another key of the database; this one is gone. [`Change::Arrive`] follows.
    Leave { to: &'a [u8], old_hint: Option<ExpireAt> },
    /// The key holds the value that just left `from`, whatever it was.
    Arrive { from: &'a [u8], deadline: Option<ExpireAt>, old: Replaced, is_raw: bool },
    /// A client's database number now means `Effect::db`.
    MapDb { index: DbIndex },
    /// Pages, from number `page` on, of a value that is being built for the key. The key itself does
    /// not change.
    Part { incarnation: Incarnation, page: u32, bytes: &'a [u8] },
}

impl Change<'_> {
    /// The LSN of the state that a delta changes; `None` for an absolute change.
    #[must_use]
    pub fn base(&self) -> Option<Lsn> {
        match self {
            Change::SetDeadline { base, .. }
            | Change::Append { base, .. }
            | Change::SetRange { base, .. } => Some(*base),
            Change::Edit { base, .. } => (*base != Lsn(0)).then_some(*base),
            _ => None,
        }
    }
}

const FLAG_DEADLINE: u8 = 1;
const FLAG_HINT: u8 = 2;
const FLAG_RAW: u8 = 4;
const FLAG_PAGES: u8 = 8;

/// Appends an effect; returns the position in `out` of its key.
pub fn put_effect(out: &mut Vec<u8>, effect: &Effect<'_>) -> usize {
    let tag = tag_of(&effect.change);
    out.push(tag);
    out.push(effect.operation as u8);
    put_varint(out, u64::from(effect.db.0));
    if tag != 7 {
        put_bytes(out, effect.key);
    }
    let key_at = out.len() - effect.key.len();
    match effect.change {
        Change::Put { body, deadline, old, is_raw } => {
            put_replacing(out, deadline, old, is_raw);
            put_value(out, body);
        }
        Change::Leave { to, old_hint } => {
            put_varint(out, old_hint.map_or(0, |at| at.0));
            put_bytes(out, to);
        }
        Change::Arrive { from, deadline, old, is_raw } => {
            put_replacing(out, deadline, old, is_raw);
            put_bytes(out, from);
        }
        Change::Delete { old } => {
            put_varint(out, old.hint.map_or(0, |at| at.0));
            put_varint(out, old.pages.map_or(0, |pages| pages.0));
        }
        Change::SetDeadline { base, deadline, old_hint } => {
            put_varint(out, base.0);
            put_varint(out, deadline.map_or(0, |at| at.0));
            put_varint(out, old_hint.map_or(0, |at| at.0));
        }
        Change::Append { base, bytes } => {
            put_varint(out, base.0);
            put_bytes(out, bytes);
        }
        Change::SetRange { base, offset, bytes } => {
            put_varint(out, base.0);
            put_varint(out, offset);
            put_bytes(out, bytes);
        }
        Change::Edit { base, tag, bytes, pages } => {
            put_varint(out, base.0);
            out.push(tag as u8);
            put_varint(out, pages.map_or(0, |pages| pages.0));
            put_bytes(out, bytes);
        }
        Change::MapDb { index } => out.push(index.0),
        Change::Part { incarnation, page, bytes } => {
            put_varint(out, incarnation.0);
            put_varint(out, u64::from(page));
            put_bytes(out, bytes);
        }
    }
    key_at
}

fn tag_of(change: &Change<'_>) -> u8 {
    match change {
        Change::Put { body: StringBody::Bytes(_), .. } => 1,
        Change::Put { body: StringBody::Int(_), .. } => 2,
        Change::Delete { .. } => 3,
        Change::SetDeadline { .. } => 4,
        Change::Append { .. } => 5,
        Change::SetRange { .. } => 6,
        Change::MapDb { .. } => 7,
        Change::Put { body: StringBody::Paged { tag: TypeTag::String, .. }, .. } => 8,
        Change::Put { body: StringBody::Paged { .. }, .. } => 12,
        Change::Part { .. } => 9,
        Change::Put { body: StringBody::Collection { .. }, .. } => 10,
        Change::Edit { .. } => 11,
        Change::Leave { .. } => 13,
        Change::Arrive { .. } => 14,
    }
}

/// Appends what an absolute change says besides its value: flags, deadlines, the pages that die.
fn put_replacing(out: &mut Vec<u8>, deadline: Option<ExpireAt>, old: Replaced, is_raw: bool) {
    let flags = FLAG_DEADLINE * u8::from(deadline.is_some())
        + FLAG_HINT * u8::from(old.hint.is_some())
        + FLAG_RAW * u8::from(is_raw)
        + FLAG_PAGES * u8::from(old.pages.is_some());
    out.push(flags);
    for at in [deadline, old.hint].into_iter().flatten() {
        put_varint(out, at.0);
    }
    if let Some(pages) = old.pages {
        put_varint(out, pages.0);
    }
}

/// Appends the value that a [`Change::Put`] stores.
fn put_value(out: &mut Vec<u8>, body: StringBody<'_>) {
    match body {
        StringBody::Int(value) => put_zigzag(out, value),
        StringBody::Bytes(bytes) => put_bytes(out, bytes),
        StringBody::Paged { tag, incarnation, len } => {
            if tag != TypeTag::String {
                out.push(tag as u8);
            }
            put_varint(out, incarnation.0);
            put_varint(out, len);
        }
        StringBody::Collection { tag, bytes } => {
            out.push(tag as u8);
            put_bytes(out, bytes);
        }
    }
}

/// Reads one effect.
pub fn read_effect<'a>(reader: &mut Reader<'a>) -> Result<Effect<'a>, DecodeError> {
    let tag = reader.u8()?;
    let operation = reader.u8()?;
    let operation = Operation::from_byte(operation).ok_or(reader.error("unknown operation"))?;
    let db = DbId(reader.varint_u32()?);
    let key = if tag == 7 { &[][..] } else { reader.bytes()? };
    let change = match tag {
        1 | 2 | 8 | 10 | 12 => {
            let (deadline, old, is_raw) = replacing(reader)?;
            let body = match tag {
                1 => StringBody::Bytes(reader.bytes()?),
                2 => StringBody::Int(reader.zigzag()?),
                10 => StringBody::Collection { tag: collection_tag(reader)?, bytes: reader.bytes()? },
                12 => {
                    let tag = collection_tag(reader)?;
                    paged(reader, tag, u64::MAX)?
                }
                _ => paged(reader, TypeTag::String, STRING_MAX as u64)?,
            };
            Change::Put { body, deadline, old, is_raw }
        }
        13 => Change::Leave { old_hint: optional(reader.varint()?), to: reader.bytes()? },
        14 => {
            let (deadline, old, is_raw) = replacing(reader)?;
            Change::Arrive { from: reader.bytes()?, deadline, old, is_raw }
        }
        3 => {
            let hint = optional(reader.varint()?);
            let pages = reader.varint()?;
            Change::Delete { old: Replaced { hint, pages: (pages != 0).then_some(Incarnation(pages)) } }
        }
        4 => Change::SetDeadline {
            base: Lsn(reader.varint()?),
            deadline: optional(reader.varint()?),
            old_hint: optional(reader.varint()?),
        },
        5 => Change::Append { base: Lsn(reader.varint()?), bytes: reader.bytes()? },
        6 => {
            Change::SetRange { base: Lsn(reader.varint()?), offset: reader.varint()?, bytes: reader.bytes()? }
        }
        7 => Change::MapDb { index: DbIndex(reader.u8()?) },
        9 => Change::Part {
            incarnation: Incarnation(reader.varint()?),
            page: reader.varint_u32()?,
            bytes: reader.bytes()?,
        },
        11 => {
            let (base, tag) = (Lsn(reader.varint()?), collection_tag(reader)?);
            let pages = Some(Incarnation(reader.varint()?)).filter(|pages| pages.0 != 0);
            Change::Edit { base, tag, pages, bytes: reader.bytes()? }
        }
        _ => return Err(reader.error("unknown effect")),
    };
    Ok(Effect { operation, db, key, change })
}

/// Reads what [`put_replacing`] wrote.
fn replacing(reader: &mut Reader<'_>) -> Result<(Option<ExpireAt>, Replaced, bool), DecodeError> {
    let flags = reader.u8()?;
    if flags & !(FLAG_DEADLINE | FLAG_HINT | FLAG_RAW | FLAG_PAGES) != 0 {
        return Err(reader.error("unknown flags"));
    }
    let deadline = if flags & FLAG_DEADLINE != 0 { Some(ExpireAt(reader.varint()?)) } else { None };
    let hint = if flags & FLAG_HINT != 0 { Some(ExpireAt(reader.varint()?)) } else { None };
    let pages = if flags & FLAG_PAGES != 0 { Some(Incarnation(reader.varint()?)) } else { None };
    Ok((deadline, Replaced { hint, pages }, flags & FLAG_RAW != 0))
}

fn collection_tag(reader: &mut Reader<'_>) -> Result<TypeTag, DecodeError> {
    let tag = TypeTag::from_byte(reader.u8()?).filter(|tag| *tag != TypeTag::String);
    tag.ok_or(reader.error("unknown type of collection"))
}

fn paged<'a>(reader: &mut Reader<'_>, tag: TypeTag, len_max: u64) -> Result<StringBody<'a>, DecodeError> {
    let (incarnation, len) = (Incarnation(reader.varint()?), reader.varint()?);
    if len > len_max {
        return Err(reader.error("impossible paged value"));
    }
    Ok(StringBody::Paged { tag, incarnation, len })
}

fn optional(millis: u64) -> Option<ExpireAt> {
    (millis != 0).then_some(ExpireAt(millis))
}

/// Appends the head of a record's body; the effects follow it.
pub fn put_head(out: &mut Vec<u8>, time_ms: u64, totals: &[Total]) {
    out.push(VERSION);
    put_varint(out, time_ms);
    put_varint(out, totals.len() as u64);
    for total in totals {
        put_varint(out, u64::from(total.db.0));
        out.push(total.shard.0);
        put_varint(out, total.keys);
        put_varint(out, total.expires);
    }
}

/// A decoded record body: the head, and the effects still to be read.
#[derive(Debug)]
pub struct RecordBody<'a> {
    /// When the commit was made, Unix milliseconds.
    pub time_ms: u64,
    pub totals: Vec<Total>,
    effects: Reader<'a>,
}

impl<'a> RecordBody<'a> {
    /// Decodes the head of a body.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        if reader.u8()? != VERSION {
            return Err(reader.error("unknown record version"));
        }
        let time_ms = reader.varint()?;
        let count = reader.varint()?;
        let mut totals = Vec::new();
        for _ in 0..count {
            let db = DbId(reader.varint_u32()?);
            let shard = ShardId(reader.u8()?);
            totals.push(Total { db, shard, keys: reader.varint()?, expires: reader.varint()? });
        }
        Ok(RecordBody { time_ms, totals, effects: reader })
    }

    /// The next effect; `None` at the end.
    pub fn next_effect(&mut self) -> Result<Option<Effect<'a>>, DecodeError> {
        if self.effects.is_empty() {
            return Ok(None);
        }
        read_effect(&mut self.effects).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_effect_round_trips() {
        let at = Some(ExpireAt(1_700_000_000_000));
        let old = Replaced { hint: at, pages: Some(Incarnation(1 << 40)) };
        let changes = [
            Change::Put {
                body: StringBody::Bytes(b"v"),
                deadline: at,
                old: Replaced::default(),
                is_raw: false,
            },
            Change::Put { body: StringBody::Int(i64::MIN), deadline: None, old, is_raw: true },
            Change::Delete { old },
            Change::SetDeadline { base: Lsn(7), deadline: None, old_hint: at },
            Change::Append { base: Lsn::MAX, bytes: b"" },
            Change::SetRange { base: Lsn(1), offset: 1 << 29, bytes: b"xyz" },
            Change::Put {
                body: StringBody::Paged {
                    tag: TypeTag::String,
                    incarnation: Incarnation(1 << 50),
                    len: 20 << 20,
                },
                deadline: at,
                old,
                is_raw: true,
            },
            Change::Part { incarnation: Incarnation(1 << 50), page: 8191, bytes: b"page" },
            Change::Put {
                body: StringBody::Collection { tag: TypeTag::ZSet, bytes: b"row" },
                deadline: at,
                old,
                is_raw: false,
            },
            Change::Put {
                body: StringBody::Paged { tag: TypeTag::List, incarnation: Incarnation(3), len: 2 << 30 },
                deadline: None,
                old,
                is_raw: false,
            },
            Change::Edit { base: Lsn(0), tag: TypeTag::Stream, bytes: b"edit", pages: None },
            Change::Edit { base: Lsn(9), tag: TypeTag::Set, bytes: b"", pages: old.pages },
            Change::Leave { to: b"target", old_hint: at },
            Change::Arrive { from: b"source", deadline: at, old, is_raw: true },
        ];
        let totals = [Total { db: DbId(3), shard: ShardId(63), keys: 1 << 40, expires: 0 }];
        let mut out = Vec::new();
        put_head(&mut out, 42, &totals);
        let effect = |change| Effect { operation: Operation::Set, db: DbId(9), key: b"k\0", change };
        for change in changes {
            put_effect(&mut out, &effect(change));
        }
        let map = Effect {
            operation: Operation::FlushDb,
            db: DbId(77),
            key: b"",
            change: Change::MapDb { index: DbIndex(15) },
        };
        put_effect(&mut out, &map);
        let mut body = RecordBody::decode(&out).expect("head");
        assert_eq!((body.time_ms, &body.totals[..]), (42, &totals[..]));
        for change in changes {
            assert_eq!(body.next_effect(), Ok(Some(effect(change))));
        }
        assert_eq!(body.next_effect(), Ok(Some(map)));
        assert_eq!(body.next_effect(), Ok(None));
    }

    #[test]
    fn operation_codes_and_names_are_unique() {
        for (i, a) in Operation::ALL.iter().enumerate() {
            assert_eq!(Operation::of(a.name()), Some(*a));
            assert_eq!(Operation::from_byte(*a as u8), Some(*a));
            assert!(Operation::ALL[..i].iter().all(|b| *b as u8 != *a as u8));
        }
    }

    proptest! {
        #[test]
        fn hostile_bodies_never_panic(bytes: Vec<u8>) {
            if let Ok(mut body) = RecordBody::decode(&bytes) {
                while let Ok(Some(_)) = body.next_effect() {}
            }
        }
    }
}
