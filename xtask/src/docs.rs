//! `cargo xtask docs`: the reference of commands, written from their declarations. The test that holds the pages against
//! the declarations writes them; here it is only called.

use crate::Failure;
use crate::process::{cargo, output_of_both};

/// The test, and what has it write.
const TEST: &str = "the_reference_is_fresh";
const UPDATE: &str = "RUBINE_UPDATE_DOCS";

pub(crate) fn run() -> Result<(), Failure> {
    let mut test = cargo();
    test.args(["test", "--quiet", "--package", "rubine-server", "--lib", TEST]).env(UPDATE, "1");
    output_of_both(&mut test).map(drop)
}
