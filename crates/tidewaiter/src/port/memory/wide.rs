//! Large buffers, for what arrives in bulk.

use std::rc::Rc;

use super::buffer::Pool;
use crate::port::PortOptions;

/// The number of large buffers kept for reuse, and of those that a program may keep without a copy: as many as a stream of tasks
/// queues before it waits, with those that are received and sent meanwhile. A program that passes a surge on would otherwise
/// copy into fresh memory. No more, so that they stay in the processor's cache.
const WIDE_SPARE_MAX: usize = 8;

/// Creates the pool of large buffers.
pub(in crate::port) fn wide_pool(options: &PortOptions) -> Rc<Pool> {
    Pool::new(
        options.surge_bytes.max(options.receive_bytes),
        WIDE_SPARE_MAX,
    )
}
