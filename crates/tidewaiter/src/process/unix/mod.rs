//! What all kinds of Unix have in common when a program is started.

mod image;
mod search;
mod streams;

pub(super) use image::Image;
use search::candidates;
pub(super) use streams::{Source, Streams};
