//! What several sets have in common, have together, or have not: SINTER, SUNION, SDIFF and their kin.
//!
//! A missing key is `None`, an empty set. Results are handed out one by one, each member once; nothing is
//! copied. The algorithms are Redis's: an intersection walks the smallest set and asks the others, from
//! small to large; a difference either asks the others for each member of the first, or gathers the first
//! and crosses off all members of the others, whichever looks like less work. Where large sets of like
//! size meet they are walked side by side, since all have the same order.

use std::collections::HashSet;

use super::large::common;
use super::{Form, Member, SetValue};

/// Of two large sets the larger one is walked if it is at most so many times as large.
const WALK_RATIO: u64 = 8;

/// A packed set of so many members is asked about each member of another one.
const ASKED_LEN_MAX: u64 = 16;

/// SINTER and SINTERCARD: hands out up to `limit` members that are in all sets; returns how many.
pub fn intersection<'a>(sets: &[Option<&'a SetValue>], limit: u64, visit: &mut dyn FnMut(Member<'a>)) -> u64 {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&SetValue>>>() else { return 0 };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return 0 };
    let mut count = 0;
    let mut take = |member: Member<'a>, others: &[&SetValue]| {
        if count < limit && others.iter().all(|set| set.contains_member(member)) {
            visit(member);
            count += 1;
        }
        count < limit
    };
    match (&smallest.0, others.split_first()) {
        (Form::Large(small), Some((SetValue(Form::Large(next)), others)))
            if next.tree.len() / WALK_RATIO <= small.tree.len() =>
        {
            let _ = common(small, next).all(|member| take(Member::Bytes(member), others));
        }
        _ => {
            let _ = smallest.members().all(|member| take(member, others));
        }
    }
    count
}

/// SUNION: hands out the members of all sets; returns how many.
pub fn union<'a>(sets: &[Option<&'a SetValue>], visit: &mut dyn FnMut(Member<'a>)) -> u64 {
    let sets: Vec<&SetValue> = sets.iter().copied().flatten().filter(|set| !set.is_vacant()).collect();
    let mut count = 0;
    let mut take = |member: Member<'a>| {
        visit(member);
        count += 1;
    };
    match sets[..] {
        [] => {}
        [only] => only.members().for_each(take),
        [first, second] if is_asked_quickly(first) => {
            first.members().for_each(&mut take);
            second.members().filter(|member| !first.contains_member(*member)).for_each(take);
        }
        _ => {
            let mut known = HashSet::new();
            let members = sets.iter().flat_map(|set| set.members());
            members.filter(|member| known.insert(member.canonical())).for_each(take);
        }
    }
    count
}

/// Whether a set says at once if something is a member.
fn is_asked_quickly(set: &SetValue) -> bool {
    !matches!(set.0, Form::Packed(_)) || set.len() <= ASKED_LEN_MAX
}

/// SDIFF: hands out the members of the first set that are in none of the others; returns how many.
pub fn difference<'a>(sets: &[Option<&'a SetValue>], visit: &mut dyn FnMut(Member<'a>)) -> u64 {
    let Some((Some(first), others)) = sets.split_first() else { return 0 };
    let mut others: Vec<&SetValue> = others.iter().copied().flatten().collect();
    if others.iter().any(|other| std::ptr::eq(*other, *first)) {
        return 0;
    }
    // Asking usually ends early, therefore half.
    let asking = first.len().saturating_mul(others.len() as u64 + 1) / 2;
    let crossing_off = others.iter().fold(first.len(), |sum, set| sum.saturating_add(set.len()));
    let mut count = 0;
    let mut take = |member: Member<'a>| {
        visit(member);
        count += 1;
    };
    if asking <= crossing_off {
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        let is_only = |member: &Member<'a>| !others.iter().any(|set| set.contains_member(*member));
        first.members().filter(is_only).for_each(take);
    } else {
        let mut left: HashSet<Member<'a>> = first.members().map(Member::canonical).collect();
        for member in others.iter().flat_map(|set| set.members()) {
            left.remove(&member.canonical());
            if left.is_empty() {
                return 0;
            }
        }
        first.members().filter(|member| left.contains(&member.canonical())).for_each(&mut take);
    }
    count
}
