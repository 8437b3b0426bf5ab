//! Geohashes against what other programs answer, and shapes against looking at each point.

use proptest::prelude::*;

use super::{
    LATITUDE_MAX, LONGITUDE_MAX, Outline, Point, Shape, deinterleave, hash_of, interleave,
};

fn point(longitude: f64, latitude: f64) -> Point {
    Point::new(longitude, latitude).expect("the point is on the map")
}

#[test]
fn places_are_known() {
    let check = |place: Point, score: f64, text: &str| {
        assert_eq!(place.score().to_bits(), score.to_bits());
        assert_eq!(Point::of_score(score).text(), text.as_bytes());
    };
    check(point(13.361_389, 38.115_556), 3_479_099_956_230_698.0, "sqc8b49rny0");
    check(point(15.087_269, 37.502_669), 3_479_447_370_796_909.0, "sqdtr74hyu0");
    check(point(-180.0, -LATITUDE_MAX), 0.0, "00bh0hbj200");
}

#[test]
fn distances_are_known() {
    let check = |a: Point, b: Point, meters: f64| {
        assert!((a.distance_to(b) - meters).abs() < 5e-5, "{}", a.distance_to(b));
    };
    let palermo = Point::of_score(3_479_099_956_230_698.0);
    let catania = Point::of_score(3_479_447_370_796_909.0);
    check(palermo, catania, 166_274.151_6);
    check(palermo, palermo, 0.0);
    // Half around the earth, where rounding alone would leave the domain of the arc sine.
    check(point(0.0, 45.0), point(180.0, -45.0), 20_020_734.0);
}

#[test]
fn scores_that_are_no_places_have_one() {
    let check = |score: f64, hash: u64| assert_eq!(hash_of(score), hash);
    check(1.9, 1);
    check(-1.0, u64::MAX);
    check(-1e300, 1 << 63);
    check(1e19, 10_000_000_000_000_000_000);
    check(1e20, 0);
    check(f64::INFINITY, 0);
    assert_eq!(Point::of_score(-1.0), point(LONGITUDE_MAX, LATITUDE_MAX));
}

fn anywhere() -> impl Strategy<Value = Point> {
    let longitude = prop_oneof![10 => -180.0..=180.0, 1 => Just(180.0), 1 => Just(-180.0)];
    let latitude = prop_oneof![10 => -LATITUDE_MAX..=LATITUDE_MAX, 1 => Just(LATITUDE_MAX), 1 => Just(-LATITUDE_MAX)];
    (longitude, latitude).prop_map(|(longitude, latitude)| point(longitude, latitude))
}

fn near(centre: Point) -> impl Strategy<Value = Point> {
    // Now and then far away, mostly at the distances that shapes have here.
    (0..24_i32, -1.0..1.0_f64, -1.0..1.0_f64).prop_map(move |(halvings, east, north)| {
        let reach = 180.0 / f64::from(1 << halvings);
        let longitude = centre.longitude + east * reach;
        let longitude =
            if longitude.abs() <= LONGITUDE_MAX { longitude } else { -longitude % 180.0 };
        point(longitude, (centre.latitude + north * reach).clamp(-LATITUDE_MAX, LATITUDE_MAX))
    })
}

/// Shapes that Redis finds all points of: not so near a pole that they enclose it, and no wider than the bounds know.
fn shape() -> impl Strategy<Value = Shape> {
    let centre = (-180.0..180.0, -60.0..60.0).prop_map(|(x, y)| point(x, y));
    let unit = prop_oneof![Just(1.0), Just(1000.0), Just(0.3048), Just(1609.34)];
    let size = || (0..20_i32).prop_map(|halvings| 1_000_000.0 / f64::from(1 << halvings));
    (centre, unit, size(), size(), any::<bool>()).prop_map(|(centre, unit, a, b, is_circle)| {
        let outline = if is_circle {
            Outline::Circle { radius: a / unit }
        } else {
            Outline::Box { width: a / unit, height: b / unit }
        };
        Shape::new(centre, outline, unit)
    })
}

fn polygon() -> impl Strategy<Value = Shape> {
    let corner = (-30.0..30.0, -40.0..40.0).prop_map(|(x, y)| point(x, y));
    prop::collection::vec(corner, 3..7)
        .prop_map(|corners| Shape::new(point(0.0, 0.0), Outline::Polygon { corners }, 1.0))
}

fn covers(shape: &Shape, place: Point) -> bool {
    shape.scores().any(|scores| scores.contains(&place.score()))
}

proptest! {
    #[test]
    fn bits_come_apart_as_they_were(even: u32, odd: u32) {
        prop_assert_eq!(deinterleave(interleave(even, odd)), (even, odd));
        for bit in 0..32 {
            prop_assert_eq!(interleave(even, odd) >> (2 * bit) & 1, u64::from(even >> bit & 1));
        }
    }

    #[test]
    fn a_place_is_found_again_within_a_meter(place in anywhere()) {
        let found = Point::of_score(place.score());
        prop_assert!(found.distance_to(place) < 0.6, "{found:?}");
        let edge = place.longitude == LONGITUDE_MAX || place.latitude == LATITUDE_MAX;
        prop_assert!(edge || found.score().to_bits() == place.score().to_bits());
    }

    #[test]
    fn distances_are_the_same_both_ways(a in anywhere(), b in anywhere()) {
        let (there, back) = (a.distance_to(b), b.distance_to(a));
        prop_assert!((there - back).abs() < 1e-6);
        prop_assert!((0.0..20_020_742.0).contains(&there));
    }

    #[test]
    fn what_is_in_a_shape_is_searched(shape in shape(), place in anywhere()) {
        // The last meridian and the last parallel are one step beyond the last cell, in Redis too: what lies there is
        // found by nobody who does not ask for that very place.
        prop_assume!(place.longitude < LONGITUDE_MAX && place.latitude < LATITUDE_MAX);
        let place = Point::of_score(place.score());
        prop_assert!(shape.distance_to(place).is_none() || covers(&shape, place));
    }

    #[test]
    fn what_is_near_in_a_shape_is_searched(
        (shape, place) in shape().prop_flat_map(|shape| { let at = shape.centre(); (Just(shape), near(at)) }),
    ) {
        let place = Point::of_score(place.score());
        prop_assert!(shape.distance_to(place).is_none() || covers(&shape, place));
    }

    #[test]
    fn what_is_in_a_polygon_is_searched(
        shape in polygon(),
        place in (-30.0..30.0, -40.0..40.0).prop_map(|(x, y)| point(x, y)),
    ) {
        let place = Point::of_score(place.score());
        prop_assert!(shape.distance_to(place).is_none() || covers(&shape, place));
    }

    #[test]
    fn a_place_is_searched_once(shape in shape(), place in anywhere()) {
        let score = place.score();
        prop_assert!(shape.scores().filter(|scores| scores.contains(&score)).count() <= 1);
    }
}
