//! What PFSELFTEST runs: that registers keep what they are given, that both encodings agree, and that the estimate is as
//! good as it is said to be. It touches no key.

use rubine_base::random::Random;

use super::{
    Element, Encoding, HEADER_LEN, REGISTER_COUNT, Registers, add, dense, empty, encoding,
    estimate, to_dense,
};

/// How often all registers are filled at random.
const ROUNDS: usize = 20;

/// How many elements are counted.
const ELEMENTS: u64 = 1_000_000;

/// Tests the code that runs, and says what is wrong with it.
pub fn self_test(random: &mut Random, sparse_len_max: usize) -> Result<(), String> {
    let mut dense = empty();
    to_dense(&mut dense).map_err(|_| "an empty one is corrupted")?;
    for _ in 0..ROUNDS {
        test_registers(random, &mut dense)?;
    }
    test_estimates(random.next_u64(), sparse_len_max)
}

fn test_registers(random: &mut Random, dense: &mut [u8]) -> Result<(), String> {
    let packed = dense::registers_mut(&mut dense[HEADER_LEN..]);
    let values: Vec<u8> = (0..REGISTER_COUNT).map(|_| random.below(64) as u8).collect();
    for (register, &value) in values.iter().enumerate() {
        dense::set(packed, register, value);
    }
    for (register, &value) in values.iter().enumerate() {
        let found = dense::get(packed, register);
        if found != value {
            return Err(format!("Register {register} should be {value} but is {found}"));
        }
    }
    let mut registers = Registers::new();
    let is_read = registers.merge(dense).is_ok() && registers.values() == values;
    if is_read { Ok(()) } else { Err("registers differ when they are read at once".to_owned()) }
}

fn test_estimates(seed: u64, sparse_len_max: usize) -> Result<(), String> {
    const CORRUPTED: &str = "corrupted by itself";
    let (mut dense, mut sparse) = (empty(), empty());
    to_dense(&mut dense).map_err(|_| CORRUPTED)?;
    let mut checkpoint = 1;
    for number in 1..=ELEMENTS {
        let element = Element::of(&(number ^ seed).to_le_bytes());
        add(&mut dense, element, sparse_len_max).map_err(|_| CORRUPTED)?;
        add(&mut sparse, element, sparse_len_max).map_err(|_| CORRUPTED)?;
        if number < checkpoint {
            continue;
        }
        let must_be_sparse = number < sparse_len_max as u64 / 2;
        if must_be_sparse && encoding(&sparse) != Some(Encoding::Sparse) {
            return Err("sparse encoding not used".to_owned());
        }
        let found = estimate(&dense).map_err(|_| CORRUPTED)?;
        if estimate(&sparse) != Ok(found) {
            return Err("dense/sparse disagree".to_owned());
        }
        // Six times the standard error; of ten elements, two may well share a register.
        let error_max =
            if number == 10 { 1.0 } else { (6.0 * 1.04 / 128.0 * number as f64).ceil() };
        let error = found.abs_diff(number);
        if error_max < error as f64 {
            return Err(format!("Too big error. card:{number} abserr:{error}"));
        }
        checkpoint *= 10;
    }
    Ok(())
}
