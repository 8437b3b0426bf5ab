//! Searches against looking at every place.

use proptest::prelude::*;
use rubine_structures::geohash::{Outline, Point, Shape};
use rubine_structures::sorted_set::{Direction, SortedSet, SortedSetLimits};

use super::super::query::{Count, Layout, Query, StoredScore};
use super::{Search, member_of};

const LIMITS: SortedSetLimits = SortedSetLimits { entries: 128, value_bytes: 64 };

fn point() -> impl Strategy<Value = Point> {
    // Few enough places that some are equally far.
    (-300..300_i32, -250..250_i32).prop_map(|(x, y)| {
        let (longitude, latitude) = (f64::from(x) / 10.0, f64::from(y) / 10.0);
        Point::new(longitude, latitude).expect("the point is on the map")
    })
}

fn outline() -> impl Strategy<Value = Outline> {
    prop_oneof![
        (0.0..3000.0).prop_map(|radius| Outline::Circle { radius }),
        (0.0..3000.0, 0.0..3000.0).prop_map(|(width, height)| Outline::Box { width, height }),
        prop::collection::vec(point(), 3..6).prop_map(|corners| Outline::Polygon { corners }),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let order = prop_oneof![
        Just(None),
        Just(Some(Direction::Ascending)),
        Just(Some(Direction::Descending))
    ];
    let count = prop::option::of((1..300_usize, any::<bool>()));
    (point(), outline(), order, count).prop_map(|(centre, outline, order, count)| Query {
        shape: Some(Shape::new(centre, outline, 1000.0)),
        order,
        count: count.map(|(max, any)| Count { max, any: any || order.is_none() }),
        layout: Layout::default(),
        destination: None,
        stored_score: StoredScore::Place,
    })
}

proptest! {
    #[test]
    fn what_is_in_the_shape_is_found_nearest_first(
        places in prop::collection::vec(point(), 0..600),
        query in query(),
        step in 1..400_u64,
    ) {
        let elements = places.iter().enumerate().map(|(at, place)| (at.to_string(), place.score()));
        let set = SortedSet::from_elements(elements.collect(), LIMITS);
        let shape = query.shape.as_ref().expect("the query has a shape");
        let distance_of = |score| shape.distance_to(Point::of_score(score));
        let mut inside: Vec<f64> = set.iter().filter_map(|(_, score)| distance_of(score)).collect();

        let mut search = Search::new(&set, shape);
        while search.step(&set, &query, shape, step) {}
        let found = search.finish(&query);
        let expected = query.count.map_or(inside.len(), |count| count.max.min(inside.len()));
        prop_assert_eq!(found.count, expected);
        let hits: Vec<_> = found.collect();
        prop_assert_eq!(hits.len(), expected);

        let mut members: Vec<_> = hits.iter().map(|&hit| member_of(&set, hit)).collect();
        for (member, hit) in members.iter().zip(&hits) {
            prop_assert_eq!(set.score(member).map(distance_of), Some(Some(hit.distance)));
        }
        members.sort_unstable();
        members.dedup();
        prop_assert_eq!(members.len(), expected);

        let is_exact = query.count.is_none_or(|count| !count.any);
        let distances: Vec<f64> = hits.iter().map(|hit| hit.distance).collect();
        match query.order {
            None => {}
            Some(Direction::Ascending) => {
                inside.sort_by(f64::total_cmp);
                prop_assert!(distances.is_sorted());
                prop_assert!(!is_exact || distances == inside[..expected]);
            }
            Some(Direction::Descending) => {
                inside.sort_by(|a, b| b.total_cmp(a));
                prop_assert!(distances.iter().rev().is_sorted());
                prop_assert!(!is_exact || distances == inside[..expected]);
            }
        }
    }
}
