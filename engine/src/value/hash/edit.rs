//! What is logged of a change to a hash, and how it is applied.
//!
//! An edit is a run of operations, each absolute for its field, to the end of the bytes:
//!
//! ```text
//! tag  operation  fields of the tag
//!   1  Set        name | value                      the field has this value and no deadline
//!   2  SetUntil   name | deadline (varint) | value  the field has this value and this deadline
//!   3  Remove     name                              the field, which is there, goes
//!   4  Deadline   name | deadline (varint, 0: none) the field, which is there, keeps its value
//!   5  Grow                                         the hash becomes large
//! ```
//!
//! Names and values are length-prefixed. Tags are in logs: append only.

use super::large::Large;
use super::{Field, Form, HashValue};
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::ids::ExpireAt;

/// One operation of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashEdit<'a> {
    /// The field has this value and this deadline.
    Set(Field<'a>),
    /// The field is gone.
    Remove { name: &'a [u8] },
    /// The field has another deadline or none.
    Deadline { name: &'a [u8], deadline: Option<ExpireAt> },
    /// The hash is large from here on.
    Grow,
}

impl<'a> HashEdit<'a> {
    /// Appends the operation.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            HashEdit::Set(Field { name, value, deadline }) => {
                out.push(if deadline.is_some() { 2 } else { 1 });
                put_bytes(out, name);
                if let Some(at) = deadline {
                    put_varint(out, at.0);
                }
                put_bytes(out, value);
            }
            HashEdit::Remove { name } => {
                out.push(3);
                put_bytes(out, name);
            }
            HashEdit::Deadline { name, deadline } => {
                out.push(4);
                put_bytes(out, name);
                put_varint(out, deadline.map_or(0, |at| at.0));
            }
            HashEdit::Grow => out.push(5),
        }
    }

    /// Reads the next operation.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => HashEdit::Set(Field { name: reader.bytes()?, value: reader.bytes()?, deadline: None }),
            2 => {
                let name = reader.bytes()?;
                let deadline = ExpireAt(reader.varint()?);
                if deadline.0 == 0 {
                    return Err(reader.error("a deadline is 0"));
                }
                HashEdit::Set(Field { name, value: reader.bytes()?, deadline: Some(deadline) })
            }
            3 => HashEdit::Remove { name: reader.bytes()? },
            4 => {
                let name = reader.bytes()?;
                let deadline = reader.varint()?;
                HashEdit::Deadline { name, deadline: (deadline != 0).then_some(ExpireAt(deadline)) }
            }
            5 => HashEdit::Grow,
            _ => return Err(reader.error("no such operation on a hash")),
        })
    }
}

impl HashValue {
    /// Applies an edit that was planned on this very state.
    ///
    /// # Errors
    /// The bytes are no edit of this hash. The operations before the bad one are applied.
    pub fn apply(&mut self, edit: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(edit);
        while !reader.is_empty() {
            let is_right = match HashEdit::read(&mut reader)? {
                HashEdit::Set(field) => {
                    self.set(field);
                    true
                }
                HashEdit::Remove { name } => match &mut self.0 {
                    Form::Packed(block) => block.remove(name),
                    Form::Large(large) => large.remove(name),
                },
                HashEdit::Deadline { name, deadline } => match &mut self.0 {
                    Form::Packed(block) => block.set_deadline(name, deadline),
                    Form::Large(large) => large.set_deadline(name, deadline),
                },
                HashEdit::Grow => {
                    self.grow();
                    true
                }
            };
            if !is_right {
                return Err(reader.error("an edit names a field that is not in the hash"));
            }
        }
        Ok(())
    }

    /// Adds a field or replaces the one of its name.
    pub(super) fn set(&mut self, field: Field<'_>) {
        match &mut self.0 {
            Form::Packed(block) => block.set(field),
            Form::Large(large) => large.set(field),
        }
    }

    /// Makes the hash large, if it is not.
    pub(super) fn grow(&mut self) {
        if let Form::Packed(block) = &self.0 {
            self.0 = Form::Large(Box::new(Large::of(block.fields())));
        }
    }
}
