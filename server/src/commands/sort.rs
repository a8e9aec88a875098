//! SORT and SORT_RO: the elements of a list, set or sorted set in an order, and what they name.
//!
//! Patterns, weights and the order are the engine's (`value::sort`); here elements are copied out of
//! their collection, since the keys that BY and GET name are read next. Those keys are known only then:
//! the command asks for all of them in one batch, so that cold ones come in one round and not one a
//! key, and everything is read at one moment. With LIMIT the keys of GET are a second batch, as they
//! depend on the order.

use std::ops::Range;

use lux_engine::txn::ValueRef;
use lux_engine::value::TypeTag;
use lux_engine::value::collection::Collection;
use lux_engine::value::list::{End, ListValue};
use lux_engine::value::sort::{self, Direction, Pattern, Weights};
use lux_engine::value::string::number::IntText;
use lux_engine::wal::effect::Operation;

use super::list;
use crate::dispatch::args::{Args, Argv};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Keys};
use crate::dispatch::string_ref::StringRef;

const CATEGORIES: &[&str] = &["set", "sortedset", "list", "dangerous"];

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "SORT",
        since: "1.0.0",
        summary: "Sorts the elements of a list, set or sorted set, and returns them, what they name, or \
                  stores that as a list.",
        complexity: "O(N+M*log(M)) where N is the number of elements and M the number of returned ones.",
        arity: Arity::AtLeast(2),
        keys: Keys::Custom(sort_keys),
        key_access: &["RO", "access"],
        key_access_of: Some(sort_access),
        flags: Flags::WRITE.with(Flags::DENY_OOM),
        acl: CATEGORIES,
        arguments: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
                    [ALPHA] [STORE destination]",
        handler: sort_command,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "SORT_RO",
        since: "7.0.0",
        summary: "Sorts the elements of a list, set or sorted set, and returns them or what they name.",
        complexity: "O(N+M*log(M)) where N is the number of elements and M the number of returned ones.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        key_access: &["RO", "access"],
        flags: Flags::READONLY,
        acl: CATEGORIES,
        arguments: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] \
                    [ALPHA]",
        handler: sort_ro,
        ..CommandSpec::BASE
    },
];

/// The key, and the last target that is named.
fn sort_keys(argv: Argv<'_>, out: &mut Vec<usize>) {
    out.push(1);
    let (mut at, mut target) = (2, None);
    while let Some(word) = argv.get(at) {
        let is_word = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
        at += match () {
            () if is_word("LIMIT") => 3,
            () if is_word("BY") || is_word("GET") => 2,
            () if is_word("STORE") && at + 1 < argv.len() => {
                target = Some(at + 1);
                2
            }
            () => 1,
        };
    }
    out.extend(target);
}

/// The key is read, the target overwritten.
fn sort_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["RO", "access"] } else { &["OW", "update"] }
}

#[derive(Default)]
struct Options<'a> {
    /// The last BY.
    by: Option<Pattern<'a>>,
    /// A BY was constant: elements stay as they are.
    is_unsorted: bool,
    gets: Vec<Pattern<'a>>,
    is_descending: bool,
    is_alpha: bool,
    limit: Option<(i64, i64)>,
    target: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(mut args: Args<'a>, may_store: bool) -> Result<Self, CommandError> {
        let mut options = Options::default();
        while !args.is_empty() {
            match args.one_of(&["ASC", "DESC", "ALPHA", "LIMIT", "STORE", "BY", "GET"]) {
                Some(0) => options.is_descending = false,
                Some(1) => options.is_descending = true,
                Some(2) => options.is_alpha = true,
                Some(3) if args.remaining() >= 2 => options.limit = Some((args.int()?, args.int()?)),
                Some(4) if may_store && !args.is_empty() => options.target = Some(args.bytes()?),
                Some(5) if !args.is_empty() => {
                    let pattern = Pattern::parse(args.bytes()?);
                    options.is_unsorted |= pattern.is_constant();
                    options.by = Some(pattern);
                }
                Some(6) if !args.is_empty() => options.gets.push(Pattern::parse(args.bytes()?)),
                _ => return Err(errors::SYNTAX),
            }
        }
        Ok(options)
    }

    /// The part of `len` elements that is wanted.
    fn range(&self, len: usize) -> Range<usize> {
        self.limit.map_or(0..len, |(start, count)| sort::limit(len, start, count))
    }
}

/// Byte strings in one buffer.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    fn slices(&self) -> Vec<&[u8]> {
        self.iter().collect()
    }
}

/// What is to be sorted.
struct Source {
    elements: Texts,
    /// What of them is wanted, once they are in order.
    range: Range<usize>,
    is_set: bool,
    /// They are in order already, from the back.
    is_reversed: bool,
}

/// `SORT key [options]`
fn sort_command(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    sort_key(ctx, key, Options::parse(args, true)?, reply)
}

/// `SORT_RO key [options]`
fn sort_ro(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    sort_key(ctx, key, Options::parse(args, false)?, reply)
}

fn sort_key(
    ctx: &mut Context<'_>,
    key: &[u8],
    mut options: Options<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let Source { elements, range, is_set, is_reversed } = load(ctx, key, &options)?;
    if options.is_unsorted && is_set && options.target.is_some() {
        // What is stored must not depend on the order that a set happens to have.
        (options.is_unsorted, options.is_alpha, options.by) = (false, true, None);
    }
    let elements = elements.slices();
    gather(ctx, &elements, &range, &options)?;
    let chosen = match options.is_unsorted {
        true if is_reversed => range.rev().collect(),
        true => range.collect(),
        false => arrange(ctx, &elements, range, &options)?,
    };
    let outputs = outputs(ctx, &elements, &chosen, &options)?;
    match options.target {
        Some(target) => store(ctx, target, &outputs, reply),
        None => {
            reply.array(outputs.len());
            outputs.iter().for_each(|output| reply.bulk_or_null(output));
            Ok(())
        }
    }
}

/// Copies the elements of a key. Of a list or sorted set that stays as it is only what is wanted.
fn load(ctx: &mut Context<'_>, key: &[u8], options: &Options<'_>) -> Result<Source, CommandError> {
    let mut elements = Texts::default();
    let value = match ctx.lookup(key)?.map(|found| found.value) {
        None => return Ok(Source { elements, range: 0..0, is_set: false, is_reversed: false }),
        Some(ValueRef::Collection(collection)) => collection,
        Some(_) => return Err(errors::WRONG_TYPE),
    };
    let mut is_set = false;
    match value {
        Collection::Set(set) => {
            is_set = true;
            set.members().for_each(|member| elements.push(member.text(&mut IntText::default())));
        }
        Collection::List(list) => {
            let wanted = in_place(list.len() as usize, options);
            let last = wanted.end as i64 - 1;
            let part = list.range(wanted.start as i64, last).take(wanted.len());
            part.for_each(|element| elements.push(element));
        }
        Collection::ZSet(zset) => {
            let wanted = in_place(zset.len() as usize, options);
            let part = zset.range(wanted.start as u64..wanted.end as u64);
            part.for_each(|element| elements.push(element.member));
        }
        Collection::Hash(_) | Collection::Stream(_) => return Err(errors::WRONG_TYPE),
    }
    let is_cut = options.is_unsorted && !is_set;
    let range = if is_cut { 0..elements.len() } else { options.range(elements.len()) };
    Ok(Source { elements, range, is_set, is_reversed: is_cut && options.is_descending })
}

/// Which elements of an ordered collection to copy: those that are wanted if nothing is to be sorted,
/// counted from the end with DESC, else all.
fn in_place(len: usize, options: &Options<'_>) -> Range<usize> {
    if !options.is_unsorted {
        return 0..len;
    }
    let Range { start, end } = options.range(len);
    if options.is_descending { len - end..len - start } else { start..end }
}

/// Has all keys fetched that patterns name for the elements and that are known before they are in order.
fn gather(
    ctx: &mut Context<'_>,
    elements: &[&[u8]],
    range: &Range<usize>,
    options: &Options<'_>,
) -> CommandResult {
    let by = options.by.iter().filter(|_| !options.is_unsorted);
    // With LIMIT most elements may be none that GET is asked about.
    let gets = if range.len() == elements.len() { &options.gets[..] } else { &[] };
    gather_named(ctx, elements.iter().copied(), || by.clone().chain(gets))
}

/// Has the keys fetched that these patterns name for these elements.
fn gather_named<'p, 'a: 'p, P: Iterator<Item = &'p Pattern<'a>>>(
    ctx: &mut Context<'_>,
    elements: impl Iterator<Item = impl AsRef<[u8]>>,
    patterns: impl Fn() -> P,
) -> CommandResult {
    if patterns().next().is_none() {
        return Ok(());
    }
    let (mut keys, mut key) = (Texts::default(), Vec::new());
    for element in elements {
        for pattern in patterns() {
            if pattern.put_key(element.as_ref(), &mut key) {
                keys.push(&key);
            }
        }
    }
    ctx.gather(keys.iter())
}

/// The indexes of the elements in `range`, in order.
fn arrange(
    ctx: &mut Context<'_>,
    elements: &[&[u8]],
    range: Range<usize>,
    options: &Options<'_>,
) -> Result<Vec<usize>, CommandError> {
    let is_descending = options.is_descending;
    // What is stored is the same whatever the locale; Redis shows texts as C compares them.
    let direction = Direction { is_descending, is_binary: options.target.is_some() };
    match (&options.by, options.is_alpha) {
        (None, true) => Ok(sort::order(elements, Weights::Elements, direction, range)),
        (None, false) => {
            let numbers: Option<Vec<f64>> = elements.iter().map(|text| sort::parse_weight(text)).collect();
            let numbers = numbers.ok_or(errors::SORT_WEIGHT)?;
            Ok(sort::order(elements, Weights::Numbers(&numbers), direction, range))
        }
        (Some(by), true) => {
            let weights = Outputs::of(ctx, elements.iter().copied(), std::slice::from_ref(by))?;
            let texts: Vec<Option<&[u8]>> = weights.iter().collect();
            Ok(sort::order(elements, Weights::Texts(&texts), direction, range))
        }
        (Some(by), false) => {
            let (mut numbers, mut key) = (Vec::with_capacity(elements.len()), Vec::new());
            for element in elements {
                let number = named(ctx, by, element, &mut key, sort::parse_weight)?;
                numbers.push(number.unwrap_or(Some(0.0)).ok_or(errors::SORT_WEIGHT)?);
            }
            Ok(sort::order(elements, Weights::Numbers(&numbers), direction, range))
        }
    }
}

/// Texts, some of which are missing.
#[derive(Default)]
struct Outputs {
    texts: Texts,
    are_there: Vec<bool>,
}

impl Outputs {
    /// What these patterns name for each of the elements.
    fn of<'e>(
        ctx: &mut Context<'_>,
        elements: impl Iterator<Item = &'e [u8]>,
        patterns: &[Pattern<'_>],
    ) -> Result<Self, CommandError> {
        let (mut outputs, mut key) = (Outputs::default(), Vec::new());
        for element in elements {
            for pattern in patterns {
                let found = named(ctx, pattern, element, &mut key, |text| outputs.texts.push(text))?;
                if found.is_none() {
                    outputs.texts.push(b"");
                }
                outputs.are_there.push(found.is_some());
            }
        }
        Ok(outputs)
    }

    fn len(&self) -> usize {
        self.are_there.len()
    }

    fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.texts.iter().zip(&self.are_there).map(|(text, is_there)| is_there.then_some(text))
    }
}

/// What the reply or the target gets for the chosen elements.
fn outputs(
    ctx: &mut Context<'_>,
    elements: &[&[u8]],
    chosen: &[usize],
    options: &Options<'_>,
) -> Result<Outputs, CommandError> {
    let chosen = || chosen.iter().filter_map(|index| elements.get(*index).copied());
    if options.gets.is_empty() {
        return Outputs::of(ctx, chosen(), &[Pattern::Element]);
    }
    gather_named(ctx, chosen(), || options.gets.iter())?;
    Outputs::of(ctx, chosen(), &options.gets)
}

/// Gives `take` what a pattern names for an element; nothing if there is no such key or field.
fn named<T>(
    ctx: &mut Context<'_>,
    pattern: &Pattern<'_>,
    element: &[u8],
    key: &mut Vec<u8>,
    take: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, CommandError> {
    let field = match pattern {
        Pattern::Element => return Ok(Some(take(element))),
        Pattern::Constant => return Ok(None),
        Pattern::Key { field, .. } => *field,
    };
    pattern.put_key(element, key);
    let now_ms = ctx.now_ms();
    let Some(found) = ctx.lookup(key)? else { return Ok(None) };
    Ok(match (field, found.value) {
        (Some(field), ValueRef::Collection(Collection::Hash(hash))) => {
            hash.get(field, now_ms).map(|field| take(field.value))
        }
        (Some(_), _) => None,
        (None, _) => StringRef::of(&found).map(|string| take(string.text(&mut IntText::default()))),
    })
}

/// Stores what came out as a list; what is missing is empty.
fn store(
    ctx: &mut Context<'_>,
    target: &[u8],
    outputs: &Outputs,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    if outputs.len() == 0 {
        ctx.set_operation(Operation::Del);
        ctx.delete(target)?;
    } else {
        let (mut value, mut edit, mut encoded) = (ListValue::default(), Vec::new(), Vec::new());
        value.plan_push(End::Back, outputs.texts.iter(), list::limits(ctx), &mut edit);
        value.apply(&edit).expect("planned for this very list");
        drop(edit);
        value.encode(&mut encoded);
        ctx.set_operation(Operation::SortStore);
        ctx.put_collection(target, TypeTag::List, &encoded, None)?;
    }
    reply.integer(outputs.len() as i64);
    Ok(())
}
