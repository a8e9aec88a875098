//! Geo commands: places as members of sorted sets, their scores being 52-bit geohashes.
//!
//! The arithmetic is the engine's ([`lux_engine::value::geo`]); here are arguments and replies. A search
//! reads up to nine ranges of scores and keeps what lies in its area.

use lux_engine::value::geo::{
    Point, Search, Shape, geohash_text, push_coordinate, push_distance, unit_meters,
};
use lux_engine::value::zset::{AddOptions, Builder, ScoreRange, ZSetValue};
use lux_engine::wal::effect::Operation;

use super::zset::{self, store_access};
use crate::dispatch::args::{Args, Argv, parse_float, parse_int};
use crate::dispatch::context::Context;
use crate::dispatch::reply::{CommandError, CommandResult, ReplySink};
use crate::dispatch::reply_errors as errors;
use crate::dispatch::spec::{Arity, CommandSpec, Flags, Group, Keys};

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE.with(Flags::DENY_OOM);

pub(crate) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "GEOADD",
        since: "3.2.0",
        group: Group::Geo,
        summary: "Adds places to an index, or moves those that are there.",
        complexity: "O(log(N)) for each place, where N is the size of the index.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        flags: WRITE,
        arguments: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        handler: geoadd,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEODIST",
        since: "3.2.0",
        group: Group::Geo,
        summary: "Returns the distance between two places.",
        arity: Arity::AtLeast(4),
        keys: Keys::First,
        flags: READ,
        arguments: "key member1 member2 [M | KM | FT | MI]",
        handler: geodist,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEOHASH",
        since: "3.2.0",
        group: Group::Geo,
        summary: "Returns places as geohash texts.",
        complexity: "O(1) for each place asked for.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key [member [member ...]]",
        handler: geohash,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEOPOS",
        since: "3.2.0",
        group: Group::Geo,
        summary: "Returns the longitudes and latitudes of places.",
        complexity: "O(1) for each place asked for.",
        arity: Arity::AtLeast(2),
        keys: Keys::First,
        flags: READ,
        arguments: "key [member [member ...]]",
        handler: geopos,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEORADIUS",
        since: "3.2.0",
        group: Group::Geo,
        summary: "Returns or stores the places around a point, up to a distance.",
        complexity: "O(N+log(M)) where N is the number of places in the boxes around the area \
                     and M the number of places in it.",
        arity: Arity::AtLeast(6),
        keys: Keys::Custom(radius_keys),
        key_access_of: Some(radius_access),
        flags: WRITE,
        arguments: "key longitude latitude radius M | KM | FT | MI [WITHCOORD] [WITHDIST] \
                    [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | \
                    STOREDIST key]",
        handler: georadius,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEORADIUS_RO",
        since: "3.2.10",
        group: Group::Geo,
        summary: "Returns the places around a point, up to a distance.",
        complexity: "O(N+log(M)) where N is the number of places in the boxes around the area \
                     and M the number of places in it.",
        arity: Arity::AtLeast(6),
        keys: Keys::First,
        flags: READ,
        arguments: "key longitude latitude radius M | KM | FT | MI [WITHCOORD] [WITHDIST] \
                    [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        handler: georadius_ro,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEORADIUSBYMEMBER",
        since: "3.2.0",
        group: Group::Geo,
        summary: "Returns or stores the places around one of them, up to a distance.",
        complexity: "O(N+log(M)) where N is the number of places in the boxes around the area \
                     and M the number of places in it.",
        arity: Arity::AtLeast(5),
        keys: Keys::Custom(radius_by_member_keys),
        key_access_of: Some(radius_access),
        flags: WRITE,
        arguments: "key member radius M | KM | FT | MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT \
                    count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        handler: georadiusbymember,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEORADIUSBYMEMBER_RO",
        since: "3.2.10",
        group: Group::Geo,
        summary: "Returns the places around one of them, up to a distance.",
        complexity: "O(N+log(M)) where N is the number of places in the boxes around the area \
                     and M the number of places in it.",
        arity: Arity::AtLeast(5),
        keys: Keys::First,
        flags: READ,
        arguments: "key member radius M | KM | FT | MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT \
                    count [ANY]] [ASC | DESC]",
        handler: georadiusbymember_ro,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEOSEARCH",
        since: "6.2.0",
        group: Group::Geo,
        summary: "Returns the places in a circle, a box or a polygon.",
        complexity: "O(N+log(M)) where N is the number of places in the boxes around the area \
                     and M the number of places in it.",
        arity: Arity::AtLeast(7),
        keys: Keys::First,
        flags: READ,
        arguments: "key [FROMMEMBER member | FROMLONLAT longitude latitude] BYRADIUS radius M | \
                    KM | FT | MI | BYBOX width height M | KM | FT | MI | \
                    BYPOLYGON num-vertices longitude latitude [longitude \
                    latitude ...] [ASC | DESC] [COUNT count [ANY]] \
                    [WITHCOORD] [WITHDIST] [WITHHASH]",
        handler: geosearch,
        ..CommandSpec::BASE
    },
    CommandSpec {
        name: "GEOSEARCHSTORE",
        since: "6.2.0",
        group: Group::Geo,
        summary: "Stores the places in a circle, a box or a polygon.",
        complexity: "O(N+log(M)) where N is the number of places in the boxes around the area \
                     and M the number of places in it.",
        arity: Arity::AtLeast(8),
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        key_access_of: Some(store_access),
        flags: WRITE,
        arguments: "destination source [FROMMEMBER member | FROMLONLAT longitude latitude] \
                    BYRADIUS radius M | KM | FT | MI | BYBOX width height M | \
                    KM | FT | MI | BYPOLYGON num-vertices longitude latitude \
                    [longitude latitude ...] [ASC | DESC] [COUNT count [ANY]] \
                    [STOREDIST]",
        handler: geosearchstore,
        ..CommandSpec::BASE
    },
];

/// The index, and the last target that is named.
fn radius_keys(argv: Argv<'_>, out: &mut Vec<usize>) {
    keys_with_target(argv, 6, out);
}

fn radius_by_member_keys(argv: Argv<'_>, out: &mut Vec<usize>) {
    keys_with_target(argv, 5, out);
}

fn keys_with_target(argv: Argv<'_>, first_option: usize, out: &mut Vec<usize>) {
    out.push(1);
    let is_word = |at: usize| {
        let word = argv.get(at).unwrap_or_default();
        word.eq_ignore_ascii_case(b"STORE") || word.eq_ignore_ascii_case(b"STOREDIST")
    };
    let mut targets = (first_option..argv.len().saturating_sub(1)).filter(|at| is_word(*at));
    out.extend(targets.next_back().map(|at| at + 1));
}

/// The index is read, the target overwritten.
fn radius_access(_: Argv<'_>, nth: usize) -> &'static [&'static str] {
    if nth == 0 { &["RO", "access"] } else { &["OW", "update"] }
}

/// A target and what is measured or stored of what a search found.
#[derive(Default)]
struct SearchOptions<'a> {
    with_distance: bool,
    with_hash: bool,
    with_coordinates: bool,
    order: Option<Order>,
    count: Option<u64>,
    is_any: bool,
    target: Option<&'a [u8]>,
    stores_distance: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// Where a search starts.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Member(&'a [u8]),
    Place(Point),
    /// The centroid of a polygon.
    Shape,
}

/// A place that a search found.
struct FoundPlace {
    member: Vec<u8>,
    score: f64,
    place: Point,
    distance: f64,
}

/// Reads a longitude and a latitude.
fn point(args: &mut Args<'_>) -> Result<Point, CommandError> {
    let point = Point { longitude: args.float()?, latitude: args.float()? };
    if point.is_valid() { Ok(point) } else { Err(errors::geo_pair(point.longitude, point.latitude)) }
}

/// Reads a unit.
fn unit(args: &mut Args<'_>) -> Result<f64, CommandError> {
    unit_meters(args.bytes()?).ok_or(errors::GEO_UNIT)
}

/// Reads a radius and its unit.
fn radius(args: &mut Args<'_>) -> Result<(Shape, f64), CommandError> {
    let radius = parse_float(args.bytes()?).ok_or(errors::GEO_RADIUS)?;
    if radius < 0.0 {
        return Err(errors::GEO_RADIUS_NEGATIVE);
    }
    Ok((Shape::Radius(radius), unit(args)?))
}

/// Reads width, height and their unit.
fn sides(args: &mut Args<'_>) -> Result<(Shape, f64), CommandError> {
    let width = parse_float(args.bytes()?).ok_or(errors::GEO_WIDTH)?;
    let height = parse_float(args.bytes()?).ok_or(errors::GEO_HEIGHT)?;
    if width < 0.0 || height < 0.0 {
        return Err(errors::GEO_BOX_NEGATIVE);
    }
    Ok((Shape::Box { width, height }, unit(args)?))
}

/// Reads the corners of a polygon.
fn corners(args: &mut Args<'_>) -> Result<(Shape, f64), CommandError> {
    let count = args.next().and_then(parse_int).ok_or(errors::GEO_VERTICES)?;
    let Some(count) = usize::try_from(count).ok().filter(|n| *n >= 3 && *n <= args.remaining() / 2) else {
        return Err(errors::GEO_FEW_VERTICES);
    };
    let corners = (0..count).map(|_| point(args)).collect::<Result<_, _>>()?;
    Ok((Shape::Polygon(corners), 1.0))
}

/// `GEOADD key [NX | XX] [CH] longitude latitude member [...]`
fn geoadd(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    let mut options = AddOptions::default();
    let mut counts_changed = false;
    while let Some(option) = args.one_of(&["NX", "XX", "CH"]) {
        match option {
            0 => options.only_new = true,
            1 => options.only_existing = true,
            _ => counts_changed = true,
        }
    }
    if args.is_empty() || !args.remaining().is_multiple_of(3) || options.only_new && options.only_existing {
        return Err(errors::SYNTAX);
    }
    let mut pairs = Vec::with_capacity(args.remaining() / 3);
    while !args.is_empty() {
        pairs.push((point(&mut args)?.score(), args.bytes()?));
    }
    ctx.set_operation(Operation::ZAdd);
    let added = zset::add_pairs(ctx, key, &pairs, options)?;
    reply.integer((added.added + if counts_changed { added.changed } else { 0 }) as i64);
    Ok(())
}

/// `GEODIST key member1 member2 [unit]`
fn geodist(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (key, from, to) = (args.key()?, args.bytes()?, args.bytes()?);
    if args.remaining() > 1 {
        return Err(errors::SYNTAX);
    }
    let unit = if args.is_empty() { 1.0 } else { unit(&mut args)? };
    let value = ctx.zset(key)?;
    let place = |member| value.and_then(|value| value.score(member)).map(Point::from_score);
    match (place(from), place(to)) {
        (Some(from), Some(to)) => write_distance(from.distance(to) / unit, reply),
        _ => reply.null(),
    }
    Ok(())
}

fn write_distance(distance: f64, reply: &mut dyn ReplySink) {
    let mut text = Vec::new();
    push_distance(&mut text, distance);
    reply.bulk(&text);
}

fn write_point(point: Point, reply: &mut dyn ReplySink) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        let mut text = Vec::new();
        push_coordinate(&mut text, degrees);
        reply.number(&String::from_utf8_lossy(&text));
    }
}

/// `GEOHASH key [member [member ...]]`
fn geohash(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let value = ctx.zset(args.key()?)?;
    reply.array(args.remaining());
    for member in args {
        match value.and_then(|value| value.score(member)) {
            Some(score) => reply.bulk(&geohash_text(score)),
            None => reply.null(),
        }
    }
    Ok(())
}

/// `GEOPOS key [member [member ...]]`
fn geopos(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let value = ctx.zset(args.key()?)?;
    reply.array(args.remaining());
    for member in args {
        match value.and_then(|value| value.score(member)) {
            Some(score) => write_point(Point::from_score(score), reply),
            None => reply.null_array(),
        }
    }
    Ok(())
}

/// `GEORADIUS key longitude latitude radius unit [options]`
fn georadius(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    around_point(ctx, args, true, reply)
}

/// `GEORADIUS_RO key longitude latitude radius unit [options]`
fn georadius_ro(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    around_point(ctx, args, false, reply)
}

fn around_point(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    may_store: bool,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let key = args.key()?;
    ctx.zset(key)?;
    let center = point(&mut args)?;
    let (shape, unit) = radius(&mut args)?;
    let options = radius_options(args, may_store)?;
    search(ctx, key, Origin::Place(center), shape, unit, options, reply)
}

/// `GEORADIUSBYMEMBER key member radius unit [options]`
fn georadiusbymember(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    around_member(ctx, args, true, reply)
}

/// `GEORADIUSBYMEMBER_RO key member radius unit [options]`
fn georadiusbymember_ro(ctx: &mut Context<'_>, args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    around_member(ctx, args, false, reply)
}

fn around_member(
    ctx: &mut Context<'_>,
    mut args: Args<'_>,
    may_store: bool,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let (key, member) = (args.key()?, args.bytes()?);
    let is_there = ctx.zset(key)?.map(|value| value.score(member).is_some());
    let (shape, unit) = match is_there {
        Some(true) => radius(&mut args)?,
        Some(false) => return Err(errors::no_such_member(member)),
        None => {
            // Redis does not look at them then.
            args.by_ref().take(2).for_each(drop);
            (Shape::Radius(0.0), 1.0)
        }
    };
    let options = radius_options(args, may_store)?;
    search(ctx, key, Origin::Member(member), shape, unit, options, reply)
}

fn radius_options(mut args: Args<'_>, may_store: bool) -> Result<SearchOptions<'_>, CommandError> {
    let mut options = SearchOptions::default();
    while !args.is_empty() {
        if options.take(&mut args)? {
            continue;
        }
        let stores_distance = match args.one_of(&["STORE", "STOREDIST"]) {
            Some(word) if may_store => word == 1,
            _ => return Err(errors::SYNTAX),
        };
        (options.target, options.stores_distance) = (Some(args.bytes()?), stores_distance);
    }
    options.check("STORE option in GEORADIUS")?;
    Ok(options)
}

impl<'a> SearchOptions<'a> {
    /// Takes an option that all searches have.
    fn take(&mut self, args: &mut Args<'a>) -> Result<bool, CommandError> {
        match args.one_of(&["WITHDIST", "WITHHASH", "WITHCOORD", "ANY", "ASC", "DESC", "COUNT"]) {
            Some(0) => self.with_distance = true,
            Some(1) => self.with_hash = true,
            Some(2) => self.with_coordinates = true,
            Some(3) => self.is_any = true,
            Some(4) => self.order = Some(Order::Ascending),
            Some(5) => self.order = Some(Order::Descending),
            Some(_) => {
                let count = u64::try_from(args.int()?).ok().filter(|count| *count > 0);
                self.count = Some(count.ok_or(errors::GEO_COUNT)?);
            }
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Refuses to measure what is stored. `storing` names the option or the command.
    fn check(&self, storing: &str) -> CommandResult {
        if self.target.is_some() && (self.with_distance || self.with_hash || self.with_coordinates) {
            return Err(errors::geo_store(storing));
        }
        if self.is_any && self.count.is_none() { Err(errors::GEO_ANY) } else { Ok(()) }
    }
}

/// `GEOSEARCH key origin shape [options]`
fn geosearch(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let key = args.key()?;
    search_as_said(ctx, args, key, None, reply)
}

/// `GEOSEARCHSTORE destination source origin shape [options]`
fn geosearchstore(ctx: &mut Context<'_>, mut args: Args<'_>, reply: &mut dyn ReplySink) -> CommandResult {
    let (target, source) = (args.key()?, args.key()?);
    search_as_said(ctx, args, source, Some(target), reply)
}

fn search_as_said<'a>(
    ctx: &mut Context<'_>,
    mut args: Args<'a>,
    key: &[u8],
    target: Option<&'a [u8]>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let name = args.argv().get(0).unwrap_or_default();
    let mut options = SearchOptions { target, ..SearchOptions::default() };
    let (mut origin, mut area) = (None, None);
    let value = ctx.zset(key)?;
    while !args.is_empty() {
        if options.take(&mut args)? {
            continue;
        }
        // A kind of origin or area may come again, and the last one counts, but not another kind.
        let from_member = matches!(origin, None | Some(Origin::Member(_)));
        let from_place = matches!(origin, None | Some(Origin::Place(_)));
        let by_radius = matches!(area, None | Some((Shape::Radius(_), _)));
        let by_box = matches!(area, None | Some((Shape::Box { .. }, _)));
        if target.is_some() && args.keyword("STOREDIST") {
            options.stores_distance = true;
        } else if from_member && args.remaining() > 1 && args.keyword("FROMMEMBER") {
            let member = args.bytes()?;
            if value.is_some_and(|value| value.score(member).is_none()) {
                return Err(errors::no_such_member(member));
            }
            origin = Some(Origin::Member(member));
        } else if from_place && args.remaining() > 2 && args.keyword("FROMLONLAT") {
            origin = Some(Origin::Place(point(&mut args)?));
        } else if by_radius && args.remaining() > 2 && args.keyword("BYRADIUS") {
            area = Some(radius(&mut args)?);
        } else if by_box && args.remaining() > 3 && args.keyword("BYBOX") {
            area = Some(sides(&mut args)?);
        } else if area.is_none() && origin.is_none() && args.remaining() > 1 && args.keyword("BYPOLYGON") {
            area = Some(corners(&mut args)?);
            origin = Some(Origin::Shape);
        } else {
            return Err(errors::SYNTAX);
        }
    }
    let origin = origin.ok_or_else(|| errors::geo_exactly_one("FROMMEMBER or FROMLONLAT", name))?;
    let shapes = "BYRADIUS, BYBOX and BYPOLYGON";
    let (shape, unit) = area.ok_or_else(|| errors::geo_exactly_one(shapes, name))?;
    options.check("GEOSEARCHSTORE")?;
    search(ctx, key, origin, shape, unit, options, reply)
}

/// Finds, orders, and writes or stores.
fn search(
    ctx: &mut Context<'_>,
    key: &[u8],
    origin: Origin<'_>,
    shape: Shape,
    unit: f64,
    options: SearchOptions<'_>,
    reply: &mut dyn ReplySink,
) -> CommandResult {
    let mut found = Vec::new();
    if let Some(value) = ctx.zset(key)? {
        let search = match (origin, shape) {
            (_, Shape::Polygon(corners)) => Search::in_polygon(corners),
            (Origin::Place(center), shape) => Search { center, shape, unit },
            (Origin::Member(member), shape) => {
                let score = value.score(member).ok_or_else(|| errors::no_such_member(member))?;
                Search { center: Point::from_score(score), shape, unit }
            }
            (Origin::Shape, _) => return Err(errors::SYNTAX),
        };
        find(value, &search, options.count.filter(|_| options.is_any), &mut found);
    }
    // The nearest, if only some are wanted.
    let order = options.order.or((options.count.is_some() && !options.is_any).then_some(Order::Ascending));
    match order {
        Some(Order::Ascending) => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Some(Order::Descending) => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
        None => {}
    }
    if let Some(count) = options.count {
        found.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    }
    for place in &mut found {
        place.distance /= unit;
    }
    match options.target {
        Some(target) => {
            let mut built = Builder::new();
            for place in found {
                built.push(&place.member, if options.stores_distance { place.distance } else { place.score });
            }
            if ctx.command.full_name.starts_with("georadius") {
                ctx.set_operation(Operation::GeoRadiusStore);
            }
            zset::store(ctx, target, built, reply)
        }
        None => {
            reply.array(found.len());
            found.iter().for_each(|place| write_found(place, &options, reply));
            Ok(())
        }
    }
}

/// Collects the places of an area, up to a number if any will do.
fn find(value: &ZSetValue, search: &Search, enough: Option<u64>, found: &mut Vec<FoundPlace>) {
    for scores in search.score_ranges() {
        let range =
            ScoreRange { min: scores.start, max: scores.end, is_min_excluded: false, is_max_excluded: true };
        for element in value.range(value.score_ranks(&range)) {
            if enough.is_some_and(|enough| found.len() as u64 >= enough) {
                return;
            }
            let place = Point::from_score(element.score);
            if let Some(distance) = search.distance_to(place) {
                found.push(FoundPlace {
                    member: element.member.to_vec(),
                    score: element.score,
                    place,
                    distance,
                });
            }
        }
    }
}

fn write_found(place: &FoundPlace, options: &SearchOptions<'_>, reply: &mut dyn ReplySink) {
    let extras = [options.with_distance, options.with_hash, options.with_coordinates]
        .into_iter()
        .filter(|w| *w)
        .count();
    if extras > 0 {
        reply.array(extras + 1);
    }
    reply.bulk(&place.member);
    if options.with_distance {
        write_distance(place.distance, reply);
    }
    if options.with_hash {
        reply.integer(place.score as i64);
    }
    if options.with_coordinates {
        write_point(place.place, reply);
    }
}
