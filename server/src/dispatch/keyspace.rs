//! The keyspace as handlers see it: the methods of [`Context`] that read and change keys.
//!
//! They run in the command's transaction. What it cannot answer now - a record that is not in
//! memory, a shard that is not locked - comes as [`CommandError::Interrupted`]; the handler passes
//! it on with `?` and is run again. A handler reads a key before it changes it.
//!
//! Walks over all keys (KEYS, SCAN, RANDOMKEY) are no part of the transaction: they belong to
//! commands that name no keys and hold no locks. As soon as keys may be on disk they run on a
//! blocking thread. KEYS reads a snapshot, the others see what happens meanwhile.

use lux_engine::error::Error;
use lux_engine::ids::{DbIndex, ExpireAt};
use lux_engine::keyspace::scan::ScanStep;
use lux_engine::snapshot::Detail;
use lux_engine::txn::{Found, Header, ValueRef};
use lux_engine::value::TypeTag;
use lux_engine::value::collection::Collection;
use lux_engine::value::hash::HashValue;
use lux_engine::value::list::ListValue;
use lux_engine::value::set::SetValue;
use lux_engine::value::stream::StreamValue;
use lux_engine::value::zset::ZSetValue;
use lux_engine::wal::effect::{Operation, StringBody};

use super::context::Context;
use super::reply::CommandError;
use super::reply_errors as errors;
use super::string_ref::StringRef;

type Result<T> = std::result::Result<T, CommandError>;

impl Context<'_> {
    /// Reads a key of any type; counts as an access unless the client said CLIENT NO-TOUCH.
    #[inline]
    pub fn lookup(&mut self, key: &[u8]) -> Result<Option<Found<'_>>> {
        let touches = !self.session.no_touch;
        Ok(if touches { self.txn().lookup(key)? } else { self.txn().peek(key)? })
    }

    /// What is known of a key without reading its value. Counts as an access unless the client said
    /// CLIENT NO-TOUCH.
    pub fn header(&mut self, key: &[u8]) -> Result<Option<Header>> {
        let touches = !self.session.no_touch;
        Ok(self.txn().header(key, touches)?)
    }

    /// Like [`Context::header`]; counts as an access whatever the client said.
    pub fn touch(&mut self, key: &[u8]) -> Result<Option<Header>> {
        Ok(self.txn().header(key, true)?)
    }

    /// Like [`Context::header`]; does not count as an access.
    pub fn peek(&mut self, key: &[u8]) -> Result<Option<Header>> {
        Ok(self.txn().header(key, false)?)
    }

    /// Reads a string; `WRONGTYPE` if the key holds something else. Counts as an access.
    #[inline]
    pub fn string(&mut self, key: &[u8]) -> Result<Option<StringRef<'_>>> {
        match self.lookup(key)? {
            Some(found) => StringRef::of(&found).map(Some).ok_or(errors::WRONG_TYPE),
            None => Ok(None),
        }
    }

    /// Reads a hash; `WRONGTYPE` if the key holds something else. Counts as an access, like the four below.
    #[inline]
    pub fn hash(&mut self, key: &[u8]) -> Result<Option<&HashValue>> {
        match self.lookup(key)?.map(|found| found.value) {
            None => Ok(None),
            Some(ValueRef::Collection(Collection::Hash(hash))) => Ok(Some(hash)),
            Some(_) => Err(errors::WRONG_TYPE),
        }
    }

    /// Reads a list.
    #[inline]
    pub fn list(&mut self, key: &[u8]) -> Result<Option<&ListValue>> {
        match self.lookup(key)?.map(|found| found.value) {
            None => Ok(None),
            Some(ValueRef::Collection(Collection::List(list))) => Ok(Some(list)),
            Some(_) => Err(errors::WRONG_TYPE),
        }
    }

    /// Reads a set.
    #[inline]
    pub fn set(&mut self, key: &[u8]) -> Result<Option<&SetValue>> {
        match self.lookup(key)?.map(|found| found.value) {
            None => Ok(None),
            Some(ValueRef::Collection(Collection::Set(set))) => Ok(Some(set)),
            Some(_) => Err(errors::WRONG_TYPE),
        }
    }

    /// Reads a sorted set.
    #[inline]
    pub fn zset(&mut self, key: &[u8]) -> Result<Option<&ZSetValue>> {
        match self.lookup(key)?.map(|found| found.value) {
            None => Ok(None),
            Some(ValueRef::Collection(Collection::ZSet(zset))) => Ok(Some(zset)),
            Some(_) => Err(errors::WRONG_TYPE),
        }
    }

    /// Reads a stream.
    #[inline]
    pub fn stream(&mut self, key: &[u8]) -> Result<Option<&StreamValue>> {
        match self.lookup(key)?.map(|found| found.value) {
            None => Ok(None),
            Some(ValueRef::Collection(Collection::Stream(stream))) => Ok(Some(stream)),
            Some(_) => Err(errors::WRONG_TYPE),
        }
    }

    /// Reads several keys at one moment, each `None` if it does not exist or its value. Counts as accesses.
    pub fn lookup_all<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> Result<Vec<Option<ValueRef<'_>>>> {
        let touches = !self.session.no_touch;
        Ok(self.txn().lookup_all(keys, touches)?)
    }

    /// Sees to it that keys whose values the command reads can be looked up: fetches all that are not in
    /// memory at once, however large they are and whether the arguments name them or not.
    pub fn gather<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]> + Clone) -> Result<()> {
        Ok(self.txn().gather(keys)?)
    }

    /// Like [`Context::lookup`] of one of several keys whose values the command reads: if it is not in
    /// memory, all that are not are fetched at once.
    #[inline]
    pub fn lookup_among<'k>(
        &mut self,
        key: &[u8],
        keys: impl Iterator<Item = &'k [u8]> + Clone,
    ) -> Result<Option<Found<'_>>> {
        let touches = !self.session.no_touch;
        Ok(self.txn().lookup_among(key, keys, touches)?)
    }

    /// Changes a collection that was looked up by an edit of its type; a key that does not exist is an
    /// empty collection first. A command whose edit takes the last element deletes the key as well.
    #[inline]
    pub fn edit(&mut self, key: &[u8], tag: TypeTag, edit: &[u8]) -> Result<()> {
        Ok(self.txn().edit_collection(key, tag, edit)?)
    }

    /// Stores a collection, as its type encodes it, whatever the key held. None may be vacant.
    pub fn put_collection(
        &mut self,
        key: &[u8],
        tag: TypeTag,
        encoded: &[u8],
        deadline: Option<ExpireAt>,
    ) -> Result<()> {
        let db = self.db();
        Ok(self.txn().put_collection_in(db, key, tag, encoded, deadline)?)
    }

    /// Whether a key exists.
    pub fn exists(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.txn().exists(key)?)
    }

    /// Whether a key of any database exists.
    pub fn exists_in(&mut self, db: DbIndex, key: &[u8]) -> Result<bool> {
        Ok(self.txn().exists_in(db, key)?)
    }

    /// Names the operation that events of the following changes carry, instead of the command.
    pub fn set_operation(&mut self, operation: Operation) {
        self.txn().set_operation(operation);
    }

    /// Stores a string whatever the key held, with this deadline and no other. `is_raw`: it was made
    /// by editing, which OBJECT ENCODING shows.
    #[inline]
    pub fn put_string(
        &mut self,
        key: &[u8],
        body: StringBody<'_>,
        deadline: Option<ExpireAt>,
        is_raw: bool,
    ) -> Result<()> {
        Ok(self.txn().put_string(key, body, deadline, is_raw)?)
    }

    /// Like [`Context::put_string`] in any database.
    pub fn put_string_in(
        &mut self,
        db: DbIndex,
        key: &[u8],
        body: StringBody<'_>,
        deadline: Option<ExpireAt>,
        is_raw: bool,
    ) -> Result<()> {
        Ok(self.txn().put_string_in(db, key, body, deadline, is_raw)?)
    }

    /// Deletes a key; whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.txn().delete(key)?)
    }

    /// Moves a large value to another key, unread. `false`: it is small, store it and delete the source.
    pub fn move_value(&mut self, from: &[u8], to: &[u8]) -> Result<bool> {
        Ok(self.txn().move_value(from, to)?)
    }

    /// Sets or removes the deadline of a key that was looked up.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<ExpireAt>) -> Result<()> {
        Ok(self.txn().set_deadline(key, deadline)?)
    }

    /// Says for how many seconds a key that was just put was not used, or how often it was, whichever
    /// the policy goes by.
    pub fn set_usage(&mut self, db: DbIndex, key: &[u8], idle_seconds: Option<u64>, uses: Option<u8>) {
        self.txn().set_usage(db, key, idle_seconds, uses);
    }

    /// Appends to a string that was looked up. Only the new bytes are logged.
    pub fn append(&mut self, key: &[u8], bytes: &[u8]) -> Result<()> {
        Ok(self.txn().append(key, bytes)?)
    }

    /// Overwrites bytes of a string that was looked up or put, filling a gap with zeros. Only these
    /// bytes are logged.
    pub fn set_range(&mut self, key: &[u8], offset: usize, bytes: &[u8]) -> Result<()> {
        Ok(self.txn().set_range(key, offset, bytes)?)
    }

    /// Deletes all keys of the databases. The command's spec has `ALL_SHARDS`.
    pub fn flush(&mut self, databases: &[DbIndex]) {
        self.txn().flush(databases);
    }

    /// Exchanges two databases. The command's spec has `ALL_SHARDS`.
    pub fn swap(&mut self, a: DbIndex, b: DbIndex) -> Result<()> {
        self.txn().touch_swapped(a, b)?;
        self.txn().swap(a, b);
        Ok(())
    }

    /// How many keys the command's database holds, in memory and on disk.
    pub fn key_count(&mut self) -> Result<u64> {
        let db = self.db();
        if self.is_inside() {
            self.txn().look_around()?;
            return Ok(self.txn().key_count(db));
        }
        let count = self.engine().key_counts(db).0;
        self.observe(self.engine().wal().last_lsn());
        Ok(count)
    }

    /// One step of a walk over the command's database: about `count` keys from position `from`.
    pub fn scan(&mut self, from: u32, count: u64) -> Result<ScanStep> {
        if self.is_inside() {
            return self.scan_inside(from, count);
        }
        let (engine, db) = (self.engine().clone(), self.db());
        let (lsn, step) = self.walk(move || {
            let step = engine.scan(db, from, count)?;
            Ok((engine.wal().last_lsn(), step))
        })?;
        self.observe(lsn);
        Ok(step)
    }

    /// The same in a transaction of several commands, with what those before did.
    fn scan_inside(&mut self, from: u32, count: u64) -> Result<ScanStep> {
        let db = self.db();
        self.txn().look_around()?;
        self.observe(self.engine().wal().last_lsn());
        Ok(self.txn().scan(db, from, count)?)
    }

    /// All keys of the command's database that `picks` picks, as of one moment.
    pub fn keys(&mut self, picks: impl Fn(&[u8]) -> bool + Send + 'static) -> Result<Vec<Vec<u8>>> {
        /// Keys per step: enough to make the locks cheap, few enough to hold them shortly.
        const STEP: u64 = 1024;
        let (mut picked, mut next) = (Vec::new(), Some(0));
        if self.is_inside() {
            while let Some(from) = next {
                let step = self.scan_inside(from, STEP)?;
                picked.extend(step.keys.into_iter().map(|(key, _)| key).filter(|key| picks(key)));
                next = step.next;
            }
            return Ok(picked);
        }
        let (engine, db) = (self.engine().clone(), self.db());
        let (lsn, picked) = self.walk(move || {
            let snapshot = engine.snapshot(Detail::Names)?;
            while let Some(from) = next {
                let step = snapshot.keys(db, from, STEP)?;
                picked.extend(step.keys.into_iter().map(|(key, _)| key).filter(|key| picks(key)));
                next = step.next;
            }
            Ok((snapshot.lsn(), picked))
        })?;
        self.observe(lsn);
        Ok(picked)
    }

    /// A key of the command's database by chance; `None` if there is none.
    pub fn random_key(&mut self) -> Result<Option<Vec<u8>>> {
        if self.is_inside() {
            return self.random_key_inside();
        }
        let (engine, db, random) = (self.engine().clone(), self.db(), self.random());
        let (lsn, key) = self.walk(move || {
            let key = engine.random_key(db, random)?;
            Ok((engine.wal().last_lsn(), key))
        })?;
        self.observe(lsn);
        Ok(key)
    }

    /// The same in a transaction of several commands: one of the keys that follow a place by chance.
    fn random_key_inside(&mut self) -> Result<Option<Vec<u8>>> {
        /// Keys of which one is taken: neighbours in bucket order have unequal gaps before them.
        const AMONG: u64 = 64;
        let mut random = self.random();
        let mut step = self.scan_inside(random(1 << 32) as u32, AMONG)?;
        if step.keys.is_empty() {
            step = self.scan_inside(0, AMONG)?;
        }
        let nth = random(step.keys.len().max(1) as u64) as usize;
        Ok(step.keys.into_iter().nth(nth).map(|(key, _)| key))
    }

    /// Runs a walk here while everything is in memory, else where it may wait for the disk.
    fn walk<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> std::result::Result<T, Error> + Send + 'static,
    ) -> Result<T> {
        let result = if self.engine().is_all_resident() { work() } else { self.offload(work)? };
        result.map_err(|error| errors::engine(&error))
    }
}
