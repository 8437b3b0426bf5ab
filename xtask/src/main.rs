//! The one developers' tool.

fn main() {}
