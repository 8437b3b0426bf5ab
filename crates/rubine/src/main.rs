//! The multi-call binary: its mode follows from the name it is started by.

fn main() {}
