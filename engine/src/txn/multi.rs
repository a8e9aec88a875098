//! Several commands in one transaction (MULTI, scripts): each sees what those before it changed, all of them
//! are one record, and until it is appended nothing has happened.
//!
//! The shards stay as they are until the commit, as with a single command. A command that reads a key which
//! an earlier one changed gets its state from an *overlay*, a shard that only this transaction sees:
//!
//! ```text
//! effects   | put a | edit z | edit z | delete b | edit z |         private, one buffer
//!              ^       ^-------'^-----------------' links of z, newest first
//! overlay   z = copy of the shard's z + its edits so far            made at the first such read
//! ```
//!
//! A key is copied when it is read again after a change, not before: MULTI with blind writes copies nothing.
//! From then on each of its effects is applied to the copy as well. What was put or deleted as a whole is not
//! copied but made of its effects.
//!
//! So a transaction of several commands can still be given up at any point: for a record that is not in
//! memory, a shard that is not locked, a large value to be built, room in the log. It runs again from its
//! first command. And a command that fails takes back its own part ([`Txn::undo_command`]) and leaves the
//! others.

use std::collections::HashMap;

use super::plan::LINEAR_MAX;
use super::{Core, Interrupt, Mode, Operation, Scratch, TotalChange, Touched, Txn};
use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::ids::{DbId, DbIndex, Incarnation, Lsn};
use crate::keyspace::entry::Entry;
use crate::keyspace::hash::KeyHash;
use crate::keyspace::held::Held;
use crate::keyspace::shard::{Origin, Shard};
use crate::keyspace::usage::UsedAt;
use crate::tier::promote::read_stored;
use crate::value::TypeTag;
use crate::wal::effect::{Change, Effect, StringBody, read_effect};

/// The LSN of states in the overlay: their commit has none yet.
const PLANNED: Lsn = Lsn::MAX;

/// Rounds that missed something after which all commands of a transaction read the cold tier under the locks.
const ROUNDS_MAX: u32 = 16;

/// Room for the head of a record, and for each total in it, bytes.
const HEAD_MAX: usize = 64;
const TOTAL_MAX: usize = 32;

/// What a transaction of several commands keeps besides its effects.
#[derive(Default)]
pub(super) struct Multi {
    overlay: Option<Box<Shard>>,
    /// The effects of each key, as lists.
    links: Vec<Link>,
    /// Where the effect that is being planned starts.
    next_start: usize,
    /// What the current command found.
    before: Savepoint,
    /// States of keys that it changed and that were changed before, oldest first.
    journal: Vec<(usize, Touched)>,
    /// Values that are pages already; the overlay wants their bytes.
    large: HashMap<Incarnation, Box<[u8]>>,
    /// How many keyed effects there were after each command.
    ends: Vec<usize>,
}

/// One effect of a key.
#[derive(Clone, Copy)]
struct Link {
    start: usize,
    /// The one before it, as `Touched::last_link`.
    previous: u32,
}

/// What there was before a command.
#[derive(Default)]
struct Savepoint {
    effects: usize,
    hashes: usize,
    touched: usize,
    links: usize,
    totals: Vec<TotalChange>,
    expiries: usize,
    remaps: usize,
    usages: usize,
    planned: usize,
}

impl Multi {
    /// How many keyed effects there were after each command.
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Keeps the bytes of a value that its effect names by its pages only.
    pub fn keep_large(&mut self, incarnation: Incarnation, bytes: &[u8]) {
        self.large.insert(incarnation, Box::from(bytes));
    }
}

impl Touched {
    fn state(&self) -> Touched {
        Touched { ..*self }
    }
}

impl Core {
    /// Starts a transaction of several commands. Call [`Txn::begin_command`] before each, and after it
    /// [`Txn::end_command`] or, if it failed, [`Txn::undo_command`]. An interrupt is one of the whole
    /// transaction.
    ///
    /// Commands that look at the keyspace by other ways than this transaction begin with
    /// [`Txn::look_around`].
    pub fn begin_multi<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
    ) -> Txn<'e> {
        let txn = self.begin(scratch, db, keys, mode, now_ms);
        self.share(txn)
    }

    /// Like [`Core::begin_multi`], for those who do not wait ([`Core::try_begin`]).
    pub fn try_begin_multi<'e>(
        &'e self,
        scratch: &'e mut Scratch,
        db: DbIndex,
        keys: &'e [&'e [u8]],
        mode: Mode,
        now_ms: u64,
    ) -> Option<Txn<'e>> {
        let txn = self.try_begin(scratch, db, keys, mode, now_ms)?;
        Some(self.share(txn))
    }

    /// Lets several commands share a transaction that has just begun.
    fn share<'e>(&'e self, mut txn: Txn<'e>) -> Txn<'e> {
        // A script may name one key after the other; each costs a round of all that it did before.
        txn.reads_synchronously |= txn.scratch.rounds >= ROUNDS_MAX && txn.locked == u64::MAX;
        if txn.scratch.rounds + 1 >= ROUNDS_MAX {
            txn.scratch.wants_all = true;
        }
        txn.scratch.multi = Some(Box::default());
        txn.is_multi = true;
        if txn.locked == u64::MAX {
            // SAFETY: `begin` locked all shards on this thread. `Held` is no `Send`, and neither is the
            // transaction with it, so they stay on it. `unlock` and `drop_overlay` drop it before anything is
            // unlocked or changed. Up to there a `&mut Shard` of this transaction lives for one expression
            // (`Txn::shard`), which calls nothing that locks shards: without `Held` it would wait for itself.
            txn.held = Some(unsafe { Held::new(&self.store) });
        }
        txn
    }
}

impl<'e> Txn<'e> {
    /// Starts a command in a database. Its changes are called `operation`.
    pub fn begin_command(&mut self, db: DbIndex, operation: Operation) {
        self.db = db;
        self.operation = operation;
        let Scratch { multi, effects, hashes, touched, totals, builds, .. } = &mut *self.scratch;
        let Some(multi) = multi else { return };
        multi.journal.clear();
        let before = &mut multi.before;
        before.totals.clone_from(totals);
        (before.effects, before.hashes, before.touched) = (effects.len(), hashes.len(), touched.len());
        (before.links, before.expiries) = (multi.links.len(), self.expiries);
        (before.remaps, before.usages) = (self.remaps.len(), self.usages.len());
        before.planned = builds.as_ref().map_or(0, |builds| builds.planned.len());
    }

    /// Ends a command that succeeded.
    ///
    /// # Errors
    /// With its effects the commit would be larger than one may be. The command did nothing.
    pub fn end_command(&mut self) -> Result<()> {
        let limit = self.core.commit_max.load(std::sync::atomic::Ordering::Relaxed);
        let bytes = self.scratch.effects.len() + HEAD_MAX + TOTAL_MAX * self.scratch.totals.len();
        let has_grown =
            self.scratch.multi.as_ref().is_some_and(|m| m.before.effects < self.scratch.effects.len());
        if bytes > limit && has_grown {
            self.undo_command();
            return Err(Error::TooLarge { what: "transaction", bytes: bytes as u64, limit: limit as u64 });
        }
        let count = self.scratch.hashes.len();
        if let Some(multi) = &mut self.scratch.multi {
            multi.ends.push(count);
        }
        Ok(())
    }

    /// Takes back what the current command planned.
    pub fn undo_command(&mut self) {
        self.failure = None;
        let Scratch { multi, effects, hashes, touched, touched_index, totals, builds, .. } =
            &mut *self.scratch;
        let Some(multi) = multi else { return };
        let before = &multi.before;
        if effects.len() > before.effects {
            for (at, state) in multi.journal.drain(..).rev() {
                touched[at] = state;
            }
            effects.truncate(before.effects);
            hashes.truncate(before.hashes);
            totals.clone_from(&before.totals);
            multi.links.truncate(before.links);
            self.expiries = before.expiries;
            self.remaps.truncate(before.remaps);
            if let Some(builds) = builds {
                builds.planned.truncate(before.planned);
            }
            // Copies may have the command's effects: they are made anew when somebody reads them.
            multi.overlay = None;
            touched.truncate(before.touched);
            touched.iter_mut().for_each(|touched| touched.is_copied = false);
            touched_index.clear();
            if touched.len() > LINEAR_MAX {
                self.scratch.index_touched(0);
            }
        }
        let usages = self.scratch.multi.as_ref().map_or(0, |multi| multi.before.usages);
        self.usages.truncate(usages);
        let count = self.scratch.hashes.len();
        if let Some(multi) = &mut self.scratch.multi {
            multi.ends.push(count);
        }
    }

    /// What a database number means to this transaction.
    #[inline]
    pub(super) fn mapped(&self, index: DbIndex) -> DbId {
        let own = self.remaps.iter().rev().find(|(changed, ..)| *changed == index);
        own.map_or_else(|| self.core.store.db_id(index), |(_, id, _)| *id)
    }

    /// Whether commands share it.
    #[must_use]
    pub fn is_multi(&self) -> bool {
        self.is_multi
    }

    /// The type of a key that this transaction changed.
    pub(super) fn changed_tag(&mut self, hash: KeyHash, db: DbId, key: &[u8]) -> Option<TypeTag> {
        self.changed(hash, db, key, false).ok().and_then(Entry::type_tag)
    }

    /// The next effect starts here.
    #[inline]
    pub(super) fn link_next(&mut self) {
        if let Some(multi) = &mut self.scratch.multi {
            multi.next_start = self.scratch.effects.len();
        }
    }

    /// Keeps the state of a key that is about to change again.
    #[inline]
    pub(super) fn keep_touched(&mut self, at: usize) {
        let Scratch { multi, touched, .. } = &mut *self.scratch;
        if let Some(multi) = multi
            && at < multi.before.touched
        {
            multi.journal.push((at, touched[at].state()));
        }
    }

    /// Notes that the effect just planned is one of a changed key.
    #[inline]
    pub(super) fn link(&mut self, hash: KeyHash, at: usize) {
        let Scratch { multi, touched, effects, .. } = &mut *self.scratch;
        let Some(multi) = multi else { return };
        let touched = &mut touched[at];
        let start = multi.next_start;
        multi.links.push(Link { start, previous: touched.last_link });
        touched.last_link = multi.links.len() as u32;
        if touched.is_copied {
            multi.apply(effects, hash, start, self.now_ms);
        }
    }

    /// The state of a key that this transaction changed and that exists.
    pub(super) fn changed(
        &mut self,
        hash: KeyHash,
        db: DbId,
        key: &[u8],
        needs_bytes: bool,
    ) -> Result<&Entry, Interrupt> {
        assert!(self.is_multi, "a command reads a key before it changes it");
        let at = self.touched_at(hash, db, key).expect("the caller found it");
        if !self.scratch.touched[at].is_copied {
            self.copy(hash, db, key, at);
        }
        let stored_at = self.copied(hash, db, key).and_then(Entry::stored_at).filter(|_| needs_bytes);
        if let Some(stored_at) = stored_at {
            if !self.reads_synchronously {
                self.scratch.missing.push((db, Box::from(key)));
                return Err(Interrupt);
            }
            let read = read_stored(&self.core.store, None, db, &stored_at, key);
            let overlay = self.scratch.multi.as_mut().and_then(|multi| multi.overlay.as_mut());
            let overlay = overlay.expect("the key was copied");
            let loaded =
                read.and_then(|content| overlay.load(hash, db, key, stored_at.incarnation(), content));
            if let Err(error) = loaded {
                self.failure = Some(error);
                return Err(Interrupt);
            }
        }
        Ok(self.copied(hash, db, key).expect("a changed key that exists is in the overlay"))
    }

    /// A key's entry in the overlay.
    pub(super) fn copied(&self, hash: KeyHash, db: DbId, key: &[u8]) -> Option<&Entry> {
        let overlay = self.scratch.multi.as_ref()?.overlay.as_ref()?;
        overlay.db(db)?.table.find(hash, key)
    }

    /// Brings a changed key into the overlay.
    fn copy(&mut self, hash: KeyHash, db: DbId, key: &[u8], at: usize) {
        let core = self.core;
        let mut copy = None;
        if !self.starts_anew(at) {
            let entry = self.shard(hash.shard).db(db).and_then(|part| part.table.find(hash, key));
            copy = entry.filter(|entry| entry.is_value()).map(Entry::copy);
        }
        let Scratch { multi, touched, effects, .. } = &mut *self.scratch;
        let Some(multi) = multi else { return };
        let overlay = multi.overlay.get_or_insert_with(|| Box::new(Shard::new(core.store.hasher)));
        if let Some(copy) = copy {
            overlay.adopt(db, hash, copy);
        }
        let mut starts = Vec::new();
        let mut link = touched[at].last_link;
        while let Some(at) = link.checked_sub(1) {
            let Link { start, previous } = multi.links[at as usize];
            starts.push(start);
            link = if is_absolute(effects, start) { 0 } else { previous };
        }
        for start in starts.into_iter().rev() {
            multi.apply(effects, hash, start, self.now_ms);
        }
        touched[at].is_copied = true;
    }

    /// Whether the state of a changed key has nothing of what the shard holds.
    fn starts_anew(&self, at: usize) -> bool {
        let Some(multi) = &self.scratch.multi else { return false };
        let mut link = self.scratch.touched[at].last_link;
        while let Some(at) = link.checked_sub(1) {
            let Link { start, previous } = multi.links[at as usize];
            if is_absolute(&self.scratch.effects, start) {
                return true;
            }
            link = previous;
        }
        false
    }

    /// Nobody reads what was planned any more.
    #[inline]
    pub(super) fn drop_overlay(&mut self) {
        self.held = None;
        if let Some(multi) = &mut self.scratch.multi {
            multi.overlay = None;
            multi.large = HashMap::new();
        }
    }
}

/// Whether an effect makes the whole state of its key.
fn is_absolute(effects: &[u8], start: usize) -> bool {
    matches!(effect_at(effects, start).change, Change::Put { .. } | Change::Delete { .. })
}

fn effect_at(effects: &[u8], start: usize) -> Effect<'_> {
    read_effect(&mut Reader::new(&effects[start..])).expect("encoded by this transaction")
}

impl Multi {
    /// Applies an effect to the overlay.
    fn apply(&mut self, effects: &[u8], hash: KeyHash, start: usize, now_ms: u64) {
        let Some(overlay) = &mut self.overlay else { return };
        let mut effect = effect_at(effects, start);
        if let Change::Put { body: StringBody::Paged { tag, incarnation, .. }, deadline, old, is_raw } =
            effect.change
            && let Some(bytes) = self.large.get(&incarnation)
        {
            let body = match tag {
                TypeTag::String => StringBody::Bytes(bytes),
                tag => StringBody::Collection { tag, bytes },
            };
            effect.change = Change::Put { body, deadline, old, is_raw };
        }
        overlay.now = UsedAt::new(now_ms);
        overlay
            .apply(hash, &effect, PLANNED, Origin::Live)
            .expect("it was planned for the state that the overlay has");
    }
}
