//! The shortest child, for a system that has none of its own.

fn main() {}
