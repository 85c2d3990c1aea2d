//! The memory of received bytes, and of bytes to send.

pub(super) mod buffer;
pub(super) mod chunks;
mod messages;
mod rare_queue;
mod wide;

pub use buffer::Buffer;
pub use chunks::Chunks;
pub(crate) use messages::DESCRIPTORS_MAX;
pub(crate) use rare_queue::RareQueue;
pub(super) use wide::wide_pool;
