//! Whether a data set is so small that something must have happened to it. Decides nothing about what follows from that.

/// Below so many keys, a smaller number is nothing special.
const KEYS_MIN: u64 = 100;
/// A data set with less than one of so many keys of before is suspect.
const SHRINKING_MAX: u64 = 10;

/// Why an image with so many keys is suspect, if it is, where the last good backup had `before`.
pub fn suspicion(keys: u64, before: Option<u64>) -> Option<String> {
    if keys == 0 {
        return Some("it has no keys".to_owned());
    }
    let before = before.filter(|before| KEYS_MIN <= *before && keys < before / SHRINKING_MAX)?;
    Some(format!("it has {keys} keys, and the last good backup has {before}"))
}

#[cfg(test)]
mod tests {
    use super::suspicion;

    #[test]
    fn what_is_suspect() {
        assert!(suspicion(0, None).is_some());
        assert!(suspicion(0, Some(5)).is_some());
        assert!(suspicion(1, None).is_none());
        assert!(suspicion(1, Some(99)).is_none());
        assert!(suspicion(9, Some(100)).is_some());
        assert!(suspicion(10, Some(100)).is_none());
        assert!(suspicion(99_999, Some(1_000_000)).is_some());
        assert!(suspicion(u64::MAX, Some(u64::MAX)).is_none());
    }
}
