//! The values of metrics at one moment, as whoever has them offers them. Holds none.

/// Is shown series, one after the other: labels and a value.
pub type Visit<'a> = dyn FnMut(&[(&str, &str)], f64) + 'a;

/// Where the values of metrics come from.
pub trait Values {
    /// Shows every series of a metric by its labels and its value. Returns whether there is a metric of that name, with
    /// series or without.
    fn visit(&self, metric: &str, visit: &mut Visit<'_>) -> bool;
}
