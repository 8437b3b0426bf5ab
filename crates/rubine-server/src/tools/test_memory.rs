//! `--test-memory`: writes patterns to memory and reads them back. It finds what is broken all the time; what fails once a
//! week needs a tool that has the machine to itself.

use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;

use rubine_base::random::Random;

const PASSES: u64 = 50;
/// More than any machine has.
const MEGABYTES_MAX: usize = 1 << 26;

const USAGE: &str = "Please specify the amount of memory to test in megabytes.\n\
                     Example: rubine-server --test-memory 4096";

/// Tests as many megabytes as the arguments behind the option say.
pub(crate) fn main(args: &[Vec<u8>]) -> ExitCode {
    let megabytes = match args {
        [only] => std::str::from_utf8(only).ok().and_then(|it| it.parse::<usize>().ok()),
        _ => None,
    };
    let Some(megabytes) = megabytes.filter(|it| (1..=MEGABYTES_MAX).contains(it)) else {
        return end(USAGE, ExitCode::FAILURE);
    };
    let mut memory: Vec<u64> = Vec::new();
    let len = (megabytes << 20) / size_of::<u64>();
    if memory.try_reserve_exact(len).is_err() {
        return end(&format!("Unable to allocate {megabytes} megabytes"), ExitCode::FAILURE);
    }
    memory.resize(len, 0);
    for pass in 1..=PASSES {
        say(&format!("Pass {pass} of {PASSES} over {megabytes} MB"));
        if let Err(address) = test(&mut memory, pass, |_| {}) {
            let text = format!("*** MEMORY ERROR DETECTED: word {address} did not keep its value");
            return end(&text, ExitCode::FAILURE);
        }
    }
    end(
        "Your memory passed this test.\n\
         Please if you are still in doubt use memtest86 (https://www.memtest86.com) or memtester.",
        ExitCode::SUCCESS,
    )
}

fn say(text: &str) {
    // Nothing is left to be done about a closed standard output.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn end(text: &str, code: ExitCode) -> ExitCode {
    say(text);
    code
}

/// Writes each pattern everywhere, and looks whether it is there still. `between` is called in between. Fails with the
/// index of a word that is not what it was.
fn test(memory: &mut [u64], seed: u64, mut between: impl FnMut(&mut [u64])) -> Result<(), usize> {
    const ALTERNATING: u64 = 0x5555_5555_5555_5555;
    let patterns: [fn(&mut Random, usize) -> u64; 6] = [
        |_, index| index as u64,
        |_, index| !(index as u64),
        |random, _| random.next_u64(),
        |_, index| if index % 2 == 0 { 0 } else { u64::MAX },
        |_, index| if index % 2 == 0 { ALTERNATING } else { !ALTERNATING },
        |_, _| 0,
    ];
    for pattern in patterns {
        let mut random = Random::with_seed(seed);
        for (index, word) in memory.iter_mut().enumerate() {
            *word = pattern(&mut random, index);
        }
        // The compiler must not remember what was written.
        between(black_box(&mut *memory));
        let mut random = Random::with_seed(seed);
        let wrong =
            memory.iter().enumerate().find(|(index, word)| **word != pattern(&mut random, *index));
        if let Some((index, _)) = wrong {
            return Err(index);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::test;

    #[test]
    fn a_bit_that_sticks_is_found() {
        let mut memory = vec![0; 1000];
        assert_eq!(test(&mut memory, 7, |_| {}), Ok(()));
        assert_eq!(test(&mut memory, 7, |memory| memory[357] |= 1 << 40), Err(357));
        assert_eq!(test(&mut memory, 7, |memory| memory[2] &= !(1 << 63)), Err(2));
    }
}
