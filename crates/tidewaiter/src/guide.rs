//! A guide: one chapter per task, each with examples that are compiled and run as tests.

#[doc = include_str!("../guide/first_server.md")]
pub mod first_server {}

#[doc = include_str!("../guide/tasks.md")]
pub mod tasks {}

#[doc = include_str!("../guide/frames.md")]
pub mod frames {}

#[doc = include_str!("../guide/tokio.md")]
pub mod tokio {}

#[doc = include_str!("../guide/tracing.md")]
pub mod tracing {}

#[doc = include_str!("../guide/backpressure.md")]
pub mod backpressure {}

#[doc = include_str!("../guide/sockets_of_others.md")]
pub mod sockets_of_others {}

#[doc = include_str!("../guide/datagrams.md")]
pub mod datagrams {}

#[doc = include_str!("../guide/files.md")]
pub mod files {}

#[doc = include_str!("../guide/children.md")]
pub mod children {}

#[doc = include_str!("../guide/child_settings.md")]
pub mod child_settings {}

#[doc = include_str!("../guide/standard_streams.md")]
pub mod standard_streams {}

#[doc = include_str!("../guide/children_compared.md")]
pub mod children_compared {}

#[doc = include_str!("../guide/unix_sockets.md")]
pub mod unix_sockets {}

#[doc = include_str!("../guide/watching.md")]
pub mod watching {}

#[doc = include_str!("../guide/timers_and_threads.md")]
pub mod timers_and_threads {}

#[doc = include_str!("../guide/named_pipes.md")]
pub mod named_pipes {}

#[doc = include_str!("../guide/testing.md")]
pub mod testing {}

#[doc = include_str!("../guide/embedding.md")]
pub mod embedding {}
