//! Edits of collections, and the deadlines of elements that they move.
//!
//! The soonest deadline of a key's elements is what the reaper has to know: after each edit the caller hears
//! if it came closer, and which hint row is wrong now. Only hashes have such deadlines.

use super::entry::{Body, flag};
use super::hash::KeyHash;
use super::shard::{Applied, Origin, Shard, bad_edit};
use crate::error::Result;
use crate::ids::{ExpireAt, Lsn};
use crate::value::collection::{Collection, Held};
use crate::value::{TypeTag, Value};
use crate::wal::effect::{Change, Effect};

impl Shard {
    /// Applies the first edit of a collection.
    pub(super) fn create_collection(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        tag: TypeTag,
        bytes: &[u8],
        lsn: Lsn,
        origin: Origin,
    ) -> Result<Applied> {
        let mut collection = Collection::new(tag).ok_or_else(|| bad_edit(effect, "not a collection"))?;
        collection.apply(bytes).map_err(|error| bad_edit(effect, error.what))?;
        let body = Body::Boxed(Value::Collection(Held::new(collection)));
        self.put(hash, effect, body, None, false, lsn, origin);
        let element_deadline = self.element_deadline(hash, effect);
        Ok(Applied { element_deadline, ..Applied::default() })
    }

    /// Applies an edit to a collection that is there.
    pub(super) fn apply_edit(
        &mut self,
        hash: KeyHash,
        effect: &Effect<'_>,
        lsn: Lsn,
        origin: Origin,
    ) -> Result<Applied> {
        let Change::Edit { base, tag, bytes, pages } = effect.change else { return Ok(Applied::default()) };
        if let Some(pages) = pages {
            self.dead_pages.push((effect.db, pages, lsn));
        }
        let looks = tag == TypeTag::Hash;
        let before = if looks { self.element_deadline(hash, effect) } else { None };
        let may_have_row = before.is_some() && self.may_have_row(hash, effect);
        match base {
            Lsn(0) => self.edit_collection(hash, effect, lsn, bytes)?,
            _ => self.delta(hash, effect, lsn, origin)?,
        }
        let after = if looks { self.element_deadline(hash, effect) } else { None };
        let is_sooner = |at: &ExpireAt| before.is_none_or(|before| *at < before);
        Ok(Applied {
            element_deadline: after.filter(is_sooner),
            stale_element_hint: before.filter(|_| may_have_row && before != after),
            ..Applied::default()
        })
    }

    /// When the next element of the effect's key expires, as far as memory knows.
    pub(super) fn element_deadline(&self, hash: KeyHash, effect: &Effect<'_>) -> Option<ExpireAt> {
        self.db(effect.db)?.table.find(hash, effect.key)?.element_deadline()
    }

    /// Whether the cold tier may know the effect's key.
    fn may_have_row(&self, hash: KeyHash, effect: &Effect<'_>) -> bool {
        let part = self.db(effect.db);
        let entry = part.and_then(|part| part.table.find(hash, effect.key));
        entry.is_some_and(|entry| entry.flags() & (flag::COLD | flag::IN_FLIGHT) != 0)
    }
}
