//! One entry of the hot tier in one allocation.
//!
//! A key with a short string costs 16 bytes of header, 8 for a deadline if it has one, the key
//! and the value, rounded up to 16. Everything else is a [`Value`] at the end of the allocation: a
//! small collection is two allocations, its entry and its elements.
//!
//! ```text
//! offset  size  field
//!      0     6  LSN of the last change, little endian
//!      6     1  kind of the body in the low 3 bits, TIED in the next, the evictor's counter (0 to 15) in the high half
//!      7     1  flags
//!      8     1  how often it was used: LFU's logarithmic counter
//!      9     3  when it was last used, little endian (see `usage`)
//!     12     1  pins: transactions that need the entry to stay
//!     13     1  key length; 255: a 4-byte length follows the optional fields
//!     14     2  body length in bytes, little endian
//!     16   0/8  deadline, Unix ms (flag DEADLINE)
//!           0/8  deadline whose hint the cold tier may still hold (flag HINT)
//!           0/4  key length when it does not fit one byte
//!                key
//!                body: string bytes, i64, or padding to a multiple of 8 and a `Value` of 32 bytes
//! ```
//!
//! This is one of the few files with unsafe code: the layout is computed from the header alone,
//! each access is checked against it, and the tests run under Miri.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use super::usage::{Usage, UsedAt};
use crate::env::Defragmenter;
use crate::ids::{ExpireAt, Lsn};
use crate::value::hash::HashValue;
use crate::value::stored::StoredAt;
use crate::value::{TypeTag, Value};

const HEADER: usize = 16;
const KIND: usize = 6;
const FLAGS: usize = 7;
const USES: usize = 8;
const USED_AT: usize = 9;
const PINS: usize = 12;
const KEY_LEN: usize = 13;
const BODY_LEN: usize = 14;
const LONG_KEY: u8 = 255;
/// Bytes of a value in its entry.
const VALUE: usize = size_of::<Value>();
const _: () = assert!(VALUE == 32 && align_of::<Value>() <= ALIGN);
/// Alignment of an entry.
const ALIGN: usize = 8;
/// The bits of the kind in its byte.
const KIND_MASK: u8 = 0x07;
/// Beside the kind: the entry goes to the cold tier together with others only (see `moves`).
const TIED: u8 = 0x08;
/// The bits of the evictor's counter.
const FREQ_MASK: u8 = 0xf0;

/// What the body of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A string that is a canonical 64-bit integer.
    Int = 0,
    /// A string's bytes, inline.
    Bytes = 1,
    /// A [`Value`].
    Boxed = 2,
    /// The key was deleted and the cold tier may still hold a row.
    Tombstone = 3,
    /// The key is known to be absent; kept only while a transaction pins that knowledge.
    Absent = 4,
}

/// Flag bits of an entry.
pub mod flag {
    /// Newer than its row.
    pub const DIRTY: u8 = 1;
    /// The cold tier may hold a row of this key.
    pub const COLD: u8 = 2;
    /// An image of this entry is on its way to the cold tier.
    pub const IN_FLIGHT: u8 = 4;
    /// The entry has a deadline.
    pub const DEADLINE: u8 = 8;
    /// The entry stores a deadline whose hint row must be removed at write-back.
    pub const HINT: u8 = 16;
    /// A string that was made by editing (OBJECT ENCODING says `raw`).
    pub const RAW: u8 = 32;
    /// The reaper is going to look at this entry no later than at its deadline.
    pub const ARMED: u8 = 64;
    /// Written back while a snapshot was open whose view is older than that row (see `side`).
    pub const HELD: u8 = 128;
}

/// The body given to a new entry.
pub enum Body<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Boxed(Value),
    Tombstone,
    Absent,
}

/// A borrowed view of an entry's body.
#[derive(Clone, Copy, Debug)]
pub enum BodyRef<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Boxed(&'a Value),
    Tombstone,
    Absent,
}

/// An owned entry: one pointer.
pub struct Entry(NonNull<u8>);

// SAFETY: an `Entry` owns its allocation exclusively, and all that it holds (bytes and a
// `Value`) is `Send` and `Sync`.
unsafe impl Send for Entry {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Entry {}

fn layout_for(needed: usize) -> Layout {
    let rounded = needed.next_multiple_of(16);
    Layout::from_size_align(rounded, ALIGN).expect("an entry is far smaller than isize::MAX")
}

/// The hint of a row whose elements' deadlines are not known: before all others.
pub const LOOK_SOON: ExpireAt = ExpireAt(1);

impl Entry {
    /// Builds an entry with LSN 0 and no flags but those its parts imply.
    #[must_use]
    pub fn new(key: &[u8], deadline: Option<ExpireAt>, hint: Option<ExpireAt>, body: Body<'_>) -> Entry {
        let long_key = key.len() >= LONG_KEY as usize;
        let optional = 8 * usize::from(deadline.is_some()) + 8 * usize::from(hint.is_some());
        let body_at = HEADER + optional + 4 * usize::from(long_key) + key.len();
        let (kind, body_len) = match &body {
            Body::Int(_) => (Kind::Int, 8),
            Body::Bytes(bytes) => (Kind::Bytes, bytes.len()),
            Body::Boxed(_) => (Kind::Boxed, body_at.next_multiple_of(ALIGN) - body_at + VALUE),
            Body::Tombstone => (Kind::Tombstone, 0),
            Body::Absent => (Kind::Absent, 0),
        };
        let body_len16 = u16::try_from(body_len).expect("inline bodies are at most 1 KiB");
        let layout = layout_for(body_at + body_len);
        // SAFETY: the layout has a non-zero size (at least the header).
        let raw = unsafe { alloc(layout) };
        let Some(base) = NonNull::new(raw) else { handle_alloc_error(layout) };
        let mut flags = 0;
        let mut cursor = HEADER;
        // SAFETY: the layout has room for exactly the parts written below, each written once at
        // the running offset `cursor`, so every write lies inside the allocation. A value goes to a
        // multiple of the alignment, which the allocation has too.
        unsafe {
            let p = base.as_ptr();
            let mut push = |bytes: &[u8]| {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), p.add(cursor), bytes.len());
                cursor += bytes.len();
            };
            if let Some(at) = deadline {
                flags |= flag::DEADLINE;
                push(&at.0.to_le_bytes());
            }
            if let Some(at) = hint {
                flags |= flag::HINT;
                push(&at.0.to_le_bytes());
            }
            if long_key {
                push(&u32::try_from(key.len()).expect("keys are below 4 GiB").to_le_bytes());
            }
            push(key);
            match body {
                Body::Int(value) => push(&value.to_le_bytes()),
                Body::Bytes(bytes) => push(bytes),
                Body::Boxed(value) => {
                    std::ptr::write(p.add(cursor.next_multiple_of(ALIGN)).cast::<Value>(), value);
                }
                Body::Tombstone | Body::Absent => {}
            }
            std::ptr::write_bytes(p, 0, HEADER);
            *p.add(KIND) = kind as u8;
            *p.add(FLAGS) = flags;
            *p.add(KEY_LEN) = if long_key { LONG_KEY } else { key.len() as u8 };
            std::ptr::copy_nonoverlapping(body_len16.to_le_bytes().as_ptr(), p.add(BODY_LEN), 2);
        }
        Entry(base)
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        debug_assert!(at < HEADER);
        // SAFETY: the header is initialised by `new` and `at` lies in it.
        unsafe { *self.0.as_ptr().add(at) }
    }

    #[inline]
    fn set_byte(&mut self, at: usize, value: u8) {
        debug_assert!(at < HEADER);
        // SAFETY: as in `byte`, and `&mut self` is exclusive.
        unsafe { *self.0.as_ptr().add(at) = value }
    }

    /// Bytes `[at, at + len)` of the allocation.
    #[inline]
    fn slice(&self, at: usize, len: usize) -> &[u8] {
        debug_assert!(at + len <= self.needed());
        // SAFETY: callers pass ranges that `new` initialised, computed from the same header.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(at), len) }
    }

    #[inline]
    fn u64_at(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.slice(at, 8).try_into().expect("eight bytes"))
    }

    #[inline]
    fn write(&mut self, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.needed());
        // SAFETY: inside the allocation by the assertion's reasoning; `&mut self` is exclusive
        // and `bytes` cannot alias it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.as_ptr().add(at), bytes.len()) }
    }

    /// What the body is.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.byte(KIND) & KIND_MASK {
            0 => Kind::Int,
            1 => Kind::Bytes,
            2 => Kind::Boxed,
            3 => Kind::Tombstone,
            _ => Kind::Absent,
        }
    }

    /// Whether the entry is a value (and not a tombstone or a known absence).
    #[inline]
    #[must_use]
    pub fn is_value(&self) -> bool {
        self.byte(KIND) & KIND_MASK <= Kind::Boxed as u8
    }

    fn set_kind(&mut self, kind: Kind) {
        let byte = self.byte(KIND) & !KIND_MASK | kind as u8;
        self.set_byte(KIND, byte);
    }

    /// All flag bits.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.byte(FLAGS)
    }

    /// Whether all the given bits are set.
    #[inline]
    #[must_use]
    pub fn has(&self, bits: u8) -> bool {
        self.byte(FLAGS) & bits == bits
    }

    /// Sets bits. DEADLINE and HINT belong to the layout and never change.
    #[inline]
    pub fn set(&mut self, bits: u8) {
        debug_assert_eq!(bits & (flag::DEADLINE | flag::HINT), 0);
        let flags = self.byte(FLAGS) | bits;
        self.set_byte(FLAGS, flags);
    }

    /// Clears bits. DEADLINE and HINT belong to the layout and never change.
    #[inline]
    pub fn clear(&mut self, bits: u8) {
        debug_assert_eq!(bits & (flag::DEADLINE | flag::HINT), 0);
        let flags = self.byte(FLAGS) & !bits;
        self.set_byte(FLAGS, flags);
    }

    /// LSN of the last commit that changed the entry.
    #[inline]
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn(self.u64_at(0) & Lsn::MAX.0)
    }

    /// Sets the LSN.
    #[inline]
    pub fn set_lsn(&mut self, lsn: Lsn) {
        debug_assert!(lsn <= Lsn::MAX);
        self.write(0, &lsn.0.to_le_bytes()[..6]);
    }

    /// The evictor's counter, 0 to 15: uses raise it, a lap of the evictor's hand lowers it.
    #[inline]
    #[must_use]
    pub fn freq(&self) -> u8 {
        self.byte(KIND) >> 4
    }

    /// Sets the evictor's counter.
    #[inline]
    pub fn set_freq(&mut self, freq: u8) {
        debug_assert!(freq <= 15);
        let byte = self.byte(KIND) & !FREQ_MASK | freq << 4;
        self.set_byte(KIND, byte);
    }

    /// When and how often the entry was used.
    #[inline]
    #[must_use]
    pub fn usage(&self) -> Usage {
        let [a, b, c] = [0, 1, 2].map(|i| self.byte(USED_AT + i));
        Usage { at: UsedAt::from_le_bytes([a, b, c]), uses: self.byte(USES) }
    }

    /// Sets when and how often the entry was used.
    #[inline]
    pub fn set_usage(&mut self, usage: Usage) {
        self.set_byte(USES, usage.uses);
        self.write(USED_AT, &usage.at.to_le_bytes());
    }

    /// Number of pins; an entry with pins is neither evicted nor forgotten.
    #[inline]
    #[must_use]
    pub fn pins(&self) -> u8 {
        self.byte(PINS)
    }

    /// Adds a pin. `false` when the counter is full: the caller then has no pin.
    #[must_use]
    pub fn pin(&mut self) -> bool {
        match self.byte(PINS).checked_add(1) {
            Some(pins) => {
                self.set_byte(PINS, pins);
                true
            }
            None => false,
        }
    }

    /// Removes a pin.
    pub fn unpin(&mut self) {
        let pins = self.byte(PINS).checked_sub(1).expect("every unpin follows a pin");
        self.set_byte(PINS, pins);
    }

    fn optional_len(&self) -> usize {
        let flags = self.flags();
        8 * usize::from(flags & flag::DEADLINE != 0) + 8 * usize::from(flags & flag::HINT != 0)
    }

    /// Offset and length of the key.
    #[inline]
    fn key_range(&self) -> (usize, usize) {
        let start = HEADER + self.optional_len();
        match self.byte(KEY_LEN) {
            LONG_KEY => {
                // SAFETY: a long key stores its length in the four bytes before the key.
                let bytes = unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(start), 4) };
                let len = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
                (start + 4, len as usize)
            }
            len => (start, len as usize),
        }
    }

    fn body_len(&self) -> usize {
        // SAFETY: the header is initialised.
        let bytes = unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(BODY_LEN), 2) };
        usize::from(u16::from_le_bytes(bytes.try_into().expect("two bytes")))
    }

    /// Bytes in use of the allocation.
    fn needed(&self) -> usize {
        let (start, len) = self.key_range();
        start + len + self.body_len()
    }

    /// The key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &[u8] {
        let (start, len) = self.key_range();
        // SAFETY: `new` wrote the key there.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(start), len) }
    }

    /// The deadline, if there is one.
    #[inline]
    #[must_use]
    pub fn deadline(&self) -> Option<ExpireAt> {
        self.has(flag::DEADLINE).then(|| ExpireAt(self.u64_at(HEADER)))
    }

    /// The deadline whose hint row must be removed at write-back.
    #[must_use]
    pub fn hint(&self) -> Option<ExpireAt> {
        let at = HEADER + 8 * usize::from(self.has(flag::DEADLINE));
        self.has(flag::HINT).then(|| ExpireAt(self.u64_at(at)))
    }

    /// The body.
    #[inline]
    #[must_use]
    pub fn body(&self) -> BodyRef<'_> {
        let (start, len) = self.key_range();
        let at = start + len;
        match self.kind() {
            Kind::Int => BodyRef::Int(self.u64_at(at) as i64),
            Kind::Bytes => BodyRef::Bytes(self.slice(at, self.body_len())),
            // SAFETY: `new` put a value there; the kind says that it was not taken out.
            Kind::Boxed => BodyRef::Boxed(unsafe { &*self.value_ptr() }),
            Kind::Tombstone => BodyRef::Tombstone,
            Kind::Absent => BodyRef::Absent,
        }
    }

    /// The value, to change it in place.
    pub fn boxed_mut(&mut self) -> Option<&mut Value> {
        if self.kind() != Kind::Boxed {
            return None;
        }
        // SAFETY: as in `body`; `&mut self` makes the borrow exclusive.
        Some(unsafe { &mut *self.value_ptr() })
    }

    /// Where the value of a boxed entry is: at the end.
    #[inline]
    fn value_ptr(&self) -> *mut Value {
        // SAFETY: the body of such an entry ends with the value and `needed` is where it ends, so the
        // place lies in the allocation.
        unsafe { self.0.as_ptr().add(self.needed() - VALUE).cast::<Value>() }
    }

    /// Replaces an inline body in place when the allocation's size stays the same.
    /// `false`: nothing changed, build a new entry.
    #[must_use]
    pub fn overwrite(&mut self, body: &Body<'_>) -> bool {
        let (kind, len) = match body {
            Body::Int(_) => (Kind::Int, 8),
            Body::Bytes(bytes) => (Kind::Bytes, bytes.len()),
            _ => return false,
        };
        if self.kind() as u8 > Kind::Bytes as u8 {
            return false;
        }
        let (start, key_len) = self.key_range();
        let at = start + key_len;
        if layout_for(at + len).size() != layout_for(at + self.body_len()).size() {
            return false;
        }
        self.set_kind(kind);
        let len = u16::try_from(len).expect("inline bodies are at most 1 KiB");
        // SAFETY: the header is initialised and exclusive.
        unsafe { std::ptr::copy_nonoverlapping(len.to_le_bytes().as_ptr(), self.0.as_ptr().add(BODY_LEN), 2) }
        match body {
            Body::Int(value) => self.write(at, &value.to_le_bytes()),
            Body::Bytes(bytes) => self.write(at, bytes),
            _ => {}
        }
        true
    }

    /// Overwrites the deadline in place if the entry has room for one exactly when `to` is one.
    #[must_use]
    pub fn overwrite_deadline(&mut self, to: Option<ExpireAt>) -> bool {
        match to {
            Some(at) if self.has(flag::DEADLINE) => {
                self.write(HEADER, &at.0.to_le_bytes());
                true
            }
            None => !self.has(flag::DEADLINE),
            Some(_) => false,
        }
    }

    /// Takes the value out and leaves a tombstone.
    pub fn take_boxed(&mut self) -> Option<Value> {
        if self.kind() != Kind::Boxed {
            return None;
        }
        // The body's bytes stay part of the allocation: `needed` still counts them.
        self.set_kind(Kind::Tombstone);
        // SAFETY: the kind said that the value is there, and no longer does: nobody reads or drops it
        // a second time.
        Some(unsafe { std::ptr::read(self.value_ptr()) })
    }

    /// Moves the entry to a fuller page if it lies on a sparse one, with its value but not with what that
    /// has on the heap.
    /// Returns whether it moved.
    pub fn relocate(&mut self, to: &dyn Defragmenter) -> bool {
        if !to.is_sparse(self.0) {
            return false;
        }
        let layout = layout_for(self.needed());
        let Some(new) = NonNull::new(to.allocate(layout)) else { return false };
        // SAFETY: both allocations have `layout`'s size and do not overlap. The bytes hold no address
        // of themselves; a value may be moved as any, and the old one is forgotten with its bytes. Padding
        // and the rounded end may be uninitialised, and copying them is as good as not.
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), new.as_ptr(), layout.size()) };
        let old = std::mem::replace(&mut self.0, new);
        // SAFETY: `old` was allocated with this layout and nothing refers to it any more.
        unsafe { to.free(old, layout) };
        true
    }

    /// Bytes of the allocation plus what a value holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let own = layout_for(self.needed()).size();
        match self.body() {
            BodyRef::Boxed(value) => own + value.heap_bytes(),
            _ => own,
        }
    }

    /// The type of the value; `None` for a tombstone or a known absence.
    #[must_use]
    pub fn type_tag(&self) -> Option<TypeTag> {
        match self.body() {
            BodyRef::Boxed(Value::Collection(held)) => Some(held.value.type_tag()),
            BodyRef::Boxed(Value::StoredCollection(stored)) => Some(stored.type_tag()),
            _ => self.is_value().then_some(TypeTag::String),
        }
    }

    /// When an element of the value expires by itself next, as far as memory knows.
    #[must_use]
    pub fn element_deadline(&self) -> Option<ExpireAt> {
        match self.body() {
            BodyRef::Boxed(Value::Collection(held)) => held.value.next_deadline(),
            _ => None,
        }
    }

    /// The deadline for which its row has a hint in `expires` because of an element.
    #[must_use]
    pub fn element_hint(&self) -> Option<ExpireAt> {
        match self.body() {
            BodyRef::Boxed(Value::StoredCollection(stored)) => match &stored.at {
                // Its row is a copy that nobody looked into yet: the reaper has to.
                StoredAt::Pages { tag: TypeTag::Hash, .. } => Some(LOOK_SOON),
                StoredAt::Nodes { tag: TypeTag::Hash, header, .. } => HashValue::deadline_in_header(header),
                _ => None,
            },
            _ => self.element_deadline(),
        }
    }

    /// Where the content of the value is, if it is not in memory.
    #[must_use]
    pub fn stored_at(&self) -> Option<StoredAt> {
        match self.body() {
            BodyRef::Boxed(Value::Stored(stored)) => {
                Some(StoredAt::String { incarnation: stored.incarnation, len: stored.len })
            }
            BodyRef::Boxed(Value::StoredCollection(stored)) => Some(stored.at.clone()),
            _ => None,
        }
    }

    /// A copy of the key and its state, without marks of the tiers, access data and pins.
    #[must_use]
    pub fn copy(&self) -> Entry {
        let body = match self.body() {
            BodyRef::Int(value) => Body::Int(value),
            BodyRef::Bytes(bytes) => Body::Bytes(bytes),
            BodyRef::Boxed(value) => Body::Boxed(value.clone()),
            BodyRef::Tombstone => Body::Tombstone,
            BodyRef::Absent => Body::Absent,
        };
        let mut copy = Entry::new(self.key(), self.deadline(), None, body);
        copy.set_lsn(self.lsn());
        copy.set(self.flags() & flag::RAW);
        copy
    }

    /// Copies LSN, access data, pins and the flags in `keep` from another entry.
    pub fn inherit(&mut self, from: &Entry, keep: u8) {
        self.set_lsn(from.lsn());
        self.set_freq(from.freq());
        self.set_usage(from.usage());
        self.set_byte(PINS, from.byte(PINS));
        self.set(from.flags() & keep & !(flag::DEADLINE | flag::HINT));
        if from.is_tied() {
            self.tie();
        }
    }

    /// Whether it goes to the cold tier together with others only.
    #[inline]
    #[must_use]
    pub fn is_tied(&self) -> bool {
        self.byte(KIND) & TIED != 0
    }

    /// Keeps it out of ordinary batches.
    pub fn tie(&mut self) {
        let byte = self.byte(KIND) | TIED;
        self.set_byte(KIND, byte);
    }

    /// Ends [`Entry::tie`].
    pub fn untie(&mut self) {
        let byte = self.byte(KIND) & !TIED;
        self.set_byte(KIND, byte);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let layout = layout_for(self.needed());
        drop(self.take_boxed());
        // SAFETY: `base` was allocated with this very layout: it depends on the optional
        // fields, the key length and the body length, which never change the rounded size.
        unsafe { dealloc(self.0.as_ptr(), layout) }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key().escape_ascii().to_string())
            .field("kind", &self.kind())
            .field("lsn", &self.lsn())
            .field("flags", &self.flags())
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use crate::value::string::BigString;

    #[test]
    fn fields_come_back_as_they_were_given() {
        let long_key = vec![b'k'; 300];
        for key in [&b""[..], b"k", &long_key[..254], &long_key[..255], &long_key] {
            for deadline in [None, Some(ExpireAt(u64::MAX))] {
                for hint in [None, Some(ExpireAt(77))] {
                    let mut entry = Entry::new(key, deadline, hint, Body::Bytes(b"value"));
                    entry.set_lsn(Lsn::MAX);
                    entry.set(flag::DIRTY | flag::COLD);
                    entry.set_freq(15);
                    let usage = Usage { at: UsedAt::new(u64::MAX), uses: 255 };
                    entry.set_usage(usage);
                    assert_eq!(entry.key(), key);
                    assert_eq!(entry.deadline(), deadline);
                    assert_eq!(entry.hint(), hint);
                    assert_eq!(entry.lsn(), Lsn::MAX);
                    assert_eq!(entry.freq(), 15);
                    assert_eq!(entry.usage(), usage);
                    assert_eq!(entry.kind(), Kind::Bytes);
                    assert!(matches!(entry.body(), BodyRef::Bytes(b"value")));
                    drop(entry);
                }
            }
        }
    }

    #[test]
    fn in_place_changes_keep_the_allocation_sound() {
        let mut entry = Entry::new(b"key", Some(ExpireAt(5)), None, Body::Bytes(b"0123"));
        assert!(entry.overwrite(&Body::Bytes(b"01234")));
        assert!(matches!(entry.body(), BodyRef::Bytes(b"01234")));
        assert!(!entry.overwrite(&Body::Bytes(&[0; 100])));
        assert!(entry.overwrite_deadline(Some(ExpireAt(6))));
        assert!(!entry.overwrite_deadline(None));
        assert_eq!(entry.deadline(), Some(ExpireAt(6)));
    }

    /// Moves everything, with the ordinary allocator.
    struct Always;

    impl Defragmenter for Always {
        fn is_sparse(&self, _: NonNull<u8>) -> bool {
            true
        }

        fn allocate(&self, layout: Layout) -> *mut u8 {
            // SAFETY: layouts of entries are never empty.
            unsafe { alloc(layout) }
        }

        // SAFETY: the caller promises what `dealloc` asks for.
        unsafe fn free(&self, allocation: NonNull<u8>, layout: Layout) {
            // SAFETY: as above.
            unsafe { dealloc(allocation.as_ptr(), layout) }
        }
    }

    #[test]
    fn an_entry_that_moves_takes_everything_along() {
        let mut entry = Entry::new(b"key", Some(ExpireAt(5)), None, Body::Bytes(b"value"));
        entry.set(flag::DIRTY);
        entry.set_lsn(Lsn(77));
        assert!(entry.pin());
        assert!(entry.relocate(&Always));
        assert!(matches!(entry.body(), BodyRef::Bytes(b"value")));
        assert_eq!((entry.key(), entry.deadline(), entry.lsn()), (&b"key"[..], Some(ExpireAt(5)), Lsn(77)));
        assert_eq!((entry.pins(), entry.has(flag::DIRTY)), (1, true));
        let boxed = Body::Boxed(Value::String(Box::new(BigString::from_bytes(&[7; 5000]))));
        let mut entry = Entry::new(b"big", None, None, boxed);
        assert!(entry.relocate(&Always));
        assert!(entry.heap_bytes() > 5000);
        assert!(entry.take_boxed().is_some());
    }

    #[test]
    fn a_copy_shares_nothing_with_its_original() {
        let bodies = [
            Body::Int(-3),
            Body::Bytes(b"bytes"),
            Body::Boxed(Value::String(Box::new(BigString::from_bytes(&[7; 5000])))),
        ];
        for body in bodies {
            let mut entry = Entry::new(b"key", Some(ExpireAt(5)), Some(ExpireAt(4)), body);
            entry.set_lsn(Lsn(9));
            entry.set(flag::DIRTY | flag::RAW);
            let (copy, before) = (entry.copy(), format!("{:?}", entry.body()));
            drop(entry);
            assert_eq!(format!("{:?}", copy.body()), before);
            assert_eq!((copy.key(), copy.deadline(), copy.hint()), (&b"key"[..], Some(ExpireAt(5)), None));
            assert_eq!((copy.lsn(), copy.flags()), (Lsn(9), flag::RAW | flag::DEADLINE));
        }
    }

    #[test]
    fn boxed_values_are_freed_once() {
        let boxed = || Body::Boxed(Value::String(Box::new(BigString::from_bytes(&[7; 5000]))));
        let mut entry = Entry::new(b"big", None, None, boxed());
        assert!(entry.heap_bytes() > 5000);
        assert!(entry.boxed_mut().is_some());
        let taken = entry.take_boxed().expect("was boxed");
        assert!(entry.take_boxed().is_none());
        drop(entry);
        drop(taken);
        drop(Entry::new(b"big", None, None, boxed()));
    }
}
