//! What is searched for: a circle, a box or a polygon, which scores may lie in it, and which points do.

use std::ops::Range;

use super::{
    Cell, EARTH_RADIUS_METERS, LATITUDE_MAX, LONGITUDE_MAX, Point, RADIANS_PER_DEGREE, STEPS_MAX,
    latitude_distance,
};

/// An area on earth. Points in it have a distance, from its centre.
#[derive(Clone, Debug)]
pub struct Shape {
    centre: Point,
    outline: Outline,
    /// Meters of the unit in which the outline is given.
    unit_meters: f64,
}

/// The form of an area, in a unit of its own.
#[derive(Clone, Debug)]
pub enum Outline {
    Circle {
        radius: f64,
    },
    Box {
        width: f64,
        height: f64,
    },
    /// At least three corners; the edges are straight on the map.
    Polygon {
        corners: Vec<Point>,
    },
}

/// What encloses a shape, in degrees; its corners need not be on the map.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

/// The cells around one, in the order in which they are searched, as columns to the east and rows to the north.
const NEIGHBOURS: [(i32, i32); 9] =
    [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

impl Shape {
    /// A circle or a box around `centre`. For a polygon, the centre is where its corners are on average.
    pub fn new(centre: Point, outline: Outline, unit_meters: f64) -> Self {
        let centre = match &outline {
            Outline::Polygon { corners } => centre_of(corners),
            Outline::Circle { .. } | Outline::Box { .. } => centre,
        };
        Self { centre, outline, unit_meters }
    }

    /// Where distances are measured from.
    pub fn centre(&self) -> Point {
        self.centre
    }

    /// Meters of the unit in which distances are told.
    pub fn unit_meters(&self) -> f64 {
        self.unit_meters
    }

    /// Meters from the centre to a point; `None` if it is not in the shape.
    pub fn distance_to(&self, point: Point) -> Option<f64> {
        let centre = self.centre;
        match &self.outline {
            Outline::Circle { radius } => {
                let radius = radius * self.unit_meters;
                // No point is nearer than its latitude, which is cheaper to know. The margin is far more than rounding.
                let latitude_max = radius * (1.0 + 1e-6) + 1e-3;
                if latitude_max < latitude_distance(centre.latitude, point.latitude) {
                    return None;
                }
                let distance = centre.distance_to(point);
                (distance <= radius).then_some(distance)
            }
            Outline::Box { width, height } => {
                let height_max = height * self.unit_meters / 2.0;
                if height_max < latitude_distance(point.latitude, centre.latitude) {
                    return None;
                }
                let below = Point { longitude: centre.longitude, latitude: point.latitude };
                let width_max = width * self.unit_meters / 2.0;
                let is_inside = point.distance_to(below) <= width_max;
                is_inside.then(|| centre.distance_to(point))
            }
            Outline::Polygon { corners } => {
                encloses(corners, point).then(|| centre.distance_to(point))
            }
        }
    }

    /// The ranges of scores that points in the shape can have, each without its end, in the order in which Redis
    /// searches them.
    pub fn scores(&self) -> impl Iterator<Item = Range<f64>> {
        let bounds = self.bounds();
        let cell = self.cell(bounds);
        let area = cell.area();
        // With fewer steps, cells on all sides are needed.
        let may_leave_out = 2 <= cell.steps;
        let is_useless = move |(east, north): (i32, i32)| {
            let west_suffices = area.west < bounds.west && east < 0;
            let east_suffices = bounds.east < area.east && 0 < east;
            let south_suffices = area.south < bounds.south && north < 0;
            let north_suffices = bounds.north < area.north && 0 < north;
            may_leave_out && (west_suffices || east_suffices || south_suffices || north_suffices)
        };
        let mut cells = Vec::with_capacity(NEIGHBOURS.len());
        for (east, north) in NEIGHBOURS {
            let neighbour = cell.neighbour(east, north);
            // Where the map has two columns or rows, a cell is its neighbour's neighbour on both sides.
            let is_repeated = 1 < cells.len() && cells.last() == Some(&neighbour);
            if !is_useless((east, north)) && !is_repeated {
                cells.push(neighbour);
            }
        }
        cells.into_iter().map(Cell::scores)
    }

    /// The cell of the centre, so large that with its neighbours it covers the shape.
    fn cell(&self, bounds: Bounds) -> Cell {
        let steps = steps_for(self.reach_meters(bounds), self.centre.latitude);
        let cell = self.cell_of_centre(steps);
        // Near an edge of the cell, the neighbour there may be too near to cover everything.
        let is_covered = bounds.north <= cell.neighbour(0, 1).area().north
            && cell.neighbour(0, -1).area().south <= bounds.south
            && bounds.east <= cell.neighbour(1, 0).area().east
            && cell.neighbour(-1, 0).area().west <= bounds.west;
        if 1 < steps && !is_covered { self.cell_of_centre(steps - 1) } else { cell }
    }

    /// The centre of a polygon around a pole is beyond the map; the nearest cell has to do.
    fn cell_of_centre(&self, steps: u32) -> Cell {
        let longitude = self.centre.longitude.clamp(-LONGITUDE_MAX, LONGITUDE_MAX);
        let latitude = self.centre.latitude.clamp(-LATITUDE_MAX, LATITUDE_MAX);
        Cell::around(Point { longitude, latitude }, steps)
    }

    /// How far from the centre the shape may go, in meters.
    fn reach_meters(&self, bounds: Bounds) -> f64 {
        let reach = match &self.outline {
            Outline::Circle { radius } => *radius,
            Outline::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Outline::Polygon { .. } => {
                let corner = |longitude, latitude| Point { longitude, latitude };
                let corners = [
                    corner(bounds.west, bounds.north),
                    corner(bounds.east, bounds.north),
                    corner(bounds.west, bounds.south),
                    corner(bounds.east, bounds.south),
                ];
                let distances = corners.map(|corner| self.centre.distance_to(corner));
                distances.into_iter().fold(0.0, f64::max)
            }
        };
        reach * self.unit_meters
    }

    fn bounds(&self) -> Bounds {
        let (width, height) = match &self.outline {
            Outline::Circle { radius } => (self.unit_meters * radius, self.unit_meters * radius),
            Outline::Box { width, height } => {
                (self.unit_meters * width / 2.0, self.unit_meters * height / 2.0)
            }
            Outline::Polygon { corners } => return Bounds::of(corners),
        };
        let Point { longitude, latitude } = self.centre;
        let degrees = |radians: f64| radians / RADIANS_PER_DEGREE;
        let height = degrees(height / EARTH_RADIUS_METERS);
        // A degree of longitude is the shorter the nearer the pole, so the side of the pole has more of them.
        let nearer_pole = if latitude < 0.0 { latitude - height } else { latitude + height };
        let width = degrees(width / EARTH_RADIUS_METERS / (nearer_pole * RADIANS_PER_DEGREE).cos());
        Bounds {
            west: longitude - width,
            east: longitude + width,
            south: latitude - height,
            north: latitude + height,
        }
    }
}

impl Bounds {
    fn of(corners: &[Point]) -> Self {
        let none = Self {
            west: LONGITUDE_MAX,
            east: -LONGITUDE_MAX,
            south: LATITUDE_MAX,
            north: -LATITUDE_MAX,
        };
        corners.iter().fold(none, |bounds, corner| Self {
            west: bounds.west.min(corner.longitude),
            east: bounds.east.max(corner.longitude),
            south: bounds.south.min(corner.latitude),
            north: bounds.north.max(corner.latitude),
        })
    }
}

/// Where points are on average, seen from the centre of the earth.
fn centre_of(points: &[Point]) -> Point {
    let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
    for point in points {
        let longitude = point.longitude * RADIANS_PER_DEGREE;
        let latitude = point.latitude * RADIANS_PER_DEGREE;
        x += latitude.cos() * longitude.cos();
        y += latitude.cos() * longitude.sin();
        z += latitude.sin();
    }
    let longitude = y.atan2(x) / RADIANS_PER_DEGREE;
    let latitude = z.atan2((x * x + y * y).sqrt()) / RADIANS_PER_DEGREE;
    Point { longitude, latitude }
}

/// Whether a ray from the point to the east crosses the edges of the polygon an odd number of times.
fn encloses(corners: &[Point], point: Point) -> bool {
    let previous = corners.iter().cycle().skip(corners.len().saturating_sub(1));
    let crossings = corners.iter().zip(previous).filter(|(a, b)| {
        let spans = (point.latitude < a.latitude) != (point.latitude < b.latitude);
        spans && {
            let slope = (b.longitude - a.longitude) * (point.latitude - a.latitude);
            point.longitude < slope / (b.latitude - a.latitude) + a.longitude
        }
    });
    crossings.count() % 2 == 1
}

/// How often the map may be halved so that nine cells still cover what is up to so many meters away.
fn steps_for(reach_meters: f64, latitude: f64) -> u32 {
    /// Half the length of the equator on Mercator's map.
    const MERCATOR_MAX: f64 = 20_037_726.37;
    if reach_meters == 0.0 {
        return STEPS_MAX;
    }
    let mut steps: i32 = 1;
    let mut reach = reach_meters;
    while reach < MERCATOR_MAX {
        reach *= 2.0;
        steps += 1;
    }
    // Two fewer, so that what is looked for is covered in most cases, and still fewer towards the poles.
    steps -= 2;
    steps -= i32::from(66.0 < latitude.abs()) + i32::from(80.0 < latitude.abs());
    steps.clamp(1, STEPS_MAX as i32) as u32
}
