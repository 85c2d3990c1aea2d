//! A child that exits at once, for systems without such a program.

fn main() {}
