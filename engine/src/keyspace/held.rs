//! Looks at shards from inside a transaction that has locked all of them.
//!
//! A command of EXEC that names no keys (INFO, DBSIZE, KEYS) looks at the keyspace through [`Store::lock`]
//! like everybody else, but the thread it runs on holds every shard's lock already. Such a transaction says
//! so here ([`Held`]), and the same call then gives out the shard without locking.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use parking_lot::{Mutex, MutexGuard};

use super::shard::Shard;
use super::store::Store;

thread_local! {
    /// The store whose shards this thread has all locked, and gives out again.
    static HOLDER: Cell<*const Store> = const { Cell::new(std::ptr::null()) };
}

/// Says that this thread has locked all shards of a store, until it is dropped.
pub struct Held {
    before: *const Store,
    /// It belongs to the thread that made it.
    _thread: PhantomData<*const ()>,
}

impl Held {
    /// Has [`Store::lock`] give out shards that are locked already.
    ///
    /// # Safety
    /// The calling thread holds the locks of all shards and keeps no reference to a shard while it calls what
    /// may lock one. It drops this before it unlocks.
    #[must_use]
    pub unsafe fn new(store: &Store) -> Held {
        Held { before: HOLDER.replace(std::ptr::from_ref(store)), _thread: PhantomData }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HOLDER.set(self.before);
    }
}

/// Access to a shard.
pub enum ShardGuard<'s> {
    Locked(MutexGuard<'s, Shard>),
    /// Its lock is held by a transaction of this thread.
    Within(&'s mut Shard),
}

#[inline]
pub(super) fn lock<'s>(store: &Store, shard: &'s Mutex<Shard>) -> ShardGuard<'s> {
    if std::ptr::eq(HOLDER.get(), store) {
        // SAFETY: `Held::new` promises that this thread holds the lock and that no reference is alive. Callers
        // of `Store::lock` would deadlock if they locked a shard twice, so they make one reference at a time.
        return ShardGuard::Within(unsafe { &mut *shard.data_ptr() });
    }
    ShardGuard::Locked(shard.lock())
}

impl Deref for ShardGuard<'_> {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        match self {
            ShardGuard::Locked(guard) => guard,
            ShardGuard::Within(shard) => shard,
        }
    }
}

impl DerefMut for ShardGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        match self {
            ShardGuard::Locked(guard) => guard,
            ShardGuard::Within(shard) => shard,
        }
    }
}
