//! What the fuzzer and the property tests call: plain functions that panic if a promise of this crate is broken.
//! Never called by the server.

use crate::quote::{split_args, write_repr};

/// Shows the lines of `data` as the arguments of one request, as MONITOR does and as people type them. They are on one line
/// of printable text, and read back the same. `data` itself as such a line is read or refused.
pub fn fuzz_quotes(data: &[u8]) {
    let args: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
    let mut line = Vec::new();
    for arg in &args {
        write_repr(&mut line, arg);
        line.push(b' ');
    }
    assert!(line.iter().all(|it| matches!(it, b' '..=b'~')), "it is one line of printable text");
    let read = split_args(&line).expect("what is quoted is balanced");
    assert_eq!(read, args);
    if let Ok(words) = split_args(data) {
        let mut line = Vec::new();
        for word in &words {
            write_repr(&mut line, word);
            line.push(b' ');
        }
        assert_eq!(split_args(&line).as_ref(), Ok(&words));
    }
}

#[cfg(test)]
mod tests {
    use super::fuzz_quotes;
    use crate::random::Random;

    #[test]
    fn what_is_quoted_reads_back() {
        let mut random = Random::with_seed(1);
        let bytes = b"\"'\\ x0aFn\r\n\t\x00\x7f\xff\x1b";
        for len in 0..2000 {
            let byte = |_| match random.below(4) {
                0 => random.below(256) as u8,
                _ => bytes[random.below(bytes.len() as u64) as usize],
            };
            let data: Vec<u8> = (0..len % 50).map(byte).collect();
            fuzz_quotes(&data);
        }
    }
}
