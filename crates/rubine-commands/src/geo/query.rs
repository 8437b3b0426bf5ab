//! What a search of places was asked for, in the words of GEOSEARCH and of the older GEORADIUS. Never searches.

use rubine_structures::geohash::{Outline, Point, Shape};
use rubine_structures::sorted_set::{Direction, SortedSet};

use super::{point, unit};
use crate::args::{ArgCursor, Args};
use crate::error::{CommandError, shown};

const STORE_OF_GEORADIUS: CommandError = CommandError::text(
    "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
);
const STORE_OF_GEOSEARCH: CommandError = CommandError::text(
    "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
);
const COUNT_NOT_POSITIVE: CommandError = CommandError::text("ERR COUNT must be > 0");
const ANY_WITHOUT_COUNT: CommandError =
    CommandError::text("ERR the ANY argument requires COUNT argument");
const CORNERS_NOT_NUMBER: CommandError = CommandError::text("ERR invalid number of vertices");
const CORNERS_TOO_FEW: CommandError =
    CommandError::text("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices");

/// How a search is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Longitude, latitude, radius, unit.
    Radius {
        may_store: bool,
    },
    /// Member, radius, unit.
    RadiusByMember {
        may_store: bool,
    },
    Search,
    SearchStore,
}

impl Form {
    /// Number of the argument that is the set to be searched.
    pub(super) fn source(self) -> usize {
        if self == Self::SearchStore { 2 } else { 1 }
    }

    /// Number of the argument that the options start with.
    pub(super) const fn options(self) -> usize {
        match self {
            Self::Radius { .. } => 6,
            Self::RadiusByMember { .. } => 5,
            Self::Search => 2,
            Self::SearchStore => 3,
        }
    }

    fn is_search(self) -> bool {
        matches!(self, Self::Search | Self::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Self::Radius { may_store: true } | Self::RadiusByMember { may_store: true })
    }
}

/// What is replied of each place beside the member.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    pub(super) distance: bool,
    pub(super) hash: bool,
    pub(super) point: bool,
}

impl Layout {
    /// How many things that are.
    pub(super) fn extras(self) -> usize {
        usize::from(self.distance) + usize::from(self.hash) + usize::from(self.point)
    }
}

/// What becomes the score of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredScore {
    Place,
    Distance,
}

/// How many places are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) max: usize,
    /// Any will do, not only the nearest.
    pub(super) any: bool,
}

#[derive(Debug)]
pub(super) struct Query {
    /// `None` if it could not be known, since there is no set.
    pub(super) shape: Option<Shape>,
    /// By distance; `None` for whichever order they are found in.
    pub(super) order: Option<Direction>,
    pub(super) count: Option<Count>,
    pub(super) layout: Layout,
    /// Number of the argument that is the key to store under.
    pub(super) destination: Option<usize>,
    pub(super) stored_score: StoredScore,
}

impl Query {
    /// Reads all arguments. `set` is what is searched, in which a member that is the centre is looked up.
    pub(super) fn parse(
        args: Args<'_>,
        form: Form,
        set: Option<&SortedSet>,
    ) -> Result<Self, CommandError> {
        let mut parser = Parser::new(form, set);
        match form {
            Form::Radius { .. } => {
                parser.centre = Some(point(args, 2)?);
                parser.outline = Some(radius(&mut args.options(4))?);
            }
            // Without a set, nothing is said about a radius that is none.
            Form::RadiusByMember { .. } if set.is_none() => {}
            Form::RadiusByMember { .. } => {
                parser.centre = parser.place_of(args.at(2))?;
                parser.outline = Some(radius(&mut args.options(3))?);
            }
            Form::SearchStore => parser.destination = Some(1),
            Form::Search => {}
        }
        let mut options = args.options(form.options());
        while !options.is_at_end() {
            let is_known = parser.common_option(&mut options)?
                || (form.is_search() && parser.search_option(args, &mut options)?)
                || (form.may_store() && parser.store_option(&mut options));
            if !is_known {
                return Err(CommandError::Syntax);
            }
        }
        parser.finish(args)
    }
}

/// An outline and the meters of its unit.
type Measured = (Outline, f64);

struct Parser<'s> {
    form: Form,
    set: Option<&'s SortedSet>,
    centre: Option<Point>,
    outline: Option<Measured>,
    from_member: bool,
    from_point: bool,
    by: Option<By>,
    order: Option<Direction>,
    count: Option<usize>,
    any: bool,
    layout: Layout,
    destination: Option<usize>,
    stored_score: StoredScore,
}

/// Which outline GEOSEARCH was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Radius,
    Box,
    Polygon,
}

impl<'s> Parser<'s> {
    fn new(form: Form, set: Option<&'s SortedSet>) -> Self {
        Self {
            form,
            set,
            centre: None,
            outline: None,
            from_member: false,
            from_point: false,
            by: None,
            order: None,
            count: None,
            any: false,
            layout: Layout::default(),
            destination: None,
            stored_score: StoredScore::Place,
        }
    }

    /// Where a member is; `None` without a set. A missing member is an error.
    fn place_of(&self, member: &[u8]) -> Result<Option<Point>, CommandError> {
        let Some(set) = self.set else { return Ok(None) };
        let score = set.score(member).ok_or_else(|| {
            CommandError::quoting(&[b"ERR member ", shown(member), b" does not exist"])
        })?;
        Ok(Some(Point::of_score(score)))
    }

    /// Reads an option that all forms have. Returns whether there was one.
    fn common_option(&mut self, options: &mut ArgCursor<'_>) -> Result<bool, CommandError> {
        if options.keyword("WITHDIST") {
            self.layout.distance = true;
        } else if options.keyword("WITHHASH") {
            self.layout.hash = true;
        } else if options.keyword("WITHCOORD") {
            self.layout.point = true;
        } else if options.keyword("ANY") {
            self.any = true;
        } else if options.keyword("ASC") {
            self.order = Some(Direction::Ascending);
        } else if options.keyword("DESC") {
            self.order = Some(Direction::Descending);
        } else if 2 <= options.remaining() && options.keyword("COUNT") {
            let count = options.integer()?;
            let count = usize::try_from(count).ok().filter(|&count| 0 < count);
            self.count = Some(count.ok_or(COUNT_NOT_POSITIVE)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads an option that only GEORADIUS has. Returns whether there was one.
    fn store_option(&mut self, options: &mut ArgCursor<'_>) -> bool {
        if options.remaining() < 2 {
            return false;
        }
        self.stored_score = if options.keyword("STORE") {
            StoredScore::Place
        } else if options.keyword("STOREDIST") {
            StoredScore::Distance
        } else {
            return false;
        };
        self.destination = Some(options.index());
        options.skip(1);
        true
    }

    /// Reads an option that only GEOSEARCH has. Returns whether there was one. Of options that exclude each other, the
    /// later is none.
    fn search_option(
        &mut self,
        args: Args<'_>,
        options: &mut ArgCursor<'_>,
    ) -> Result<bool, CommandError> {
        let has_values = |options: &ArgCursor<'_>, count| count < options.remaining();
        let may_be = |by: Option<By>, one| by.is_none() || by == Some(one);
        let is_polygon = self.by == Some(By::Polygon);
        let has_centre = self.from_member || self.from_point;
        if self.form == Form::SearchStore && options.keyword("STOREDIST") {
            self.stored_score = StoredScore::Distance;
        } else if has_values(options, 1)
            && !self.from_point
            && !is_polygon
            && options.keyword("FROMMEMBER")
        {
            self.from_member = true;
            self.centre = self.place_of(options.required()?)?;
        } else if has_values(options, 2)
            && !self.from_member
            && !is_polygon
            && options.keyword("FROMLONLAT")
        {
            self.from_point = true;
            self.centre = Some(point(args, options.index())?);
            options.skip(2);
        } else if has_values(options, 2)
            && may_be(self.by, By::Radius)
            && options.keyword("BYRADIUS")
        {
            self.by = Some(By::Radius);
            self.outline = Some(radius(options)?);
        } else if has_values(options, 3) && may_be(self.by, By::Box) && options.keyword("BYBOX") {
            self.by = Some(By::Box);
            self.outline = Some(rectangle(options)?);
        } else if has_values(options, 2)
            && may_be(self.by, By::Polygon)
            && !has_centre
            && options.keyword("BYPOLYGON")
        {
            self.by = Some(By::Polygon);
            self.outline = Some(polygon(args, options)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn finish(self, args: Args<'_>) -> Result<Query, CommandError> {
        let is_polygon = self.by == Some(By::Polygon);
        let lacks = |what: &str| {
            let name = String::from_utf8_lossy(args.at(0));
            CommandError::Other(
                format!("ERR exactly one of {what} can be specified for {name}").into(),
            )
        };
        if self.destination.is_some() && 0 < self.layout.extras() {
            let is_search = self.form.is_search();
            return Err(if is_search { STORE_OF_GEOSEARCH } else { STORE_OF_GEORADIUS });
        }
        if self.form.is_search() && !self.from_member && !self.from_point && !is_polygon {
            return Err(lacks("FROMMEMBER or FROMLONLAT"));
        }
        if self.form.is_search() && self.by.is_none() {
            return Err(lacks("BYRADIUS, BYBOX and BYPOLYGON"));
        }
        if self.any && self.count.is_none() {
            return Err(ANY_WITHOUT_COUNT);
        }
        let count = self.count.map(|max| Count { max, any: self.any });
        // Of some only, the nearest are wanted.
        let nearest = count.filter(|count| !count.any).map(|_| Direction::Ascending);
        // A polygon has its centre from its corners.
        let centre =
            self.centre.or_else(|| is_polygon.then_some(Point { longitude: 0.0, latitude: 0.0 }));
        let measured = centre.zip(self.outline);
        let shape = measured.map(|(centre, (outline, unit))| Shape::new(centre, outline, unit));
        Ok(Query {
            shape,
            order: self.order.or(nearest),
            count,
            layout: self.layout,
            destination: self.destination,
            stored_score: self.stored_score,
        })
    }
}

fn radius(options: &mut ArgCursor<'_>) -> Result<Measured, CommandError> {
    let radius = float(options, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(CommandError::text("ERR radius cannot be negative"));
    }
    Ok((Outline::Circle { radius }, unit(options.required()?)?))
}

fn rectangle(options: &mut ArgCursor<'_>) -> Result<Measured, CommandError> {
    let width = float(options, "ERR need numeric width")?;
    let height = float(options, "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::text("ERR height or width cannot be negative"));
    }
    Ok((Outline::Box { width, height }, unit(options.required()?)?))
}

fn polygon(args: Args<'_>, options: &mut ArgCursor<'_>) -> Result<Measured, CommandError> {
    const CORNERS_MIN: usize = 3;
    let count = options.integer().ok().and_then(|count| i32::try_from(count).ok());
    let count = usize::try_from(count.ok_or(CORNERS_NOT_NUMBER)?).unwrap_or(0);
    if count < CORNERS_MIN || options.remaining() / 2 < count {
        return Err(CORNERS_TOO_FEW);
    }
    let mut corners = Vec::with_capacity(count);
    for _ in 0..count {
        corners.push(point(args, options.index())?);
        options.skip(2);
    }
    Ok((Outline::Polygon { corners }, 1.0))
}

fn float(options: &mut ArgCursor<'_>, error: &'static str) -> Result<f64, CommandError> {
    rubine_base::number::parse_f64(options.required()?).ok_or(CommandError::text(error))
}
