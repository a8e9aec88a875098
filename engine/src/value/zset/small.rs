//! The packed form: elements in the order of scores and members, in one allocation.
//!
//! An element is its score, written short, and then its member. Everything is a walk: O(bytes).

use std::cmp::Ordering;

use super::score;
use crate::codec::{DecodeError, Reader};
use crate::value::packed::Packed;

/// An element: `score` and `member`.
pub(super) fn element(score: f64, member: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + member.len());
    score::put(&mut out, score);
    out.extend_from_slice(member);
    out
}

/// How an element stands to a score and member.
#[inline]
fn compare(element: &[u8], score: f64, member: &[u8]) -> Ordering {
    let (own_score, own_member) = score::split(element);
    // Neither is NaN, and zeros are positive.
    own_score.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| own_member.cmp(member))
}

/// Index and score of a member.
pub(super) fn find(packed: &Packed, member: &[u8]) -> Option<(usize, f64)> {
    packed.iter().enumerate().find_map(|(index, element)| {
        if !element.ends_with(member) {
            return None;
        }
        let (score, own) = score::split(element);
        (own.len() == member.len()).then_some((index, score))
    })
}

/// The index of a score and member, or as an error where they would be.
fn position(packed: &Packed, score: f64, member: &[u8]) -> Result<usize, usize> {
    for (index, element) in packed.iter().enumerate() {
        match compare(element, score, member) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(index),
            Ordering::Greater => return Err(index),
        }
    }
    Err(packed.len())
}

/// Puts an element where it belongs; false if it is there.
pub(super) fn add(packed: &mut Packed, member: &[u8], score: f64) -> bool {
    let Err(index) = position(packed, score, member) else { return false };
    packed.insert(index, &element(score, member));
    true
}

/// Removes an element; false if it is not there.
pub(super) fn remove(packed: &mut Packed, member: &[u8], score: f64) -> bool {
    let Ok(index) = position(packed, score, member) else { return false };
    packed.remove(index);
    true
}

/// Gives a member another score; false if the element is not there.
pub(super) fn change(packed: &mut Packed, member: &[u8], from: f64, to: f64) -> bool {
    let Ok(index) = position(packed, from, member) else { return false };
    let stays = |neighbor: Option<usize>, order: Ordering| {
        neighbor
            .and_then(|index| packed.get(index))
            .is_none_or(|element| compare(element, to, member) == order)
    };
    if stays(index.checked_sub(1), Ordering::Less) && stays(Some(index + 1), Ordering::Greater) {
        packed.replace(index, &element(to, member));
        return true;
    }
    packed.remove(index);
    add(packed, member, to)
}

/// Reads the stored form; elements must be whole and in order, no member twice.
pub(super) fn decode(bytes: &[u8]) -> Result<Packed, DecodeError> {
    let packed = Packed::from_bytes(bytes)?;
    let mut previous: Option<&[u8]> = None;
    let mut members = Vec::with_capacity(packed.len());
    for element in packed.iter() {
        let mut reader = Reader::new(element);
        let score = score::read(&mut reader)?;
        let member = reader.rest();
        if previous.is_some_and(|previous| compare(previous, score, member) != Ordering::Less) {
            return Err(DecodeError { what: "elements out of order", at: 0 });
        }
        previous = Some(element);
        members.push(member);
    }
    members.sort_unstable();
    if members.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(DecodeError { what: "a member twice", at: 0 });
    }
    Ok(packed)
}
