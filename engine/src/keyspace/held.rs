//! Looks at shards from inside a transaction that has locked all of them.
//!
//! A command of EXEC that names no keys (INFO, DBSIZE, KEYS) looks at the keyspace through [`Store::lock`]
//! like everybody else, but the thread it runs on holds every shard's lock already. Such a transaction says
//! so here ([`Held`]), and the same call then gives out the shard without locking, to be read only: what a
//! transaction changes goes through its plan.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use parking_lot::{Mutex, MutexGuard};

use super::shard::Shard;
use super::store::Store;

thread_local! {
    /// The store whose shards this thread has all locked, and lends.
    static HOLDER: Cell<*const Store> = const { Cell::new(std::ptr::null()) };
}

/// Says that this thread has locked all shards of a store, until it is dropped.
pub struct Held {
    before: *const Store,
    /// It belongs to the thread that made it.
    _thread: PhantomData<*const ()>,
}

impl Held {
    /// Has [`Store::lock`] lend shards that are locked already.
    ///
    /// # Safety
    /// As long as this lives, the calling thread holds the locks of all shards. While anything that may call
    /// [`Store::lock`] runs, and while what that returned lives, no `&mut Shard` of these shards is used.
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
    /// A transaction of this thread has locked it.
    Lent(&'s Shard),
}

/// Locks a shard, or borrows it from this thread's transaction.
#[inline]
pub(super) fn lock<'s>(store: &Store, shard: &'s Mutex<Shard>) -> ShardGuard<'s> {
    if std::ptr::eq(HOLDER.get(), store) {
        return ShardGuard::Lent(lend(shard));
    }
    ShardGuard::Locked(shard.lock())
}

#[cold]
fn lend(shard: &Mutex<Shard>) -> &Shard {
    // SAFETY: there is a `Held` of this thread. So
    // - no other thread has a reference: this thread holds the lock. The guard that the reference is put
    //   into does not leave the thread, and it ends before the lock does: only code that runs inside of the
    //   transaction gets here (`Store::lock` is the engine's own), and none of it returns or keeps a guard.
    // - this thread has shared references only: `Held::new` promises that nobody uses a `&mut Shard`
    //   meanwhile, and none comes from here.
    unsafe { &*shard.data_ptr() }
}

impl Deref for ShardGuard<'_> {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        match self {
            ShardGuard::Locked(guard) => guard,
            ShardGuard::Lent(shard) => shard,
        }
    }
}

impl DerefMut for ShardGuard<'_> {
    /// # Panics
    /// For a shard that a transaction of this thread has locked. Nothing has changed then, and the command
    /// fails: a programming error.
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        match self {
            ShardGuard::Locked(guard) => guard,
            ShardGuard::Lent(_) => panic!("inside of a transaction shards change by its plan only"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;
    use crate::ids::{Lsn, ShardId};
    use crate::tier::memory::MemoryStore;

    fn store() -> Store {
        Store::new(7, 1, Arc::new(MemoryStore::new()), 1 << 20)
    }

    /// Small enough for Miri, which finds references that must not live at once.
    #[test]
    fn a_thread_that_has_all_locks_looks_at_shards_without_locking() {
        let (store, other) = (store(), store());
        store.lock(ShardId(3)).gone_lsn = Lsn(5);
        let guards: Vec<_> = Store::shard_ids().map(|id| store.shard(id).lock()).collect();
        // SAFETY: the locks are held, and `guards` is not used until `held` is gone.
        let held = unsafe { Held::new(&store) };
        let (first, again) = (store.lock(ShardId(3)), store.lock(ShardId(3)));
        assert_eq!((first.gone_lsn, again.gone_lsn), (Lsn(5), Lsn(5)));
        drop((first, again));
        let change = || store.lock(ShardId(3)).gone_lsn = Lsn(6);
        assert!(catch_unwind(AssertUnwindSafe(change)).is_err());
        assert!(matches!(other.lock(ShardId(0)), ShardGuard::Locked(_)), "another store is locked");
        drop(held);
        drop(guards);
        assert!(matches!(store.lock(ShardId(3)), ShardGuard::Locked(_)));
        assert_eq!(store.lock(ShardId(3)).gone_lsn, Lsn(5));
    }

    #[test]
    fn another_thread_waits_for_the_locks() {
        let store = store();
        let guards: Vec<_> = Store::shard_ids().map(|id| store.shard(id).lock()).collect();
        // SAFETY: as above.
        let held = unsafe { Held::new(&store) };
        std::thread::scope(|scope| {
            let is_locked = scope.spawn(|| store.shard(ShardId(0)).try_lock().is_none());
            assert!(is_locked.join().expect("it does not panic"));
            let waits = scope.spawn(|| matches!(store.lock(ShardId(0)), ShardGuard::Locked(_)));
            drop(held);
            drop(guards);
            assert!(waits.join().expect("it does not panic"));
        });
    }
}
