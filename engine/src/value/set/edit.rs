//! What is logged of a change to a set, and how it is applied.
//!
//! An edit is a run of operations to the end of the bytes:
//!
//! ```text
//! tag  operation  fields of the tag
//!   1  Add        member          it was not there
//!   2  Remove     member          it was there
//!   3  Become     form (1 byte)   2 packed, 3 large; never back
//!   4  Clear                      all members go, the form stays
//! ```
//!
//! Members are length-prefixed. Tags are in logs: append only.

use super::large::Large;
use super::packed::Block;
use super::{Form, SetValue};
use crate::codec::{DecodeError, Reader, put_bytes};
use crate::value::string::number::{IntText, parse_int};

/// The forms of a set. The numbers are stored: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum FormTag {
    Ints = 1,
    Packed = 2,
    Large = 3,
}

impl FormTag {
    /// The form of a stored number.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(FormTag::Ints),
            2 => Ok(FormTag::Packed),
            3 => Ok(FormTag::Large),
            _ => Err(reader.error("no such form of a set")),
        }
    }
}

/// One operation of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetEdit<'a> {
    /// The member, which was not there, is.
    Add { member: &'a [u8] },
    /// The member, which was there, is gone.
    Remove { member: &'a [u8] },
    /// The set has another form from here on.
    Become { form: FormTag },
    /// All members are gone.
    Clear,
}

impl<'a> SetEdit<'a> {
    /// Appends the operation.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            SetEdit::Add { member } => {
                out.push(1);
                put_bytes(out, member);
            }
            SetEdit::Remove { member } => {
                out.push(2);
                put_bytes(out, member);
            }
            SetEdit::Become { form } => out.extend_from_slice(&[3, *form as u8]),
            SetEdit::Clear => out.push(4),
        }
    }

    /// Reads the next operation.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => SetEdit::Add { member: reader.bytes()? },
            2 => SetEdit::Remove { member: reader.bytes()? },
            3 => SetEdit::Become { form: FormTag::read(reader)? },
            4 => SetEdit::Clear,
            _ => return Err(reader.error("no such operation on a set")),
        })
    }
}

impl SetValue {
    /// Applies an edit that was planned on this very state.
    ///
    /// # Errors
    /// The bytes are no edit of this set. The operations before the bad one are applied.
    pub fn apply(&mut self, edit: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(edit);
        while !reader.is_empty() {
            let is_right = match SetEdit::read(&mut reader)? {
                SetEdit::Add { member } => self.add(member),
                SetEdit::Remove { member } => match &mut self.0 {
                    Form::Ints(ints) => parse_int(member).is_some_and(|value| ints.remove(value)),
                    Form::Packed(block) => block.remove(member),
                    Form::Large(large) => large.remove(member),
                },
                SetEdit::Become { form } => self.turn(form),
                SetEdit::Clear => {
                    self.clear();
                    true
                }
            };
            if !is_right {
                return Err(reader.error("an edit does not fit the set"));
            }
        }
        Ok(())
    }

    /// The form of this set.
    pub(super) fn form(&self) -> FormTag {
        match &self.0 {
            Form::Ints(_) => FormTag::Ints,
            Form::Packed(_) => FormTag::Packed,
            Form::Large(_) => FormTag::Large,
        }
    }

    /// Adds a member; false, and nothing happened, if it is there or does not fit the form.
    pub(super) fn add(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Form::Ints(ints) => parse_int(member).is_some_and(|value| ints.insert(value)),
            Form::Packed(block) => {
                let is_new = !block.contains(member);
                if is_new {
                    block.push(member);
                }
                is_new
            }
            Form::Large(large) => large.insert(member),
        }
    }

    /// Takes a later form; whether it is one.
    pub(super) fn turn(&mut self, form: FormTag) -> bool {
        if form <= self.form() {
            return false;
        }
        let texts = self.members().map(|member| member.text(&mut IntText::default()).to_vec());
        self.0 = match form {
            FormTag::Large => Form::Large(Box::new(Large::of(texts))),
            FormTag::Packed | FormTag::Ints => Form::Packed(Block::of(texts)),
        };
        true
    }

    fn clear(&mut self) {
        match &mut self.0 {
            Form::Ints(ints) => *ints = super::ints::Ints::default(),
            Form::Packed(block) => *block = Block::default(),
            Form::Large(large) => large.clear(),
        }
    }
}
