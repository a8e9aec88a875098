//! Edits: what is logged of a change to a sorted set.
//!
//! An edit is a sequence of operations, each a tag and its operands. They name old scores too, so an
//! operation finds the rows it moves without asking for them. They apply in order, on the very value
//! that they were planned for; on any other they fail or give another value, without harm.
//!
//! | tag | operands | meaning |
//! |---|---|---|
//! | 1 | | the value becomes large |
//! | 2 | score, member | a member that is not there |
//! | 3 | old score, new score, member | a member gets another score |
//! | 4 | old score, member | a member goes |
//! | 5 | varint rank, varint count | the elements of these ranks go |
//!
//! A member is a varint length and its bytes; for scores see [`super::score`]. DO NOT REORDER, append only.

use super::score;
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};

const GROW: u8 = 1;
const ADD: u8 = 2;
const CHANGE: u8 = 3;
const REMOVE: u8 = 4;
const REMOVE_RANKS: u8 = 5;

/// One operation of an edit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operation<'a> {
    Grow,
    Add { member: &'a [u8], score: f64 },
    Change { member: &'a [u8], from: f64, to: f64 },
    Remove { member: &'a [u8], score: f64 },
    RemoveRanks { from: u64, count: u64 },
}

impl<'a> Operation<'a> {
    /// Appends the operation to an edit.
    pub fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Operation::Grow => out.push(GROW),
            Operation::Add { member, score } => {
                out.push(ADD);
                score::put(out, score);
                put_bytes(out, member);
            }
            Operation::Change { member, from, to } => {
                out.push(CHANGE);
                score::put(out, from);
                score::put(out, to);
                put_bytes(out, member);
            }
            Operation::Remove { member, score } => {
                out.push(REMOVE);
                score::put(out, score);
                put_bytes(out, member);
            }
            Operation::RemoveRanks { from, count } => {
                out.push(REMOVE_RANKS);
                put_varint(out, from);
                put_varint(out, count);
            }
        }
    }

    /// Reads the next operation.
    pub fn read(reader: &mut Reader<'a>) -> Result<Operation<'a>, DecodeError> {
        Ok(match reader.u8()? {
            GROW => Operation::Grow,
            ADD => {
                let score = score::read(reader)?;
                Operation::Add { member: reader.bytes()?, score }
            }
            CHANGE => {
                let (from, to) = (score::read(reader)?, score::read(reader)?);
                Operation::Change { member: reader.bytes()?, from, to }
            }
            REMOVE => {
                let score = score::read(reader)?;
                Operation::Remove { member: reader.bytes()?, score }
            }
            REMOVE_RANKS => Operation::RemoveRanks { from: reader.varint()?, count: reader.varint()? },
            _ => return Err(reader.error("unknown operation on a sorted set")),
        })
    }
}
