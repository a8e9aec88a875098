//! Geohash arithmetic: positions as 52-bit scores, distances, and the cells that cover a search.
//!
//! A position is a sorted set's score: 26 bits of longitude and 26 of latitude, interleaved, so that
//! one box of the grid at any coarser step is one range of scores. A search estimates the step at
//! which a box is about as large as the searched area, takes the box of its center and the up to
//! eight around it, and the caller filters what lies in their ranges with [`Search::distance_to`].
//! Every function is a pure one of a few dozen floating-point operations, in the order in which
//! Redis does them: results must agree to the last bit, as clients see 17 digits of them.
//!
//! Source: the geohash files of Redis (src/geohash.c, src/geohash_helper.c, src/geo.c; BSD), which
//! come from Yin Qiwen's ardb. Sphere: radius 6,372,797.560856 m; latitudes up to +-85.05112878 (EPSG:3857).

use std::f64::consts::PI;
use std::ops::Range;

/// Largest longitude, in degrees; the smallest is its negative.
pub const LONGITUDE_MAX: f64 = 180.0;

/// Largest latitude, in degrees; the smallest is its negative.
pub const LATITUDE_MAX: f64 = 85.051_128_78;

/// Bits per coordinate of a score.
const STEP_MAX: u32 = 26;

const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half of the equator as the Mercator projection sees it, in meters.
const MERCATOR_MAX: f64 = 20_037_726.37;

/// The bits of a cell that belong to its longitude.
const X_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
/// The bits of a cell that belong to its latitude.
const Y_BITS: u64 = 0x5555_5555_5555_5555;

/// A place on the sphere, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// East of Greenwich.
    pub longitude: f64,
    /// North of the equator.
    pub latitude: f64,
}

/// What a search covers, in the unit of the search.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// All places up to this distance from the center.
    Radius(f64),
    /// A box with sides along meridians and parallels, the center in its middle.
    Box {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
    /// The inside of a polygon, its sides straight lines on a map of degrees.
    Polygon(Vec<Point>),
}

/// A search around a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// The middle of the area.
    pub center: Point,
    /// The area.
    pub shape: Shape,
    /// Meters per unit of the shape; see [`unit_meters`].
    pub unit: f64,
}

/// One box of the grid that has `2^step` boxes along each axis.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cell {
    bits: u64,
    step: u32,
}

/// Bounds of an area, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    longitude: Range1,
    latitude: Range1,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Range1 {
    min: f64,
    max: f64,
}

/// The grid of scores.
const GRID: Area = Area {
    longitude: Range1 { min: -LONGITUDE_MAX, max: LONGITUDE_MAX },
    latitude: Range1 { min: -LATITUDE_MAX, max: LATITUDE_MAX },
};

/// The grid of standard geohash texts, from pole to pole.
const STANDARD_GRID: Area =
    Area { longitude: Range1 { min: -180.0, max: 180.0 }, latitude: Range1 { min: -90.0, max: 90.0 } };

impl Point {
    /// Whether the place is inside of what scores can express.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (-LONGITUDE_MAX..=LONGITUDE_MAX).contains(&self.longitude)
            && (-LATITUDE_MAX..=LATITUDE_MAX).contains(&self.latitude)
    }

    /// The score of a valid place: a whole number below 2^52.
    #[must_use]
    pub fn score(self) -> f64 {
        debug_assert!(self.is_valid());
        Cell::at(self, STEP_MAX, &GRID).bits as f64
    }

    /// The middle of the box that a score stands for. Any score has one.
    #[must_use]
    pub fn from_score(score: f64) -> Point {
        // Scores that GEOADD does not make are converted as x86-64 has it in C: negative ones wrap
        // around, too large ones are 0.
        const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;
        let bits = match score {
            _ if score < 0.0 => score as i64 as u64,
            _ if score < TOO_LARGE => score as u64,
            _ => 0,
        };
        let area = Cell { bits, step: STEP_MAX }.area();
        let longitude = (area.longitude.min + area.longitude.max) / 2.0;
        let latitude = (area.latitude.min + area.latitude.max) / 2.0;
        Point {
            longitude: longitude.clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: latitude.clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    /// The great-circle distance in meters, by the haversine formula.
    #[must_use]
    pub fn distance(self, other: Point) -> f64 {
        let v = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        // About six nanometers.
        if v.abs() <= 1e-15 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (from, to) = (radians(self.latitude), radians(other.latitude));
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

/// The eleven characters of the standard geohash of a score's place. The last one is always `0`,
/// for a score has bits for ten.
#[must_use]
pub fn geohash_text(score: f64) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let bits = Cell::at(Point::from_score(score), STEP_MAX, &STANDARD_GRID).bits;
    let mut text = [b'0'; 11];
    for (index, byte) in text.iter_mut().take(10).enumerate() {
        *byte = ALPHABET[(bits >> (52 - (index + 1) * 5)) as usize & 0x1f];
    }
    text
}

/// Meters per unit (`m`, `km`, `ft`, `mi`, in any case).
#[must_use]
pub fn unit_meters(name: &[u8]) -> Option<f64> {
    [(&b"m"[..], 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)]
        .into_iter()
        .find(|(unit, _)| name.eq_ignore_ascii_case(unit))
        .map(|(_, meters)| meters)
}

/// Appends a distance as clients see it: four decimals.
pub fn push_distance(out: &mut Vec<u8>, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even() as i64;
    if scaled < 0 {
        out.push(b'-');
    }
    let scaled = scaled.unsigned_abs();
    out.extend_from_slice(format!("{}.{:04}", scaled / 10_000, scaled % 10_000).as_bytes());
}

/// Appends a coordinate as clients see it: up to 17 decimals without trailing zeros.
pub fn push_coordinate(out: &mut Vec<u8>, degrees: f64) {
    let text = format!("{degrees:.17}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    out.extend_from_slice(if text == "-0" { b"0" } else { text.as_bytes() });
}

impl Search {
    /// A search inside of a polygon. Distances are from the centroid of its corners.
    #[must_use]
    pub fn in_polygon(corners: Vec<Point>) -> Search {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for corner in &corners {
            let (east, north) = (radians(corner.longitude), radians(corner.latitude));
            x += north.cos() * east.cos();
            y += north.cos() * east.sin();
            z += north.sin();
        }
        let center =
            Point { longitude: degrees(y.atan2(x)), latitude: degrees(z.atan2((x * x + y * y).sqrt())) };
        Search { center, shape: Shape::Polygon(corners), unit: 1.0 }
    }

    /// The ranges of scores (end exclusive) in which every place of the area lies, at most nine,
    /// without overlaps, in the order in which Redis searches them.
    #[must_use]
    pub fn score_ranges(&self) -> Vec<Range<f64>> {
        let bounds = self.bounds();
        let mut step = self.step();
        let mut cell = Cell::at(self.center, step, &GRID);
        if step > 1 && !cell.neighbors_reach(&bounds) {
            step -= 1;
            cell = Cell::at(self.center, step, &GRID);
        }
        let area = cell.area();
        let is_fine = step >= 2;
        // Sides on which the center's box alone is enough.
        let south = is_fine && area.latitude.min < bounds.latitude.min;
        let north = is_fine && area.latitude.max > bounds.latitude.max;
        let west = is_fine && area.longitude.min < bounds.longitude.min;
        let east = is_fine && area.longitude.max > bounds.longitude.max;
        let mut cells = Vec::with_capacity(9);
        for (x, y) in [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)] {
            let is_useless = y < 0 && south || y > 0 && north || x < 0 && west || x > 0 && east;
            let neighbor = cell.moved(x, y);
            // Very large areas meet the same box on several sides.
            if !is_useless && !cells.contains(&neighbor) {
                cells.push(neighbor);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }

    /// The distance in meters of a place from the center, if it is in the area.
    #[must_use]
    pub fn distance_to(&self, place: Point) -> Option<f64> {
        match &self.shape {
            Shape::Radius(radius) => {
                let distance = self.center.distance(place);
                (distance <= radius * self.unit).then_some(distance)
            }
            Shape::Polygon(corners) => is_inside(corners, place).then(|| self.center.distance(place)),
            Shape::Box { width, height } => {
                let north = latitude_distance(place.latitude, self.center.latitude);
                if north > height * self.unit / 2.0 {
                    return None;
                }
                // Along the place's parallel, where the box is as wide as it says.
                let middle = Point { longitude: self.center.longitude, latitude: place.latitude };
                if place.distance(middle) > width * self.unit / 2.0 {
                    return None;
                }
                Some(self.center.distance(place))
            }
        }
    }

    /// A box around the area.
    fn bounds(&self) -> Area {
        let (width, height) = match &self.shape {
            Shape::Polygon(corners) => return Area::around(corners),
            Shape::Radius(radius) => (self.unit * radius, self.unit * radius),
            Shape::Box { width, height } => (self.unit * (width / 2.0), self.unit * (height / 2.0)),
        };
        let Point { longitude, latitude } = self.center;
        let up = degrees(height / EARTH_RADIUS_M);
        // The side that is nearer to a pole spans more degrees.
        let widest = if latitude < 0.0 { latitude - up } else { latitude + up };
        let side = degrees(width / EARTH_RADIUS_M / radians(widest).cos());
        Area {
            longitude: Range1 { min: longitude - side, max: longitude + side },
            latitude: Range1 { min: latitude - up, max: latitude + up },
        }
    }

    /// The step at which a box of the grid is about as large as the area.
    fn step(&self) -> u32 {
        let mut meters = self.unit
            * match &self.shape {
                Shape::Radius(radius) => *radius,
                Shape::Polygon(corners) => Area::around(corners).farthest_corner(self.center),
                Shape::Box { width, height } => {
                    ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
                }
            };
        if meters == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1i32;
        while meters < MERCATOR_MAX {
            meters *= 2.0;
            step += 1;
        }
        // Two less, so that the area is inside of the nine boxes in most cases.
        step -= 2;
        // Boxes are narrower near the poles.
        let latitude = self.center.latitude.abs();
        step -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        step.clamp(1, STEP_MAX as i32).unsigned_abs()
    }
}

impl Area {
    /// The smallest area with all places in it.
    fn around(places: &[Point]) -> Area {
        let mut area = Area {
            longitude: Range1 { min: LONGITUDE_MAX, max: -LONGITUDE_MAX },
            latitude: Range1 { min: LATITUDE_MAX, max: -LATITUDE_MAX },
        };
        for place in places {
            area.longitude.min = area.longitude.min.min(place.longitude);
            area.longitude.max = area.longitude.max.max(place.longitude);
            area.latitude.min = area.latitude.min.min(place.latitude);
            area.latitude.max = area.latitude.max.max(place.latitude);
        }
        area
    }

    fn farthest_corner(&self, from: Point) -> f64 {
        let Area { longitude, latitude } = *self;
        [(longitude.min, latitude.max), (longitude.max, latitude.max)]
            .into_iter()
            .chain([(longitude.min, latitude.min), (longitude.max, latitude.min)])
            .map(|(longitude, latitude)| from.distance(Point { longitude, latitude }))
            .fold(0.0, f64::max)
    }
}

impl Cell {
    /// The box of a place. The place is inside of the grid.
    fn at(place: Point, step: u32, grid: &Area) -> Cell {
        let scale = (1u64 << step) as f64;
        let part = |value: f64, range: Range1| ((value - range.min) / (range.max - range.min) * scale) as u32;
        let x = part(place.longitude, grid.longitude);
        let y = part(place.latitude, grid.latitude);
        Cell { bits: spread(y) | spread(x) << 1, step }
    }

    fn area(self) -> Area {
        let scale = (1u64 << self.step) as f64;
        let part = |index: u32, range: Range1| Range1 {
            min: range.min + (f64::from(index) * 1.0 / scale) * (range.max - range.min),
            max: range.min + (f64::from(index.wrapping_add(1)) * 1.0 / scale) * (range.max - range.min),
        };
        Area {
            longitude: part(gather(self.bits >> 1), GRID.longitude),
            latitude: part(gather(self.bits), GRID.latitude),
        }
    }

    /// The box that lies `x` boxes to the east and `y` to the north, around the edges of the grid.
    fn moved(self, x: i32, y: i32) -> Cell {
        let unused = 64 - self.step * 2;
        // The easternmost and northernmost places lie in a box behind the last; only a move takes it around.
        let (mut xs, mut ys) = (self.bits & X_BITS, self.bits & Y_BITS);
        // With the other coordinate's bits set, a carry passes through them.
        let (x_one, y_one) = ((Y_BITS >> unused) + 1, (X_BITS >> unused).wrapping_add(1));
        match x {
            1 => xs = xs.wrapping_add(x_one) & X_BITS >> unused,
            -1 => xs = (xs | Y_BITS >> unused).wrapping_sub(x_one) & X_BITS >> unused,
            _ => {}
        }
        match y {
            1 => ys = ys.wrapping_add(y_one) & Y_BITS >> unused,
            -1 => ys = (ys | X_BITS >> unused).wrapping_sub(y_one) & Y_BITS >> unused,
            _ => {}
        }
        Cell { bits: xs | ys, step: self.step }
    }

    /// Whether this box and those around it reach beyond `bounds` on all sides.
    fn neighbors_reach(self, bounds: &Area) -> bool {
        self.moved(0, 1).area().latitude.max >= bounds.latitude.max
            && self.moved(0, -1).area().latitude.min <= bounds.latitude.min
            && self.moved(1, 0).area().longitude.max >= bounds.longitude.max
            && self.moved(-1, 0).area().longitude.min <= bounds.longitude.min
    }

    /// The scores of all places in the box.
    fn scores(self) -> Range<f64> {
        let unused = (STEP_MAX - self.step) * 2;
        (self.bits << unused) as f64..((self.bits + 1) << unused) as f64
    }
}

/// Moves the bits of a number to the even positions.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    bits = (bits | bits << 16) & 0x0000_ffff_0000_ffff;
    bits = (bits | bits << 8) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits << 2) & 0x3333_3333_3333_3333;
    (bits | bits << 1) & Y_BITS
}

/// Takes the bits at the even positions together: the reverse of [`spread`].
fn gather(value: u64) -> u32 {
    let mut bits = value & Y_BITS;
    bits = (bits | bits >> 1) & 0x3333_3333_3333_3333;
    bits = (bits | bits >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    bits = (bits | bits >> 4) & 0x00ff_00ff_00ff_00ff;
    bits = (bits | bits >> 8) & 0x0000_ffff_0000_ffff;
    (bits | bits >> 16) as u32
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// Whether a place is inside of a polygon: a ray from it crosses an odd number of sides
/// (W. Randolph Franklin's PNPOLY).
fn is_inside(corners: &[Point], place: Point) -> bool {
    let before = corners.iter().cycle().skip(corners.len().saturating_sub(1));
    corners.iter().zip(before).fold(false, |inside, (a, b)| {
        let crosses = (a.latitude > place.latitude) != (b.latitude > place.latitude)
            && place.longitude
                < (b.longitude - a.longitude) * (place.latitude - a.latitude) / (b.latitude - a.latitude)
                    + a.longitude;
        inside != crosses
    })
}

/// The distance in meters of two places on one meridian.
fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (radians(b) - radians(a)).abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(longitude: f64, latitude: f64) -> Point {
        Point { longitude, latitude }
    }

    /// What GEOADD, GEOHASH and GEOPOS of redis-server 7.0.15 and valkey-server 9.1.2 make of places.
    const PLACES: &[(f64, f64, f64, &str, &str, &str)] = &[
        (
            13.361389,
            38.115556,
            3479099956230698.0,
            "sqc8b49rny0",
            "13.36138933897018433",
            "38.11555639549629859",
        ),
        (
            15.087269,
            37.502669,
            3479447370796909.0,
            "sqdtr74hyu0",
            "15.08726745843887329",
            "37.50266842333162032",
        ),
        (
            -122.4194,
            37.7749,
            1367859919124626.0,
            "9q8yyk8ytp0",
            "-122.41940170526504517",
            "37.77490001056577995",
        ),
        (0.0, 0.0, 3377699720527872.0, "s0000000000", "0.00000268220901489", "0.00000126736058093"),
        (180.0, LATITUDE_MAX, 13510798882111488.0, "bp05b5048p0", "180", "85.0511287799999991"),
        (-180.0, -LATITUDE_MAX, 0.0, "00bh0hbj200", "-179.99999731779098511", "-85.05112751263942528"),
    ];

    fn text(push: fn(&mut Vec<u8>, f64), value: f64) -> String {
        let mut out = Vec::new();
        push(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn places_are_scores_and_texts() {
        for &(longitude, latitude, score, hash, east, north) in PLACES {
            assert_eq!(at(longitude, latitude).score(), score);
            assert_eq!(geohash_text(score), hash.as_bytes());
            let middle = Point::from_score(score);
            assert_eq!(text(push_coordinate, middle.longitude), east);
            assert_eq!(text(push_coordinate, middle.latitude), north);
        }
    }

    #[test]
    fn any_score_has_a_place() {
        let corner = (at(180.0, LATITUDE_MAX), "bp05b5048p0");
        let origin = (Point::from_score(0.0), "00bh0hbj200");
        for (score, (place, hash)) in
            [(-5.0, corner), (1e300, origin), (f64::INFINITY, origin), (f64::NEG_INFINITY, origin)]
        {
            if score.is_finite() || score > 0.0 {
                assert_eq!(Point::from_score(score), place);
                assert_eq!(geohash_text(score), hash.as_bytes());
            }
            assert!(Point::from_score(score).is_valid());
        }
        assert_eq!(geohash_text(4503599627370495.0), *b"zzpgzgpfxz0");
        assert_eq!(geohash_text(3.7), *b"00bh0hbj210");
    }

    #[test]
    fn distances_have_four_decimals() {
        let place = |index: usize| Point::from_score(PLACES[index].2);
        for (from, to, unit, expected) in [
            (0, 1, "m", "166274.1516"),
            (0, 1, "KM", "166.2742"),
            (0, 1, "mi", "103.3182"),
            (0, 1, "ft", "545518.8700"),
            (3, 3, "m", "0.0000"),
            (4, 5, "m", "18919844.5891"),
        ] {
            let distance = place(from).distance(place(to)) / unit_meters(unit.as_bytes()).unwrap();
            assert_eq!(text(push_distance, distance), expected);
        }
        assert_eq!(text(push_distance, 0.00005), "0.0000");
        assert_eq!(text(push_distance, 0.77501), "0.7750");
        assert_eq!(text(push_distance, -1.5), "-1.5000");
        assert_eq!(text(push_coordinate, -0.0), "0");
        assert_eq!(unit_meters(b"yd"), None);
    }

    /// Against valkey-server 9.1.2.
    #[test]
    fn polygons_are_searched_from_their_centroid() {
        let search = Search::in_polygon(vec![at(10.0, 30.0), at(20.0, 30.0), at(15.0, 45.0)]);
        let found = |index: usize| search.distance_to(Point::from_score(PLACES[index].2));
        assert_eq!(found(0).map(|distance| text(push_distance, distance)).as_deref(), Some("369997.5654"));
        assert_eq!(found(1).map(|distance| text(push_distance, distance)).as_deref(), Some("271790.7291"));
        assert_eq!(found(2), None);
        let point = Search::in_polygon(vec![at(10.0, 30.0); 3]);
        assert_eq!(point.distance_to(at(10.0, 30.0)), None);
        assert!(!point.score_ranges().is_empty());
    }

    /// The scores found by reading the ranges of a search, against those found by reading all.
    fn check_cover(search: &Search, places: &[Point]) {
        let ranges = search.score_ranges();
        assert!(ranges.len() <= 9);
        for (index, one) in ranges.iter().enumerate() {
            assert!(
                ranges.iter().skip(index + 1).all(|other| one.end <= other.start || other.end <= one.start)
            );
        }
        for place in places {
            let score = place.score();
            let place = Point::from_score(score);
            if search.distance_to(place).is_some() {
                assert!(ranges.iter().any(|range| range.contains(&score)), "{search:?} misses {place:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn places_survive_their_scores(longitude in -180.0f64..180.0, latitude in -85.05f64..85.05) {
            let place = at(longitude, latitude);
            let middle = Point::from_score(place.score());
            prop_assert_eq!(middle.score(), place.score());
            prop_assert!((middle.longitude - longitude).abs() < 360.0 / f64::from(1 << 26));
            prop_assert!((middle.latitude - latitude).abs() < 180.0 / f64::from(1 << 26));
        }

        #[test]
        fn bits_are_spread_and_gathered(a: u32, b: u32) {
            let both = spread(a) | spread(b) << 1;
            prop_assert_eq!((gather(both), gather(both >> 1)), (a, b));
        }

        /// Away from the edges of the grid, beyond which Redis does not look either.
        #[test]
        fn ranges_cover_what_is_near(
            longitude in -150.0f64..150.0,
            latitude in -60.0f64..60.0,
            meters in 1.0f64..500_000.0,
            aspect in 0.1f64..10.0,
            offsets in proptest::collection::vec((-1.2f64..1.2, -1.2f64..1.2), 1..100),
        ) {
            let center = at(longitude, latitude);
            let degrees = meters / 111_000.0;
            let corners = [(-0.9, -0.5), (0.3, -0.8), (0.7, 0.9), (0.1, 0.2)];
            let corners = corners.map(|(x, y)| at(longitude + x * degrees, latitude + y * degrees));
            let places: Vec<Point> = offsets
                .iter()
                .map(|(x, y)| at(longitude + x * degrees, latitude + y * degrees))
                .filter(|place| place.is_valid())
                .collect();
            check_cover(&Search { center, shape: Shape::Radius(meters), unit: 1.0 }, &places);
            let shape = Shape::Box { width: meters * aspect, height: meters };
            check_cover(&Search { center, shape, unit: 1.0 }, &places);
            check_cover(&Search::in_polygon(corners.to_vec()), &places);
        }

        #[test]
        fn any_search_has_ranges(
            longitude in -180.0f64..=180.0,
            latitude in -85.05f64..=85.05,
            width in proptest::num::f64::POSITIVE,
            height in proptest::num::f64::POSITIVE,
        ) {
            let center = at(longitude, latitude);
            let search = Search { center, shape: Shape::Box { width, height }, unit: 1609.34 };
            prop_assert!(search.score_ranges().len() <= 9);
            let _ = search.distance_to(at(-longitude, latitude));
        }
    }
}
