//! The promises of a reactor, tested on the port that the including file opens.

mod backpressure;
mod connecting;
pub(crate) mod drops;
mod duplex;
mod embedding;
mod ending;
mod extremes;
mod from_threads;
mod hanging_up;
mod killing_many;
mod lifecycle;
mod lines;
mod listening;
mod made_elsewhere;
mod panics;
mod pausing;
mod pipelines;
mod pooling;
pub(crate) mod processes;
pub(crate) mod quiet_children;
mod running;
mod stopping;
mod streams;
pub(crate) mod support;
mod terminating;
mod timers;
mod trees;
