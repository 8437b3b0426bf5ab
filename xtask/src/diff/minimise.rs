//! Makes a sequence shorter as long as something still differs. Knows nothing of requests.

/// Plays after which the shortest so far is taken.
const PLAYS_MAX: usize = 400;

/// The shortest part of `sequence` that was found for which `still_fails` says yes, as it does for the whole.
pub(super) fn minimise<T: Clone, E>(
    sequence: &[T],
    mut still_fails: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<T>, E> {
    let mut shortest = sequence.to_vec();
    let mut piece_len = shortest.len().div_ceil(2).max(1);
    let mut plays = 0;
    loop {
        let (mut start, mut got_shorter) = (0, false);
        while start < shortest.len() && plays < PLAYS_MAX {
            let end = (start + piece_len).min(shortest.len());
            let rest = [&shortest[..start], &shortest[end..]].concat();
            plays += 1;
            if still_fails(&rest)? {
                shortest = rest;
                got_shorter = true;
            } else {
                start = end;
            }
        }
        let is_done = piece_len == 1 && !got_shorter;
        if is_done || PLAYS_MAX <= plays {
            return Ok(shortest);
        }
        piece_len = piece_len.div_ceil(2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::minimise;

    #[test]
    fn what_matters_is_left() {
        let sequence: Vec<u32> = (0..100).collect();
        let needs = |part: &[u32]| Ok::<_, ()>(part.contains(&17) && part.contains(&80));
        assert_eq!(minimise(&sequence, needs), Ok(vec![17, 80]));
        assert_eq!(minimise(&sequence, |_| Ok::<_, ()>(true)), Ok(vec![]));
        assert_eq!(minimise(&sequence, |_| Ok::<_, ()>(false)), Ok(sequence));
    }
}
