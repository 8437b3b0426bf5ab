//! The multi-call binary: its mode follows from the name it is started by.

#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use rubine_server::{startup, tools};
use rubine_system::allocator::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    let mut args = std::env::args_os().map(OsStringExt::into_vec);
    let program = args.next().unwrap_or_default();
    let args: Vec<Vec<u8>> = args.collect();
    tools::find(&program).map_or_else(|| startup::main(&program, &args), |tool| tool(&args))
}
