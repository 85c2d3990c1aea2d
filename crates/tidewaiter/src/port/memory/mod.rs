//! The memory of received bytes, and of bytes to send.

pub(super) mod buffer;
pub(super) mod chunks;

pub use buffer::Buffer;
pub use chunks::Chunks;
