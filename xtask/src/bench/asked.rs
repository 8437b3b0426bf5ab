//! Which rows of a benchmark were asked for on the command line. Knows names only, nothing of what they measure.

/// The rows of one mode that are to run.
pub(super) struct Asked<'a> {
    mode: &'static str,
    names: &'a [String],
}

impl<'a> Asked<'a> {
    pub(super) fn of(mode: &'static str, names: &'a [String]) -> Self {
        Self { mode, names }
    }

    /// No name asks for everything, the mode's for all its rows, and a row's or `MODE/ROW` for that row.
    pub(super) fn has(&self, row: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| names(name, self.mode, row))
    }

    /// Those of `rows` that are to run.
    pub(super) fn of_rows<'r, R>(&self, rows: &'r [R], name: fn(&R) -> &'static str) -> Vec<&'r R> {
        rows.iter().filter(|row| self.has(name(row))).collect()
    }
}

/// Whether `name` stands for the row, alone or with others.
pub(super) fn names(name: &str, mode: &str, row: &str) -> bool {
    match name.split_once('/') {
        Some((of_mode, name)) => of_mode == mode && slug(name) == slug(row),
        None => name == mode || slug(name) == slug(row),
    }
}

/// The name in a form that a shell takes without quotes: `string 64 B, TTL` is `string-64-b-ttl`.
pub(super) fn slug(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{Asked, slug};

    #[test]
    fn slugs() {
        for (name, expected) in
            [("string 64 B, TTL", "string-64-b-ttl"), ("zadd-1m", "zadd-1m"), ("SORT", "sort")]
        {
            assert_eq!(slug(name), expected);
        }
    }

    #[test]
    fn names_ask_for_rows() {
        for (asked, expected) in [
            (&[][..], true),
            (&["memory"], true),
            (&["set-of-1m"], true),
            (&["Set of 1M"], true),
            (&["memory/set-of-1m"], true),
            (&["latency", "set-of-1m"], true),
            (&["latency"], false),
            (&["latency/set-of-1m"], false),
            (&["memory/set"], false),
            (&["set"], false),
        ] {
            let names: Vec<_> = asked.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(Asked::of("memory", &names).has("set of 1M"), expected, "{asked:?}");
        }
    }
}
