//! Hashes: fields with values, each of which may have a deadline of its own.
//!
//! A hash begins *packed*: one allocation, fields in the order in which they were added (`packed`). What
//! makes it too large by Redis's limits, in number of fields or in the length of one part, turns it into
//! a tree in the order of the names' hashes (`large`), and that it stays. OBJECT ENCODING says
//! `listpack`, `listpackex` (packed, and a field has a deadline) or `hashtable`.
//!
//! Commands read (here) or plan (`plan` for values, `expire` for deadlines); plans write an edit
//! (`edit`), which is logged and applied. Stored forms are in `codec`, making a hash from scratch in
//! `build`.
//!
//! **Deadlines.** A field past its deadline is never visible: every read and every plan takes the time
//! and treats such a field as absent. It still takes up memory until it is reaped
//! ([`HashValue::plan_reap`]) or overwritten, and only [`HashValue::len`] counts it. If no field is
//! visible any more the hash is over, although it is not vacant yet.
//!
//! | operation | packed, n bytes | large, n fields |
//! |---|---|---|
//! | get, set, remove, deadline of a field | O(n) | O(log n) |
//! | number of fields, next deadline | O(1) | O(1) |
//! | number of visible fields | O(1), O(n) when some are due | O(1 + due), O(1) when none is left |
//! | random field | O(n) | O(log n + due) |
//! | all fields | O(n) | O(n) |
//! | scan | all at once | O(log n + count) |

mod build;
mod codec;
mod edit;
mod expire;
mod large;
mod packed;
mod plan;
#[cfg(test)]
mod tests;

pub use build::HashBuilder;
pub use edit::HashEdit;
pub use expire::{Condition, FieldExpiry, Lifetime, Presence};
pub use plan::{Changes, HashError};

use crate::ids::ExpireAt;
use crate::value::sample::{self, Random};
use large::Large;
use packed::Block;

/// A hash gets large when its packed form would be longer, whatever the configuration says.
const PACKED_BYTES_MAX: usize = 128 << 10;

/// How large a packed hash may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLimits {
    /// `hash-max-listpack-entries`: most fields.
    pub entries_max: u64,
    /// `hash-max-listpack-value`: longest name or value in bytes.
    pub value_max: u64,
}

impl Default for HashLimits {
    fn default() -> Self {
        HashLimits { entries_max: 512, value_max: 64 }
    }
}

/// One field of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// When it goes; never 0.
    pub deadline: Option<ExpireAt>,
}

impl Field<'_> {
    /// Whether it is visible at this time.
    #[must_use]
    pub fn is_live(&self, now_ms: u64) -> bool {
        !self.deadline.is_some_and(|at| at.is_past(now_ms))
    }
}

/// A hash.
#[derive(Clone, Debug, PartialEq)]
pub struct HashValue(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Packed(Block),
    Large(Box<Large>),
}

/// An empty packed hash.
impl Default for HashValue {
    fn default() -> Self {
        HashValue(Form::Packed(Block::default()))
    }
}

impl HashValue {
    /// The name that OBJECT ENCODING replies.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Packed(block) if block.next_deadline().is_some() => "listpackex",
            Form::Packed(_) => "listpack",
            Form::Large(_) => "hashtable",
        }
    }

    /// Whether there are no fields at all, not even invisible ones.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.is_empty()
    }

    /// Number of fields, with those past their deadline.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Form::Packed(block) => block.len() as u64,
            Form::Large(large) => large.tree.len(),
        }
    }

    /// The same as [`HashValue::is_vacant`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap bytes held, without `self`.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Packed(block) => block.bytes().len(),
            Form::Large(large) => large.heap_bytes(),
        }
    }

    /// Number of visible fields: HLEN.
    #[must_use]
    pub fn live_len(&self, now_ms: u64) -> u64 {
        if !self.next_deadline().is_some_and(|at| at.is_past(now_ms)) {
            return self.len();
        }
        match &self.0 {
            Form::Packed(block) => block.fields().filter(|field| field.is_live(now_ms)).count() as u64,
            Form::Large(large) => large.tree.len() - large.due_count(now_ms),
        }
    }

    /// Whether more than `max` fields are visible; looks at about as many.
    fn has_more_live_than(&self, max: u64, now_ms: u64) -> bool {
        match &self.0 {
            Form::Packed(_) => self.live_len(now_ms) > max,
            Form::Large(large) => large.has_more_live_than(max, now_ms),
        }
    }

    /// When the next field expires; it may be over already.
    #[must_use]
    pub fn next_deadline(&self) -> Option<ExpireAt> {
        match &self.0 {
            Form::Packed(block) => block.next_deadline(),
            Form::Large(large) => large.next_deadline(),
        }
    }

    /// A field, visible or not.
    fn stored(&self, name: &[u8]) -> Option<Field<'_>> {
        match &self.0 {
            Form::Packed(block) => block.get(name),
            Form::Large(large) => large.get(name),
        }
    }

    /// A field by its name: HGET, HEXISTS, HSTRLEN, HTTL.
    #[must_use]
    pub fn get(&self, name: &[u8], now_ms: u64) -> Option<Field<'_>> {
        self.stored(name).filter(|field| field.is_live(now_ms))
    }

    /// All fields, visible or not.
    fn all(&self) -> AllFields<'_> {
        match &self.0 {
            Form::Packed(block) => AllFields::Packed(block.fields()),
            Form::Large(large) => AllFields::Large(large.fields()),
        }
    }

    /// The visible fields: HGETALL, HKEYS, HVALS.
    #[must_use]
    pub fn fields(&self, now_ms: u64) -> Fields<'_> {
        Fields { all: self.all(), now_ms }
    }

    /// One step of HSCAN from `cursor` (0 at first): hands out about `count` visible fields, returns the
    /// next cursor (0 at the end).
    ///
    /// A field that is there from the first step to the last is handed out at least once. A packed hash
    /// is handed out whole.
    pub fn scan<'a>(&'a self, cursor: u64, count: u64, now_ms: u64, visit: &mut dyn FnMut(Field<'a>)) -> u64 {
        match &self.0 {
            Form::Packed(_) => {
                self.fields(now_ms).for_each(visit);
                0
            }
            Form::Large(large) => large.scan(cursor, count.max(1), |field| {
                if field.is_live(now_ms) {
                    visit(field);
                }
            }),
        }
    }

    /// A visible field, each as likely as the others: HRANDFIELD.
    #[must_use]
    pub fn random_field(&self, now_ms: u64, random: Random<'_>) -> Option<Field<'_>> {
        let lookup = RankLookup::new(self, now_ms);
        (lookup.len > 0).then(|| lookup.get(random(lookup.len)))?
    }

    /// `count` different visible fields, or all if there are fewer: HRANDFIELD with a positive count.
    /// Returns how many, which is the lesser of `count` and [`HashValue::live_len`].
    pub fn random_fields<'a>(
        &'a self,
        count: u64,
        now_ms: u64,
        random: Random<'_>,
        visit: &mut dyn FnMut(Field<'a>),
    ) -> u64 {
        let lookup = RankLookup::new(self, now_ms);
        if count >= lookup.len {
            self.fields(now_ms).for_each(visit);
            return lookup.len;
        }
        sample::distinct(count, lookup.len, random)
            .into_iter()
            .filter_map(|index| lookup.get(index))
            .for_each(visit);
        count
    }

    /// `count` visible fields, each picked from all: HRANDFIELD with a negative count. None if there is
    /// no visible field.
    pub fn random_fields_repeated<'a>(
        &'a self,
        count: u64,
        now_ms: u64,
        random: Random<'_>,
        visit: &mut dyn FnMut(Field<'a>),
    ) {
        let lookup = RankLookup::new(self, now_ms);
        if lookup.len > 0 {
            (0..count).filter_map(|_| lookup.get(random(lookup.len))).for_each(visit);
        }
    }
}

/// Finds visible fields by number.
struct RankLookup<'a> {
    /// How many there are.
    len: u64,
    form: RankForm<'a>,
}

enum RankForm<'a> {
    Packed(Vec<Field<'a>>),
    /// With the ranks of the fields past their deadline.
    Large(&'a Large, Vec<u64>),
}

impl<'a> RankLookup<'a> {
    fn new(hash: &'a HashValue, now_ms: u64) -> Self {
        match &hash.0 {
            Form::Packed(_) => {
                let fields: Vec<_> = hash.fields(now_ms).collect();
                RankLookup { len: fields.len() as u64, form: RankForm::Packed(fields) }
            }
            Form::Large(large) => {
                let due = large.due_ranks(now_ms);
                RankLookup { len: large.tree.len() - due.len() as u64, form: RankForm::Large(large, due) }
            }
        }
    }

    fn get(&self, index: u64) -> Option<Field<'a>> {
        match &self.form {
            RankForm::Packed(fields) => fields.get(index as usize).copied(),
            RankForm::Large(large, due) => large.at_rank(sample::rank_without(index, due)),
        }
    }
}

#[derive(Clone)]
enum AllFields<'a> {
    Packed(packed::Fields<'a>),
    Large(large::Fields<'a>),
}

impl<'a> Iterator for AllFields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match self {
            AllFields::Packed(fields) => fields.next(),
            AllFields::Large(fields) => fields.next(),
        }
    }
}

/// Walks the visible fields of a hash.
#[derive(Clone)]
pub struct Fields<'a> {
    all: AllFields<'a>,
    now_ms: u64,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        self.all.by_ref().find(|field| field.is_live(self.now_ms))
    }
}
