//! XADD: the id of a new entry, its element, and trimming in the same edit.

use super::delete::Trim;
use super::edit::StreamEdit;
use super::entry::{self, SHAPE_BYTES_MAX, SHAPES_MAX};
use super::{NewId, StreamId, StreamLimits, StreamValue};
use crate::codec::put_varint;

/// What XADD does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The new entry's id.
    pub id: StreamId,
    /// Entries that are trimmed afterwards, the new one perhaps among them.
    pub trimmed: u64,
}

/// Why there is no new entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddError {
    /// 0-0 was asked for. Redis refuses that before it looks at the key.
    Zero,
    /// The last id is the largest one.
    Exhausted,
    /// The id is not above the last.
    NotGreater,
}

impl StreamValue {
    /// Plans to add an entry and to trim what then is too much.
    ///
    /// # Errors
    /// Why the id cannot be; no edit is written.
    pub fn plan_add<'f>(
        &self,
        id: NewId,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])> + Clone,
        trim: Option<&Trim>,
        now_ms: u64,
        limits: StreamLimits,
        edit: &mut Vec<u8>,
    ) -> Result<Added, AddError> {
        let id = self.new_id(id, now_ms)?;
        let shape = self.shape_for(fields.clone().map(|(name, _)| name), edit);
        edit.push(StreamEdit::ADD);
        let start = edit.len();
        entry::put_element(edit, id, shape, fields);
        // The length goes before the element: written behind it, then turned around.
        let len = edit.len() - start;
        put_varint(edit, len as u64);
        edit[start..].rotate_left(len);
        let trimmed = trim.map_or(0, |trim| self.plan_trim_behind(trim, Some(id), limits, edit));
        Ok(Added { id, trimmed })
    }

    /// The id that a new entry gets.
    fn new_id(&self, wanted: NewId, now_ms: u64) -> Result<StreamId, AddError> {
        let last = self.stream.last_id;
        if wanted == NewId::Explicit(StreamId::MIN) {
            return Err(AddError::Zero);
        }
        let next = last.next().ok_or(AddError::Exhausted)?;
        let id = match wanted {
            NewId::Auto if now_ms > last.ms => StreamId::new(now_ms, 0),
            NewId::Auto => next,
            NewId::AutoSeq(ms) if ms == last.ms => {
                StreamId::new(ms, last.seq.checked_add(1).ok_or(AddError::NotGreater)?)
            }
            NewId::AutoSeq(ms) => StreamId::new(ms, 0),
            NewId::Explicit(id) => id,
        };
        if id > last { Ok(id) } else { Err(AddError::NotGreater) }
    }

    /// The number of the shape of some names, which may be a new one; 0 for none.
    fn shape_for<'f>(&self, names: impl Iterator<Item = &'f [u8]> + Clone, edit: &mut Vec<u8>) -> u64 {
        let shapes = &self.stream.shapes;
        if let Some(at) = shapes.iter().position(|shape| entry::is_shape_of(shape, names.clone())) {
            return at as u64 + 1;
        }
        let bytes = names.clone().fold(10usize, |bytes, name| bytes.saturating_add(name.len() + 10));
        if shapes.len() >= SHAPES_MAX || bytes > SHAPE_BYTES_MAX {
            return 0;
        }
        let mut shape = Vec::with_capacity(bytes);
        entry::put_shape(&mut shape, names);
        StreamEdit::Shape(&shape).put(edit);
        shapes.len() as u64 + 1
    }
}
