//! Futures that wait until a congested stream takes more.

use std::task::{Context, Poll, Waker};

use super::transport::Transport;
use super::{Flow, Stream};

/// The wakers of such futures.
pub(super) type Waiting = Option<Box<Vec<Waker>>>;

impl Flow {
    /// Whether writers have reason to wait: the queue is long, and will become shorter.
    fn is_waited_for(&self) -> bool {
        self.state.is_congested() && self.state.is_open() && self.takes_data()
    }
}

impl Stream {
    /// Wakes all that wait. Nothing is borrowed meanwhile: a waker may be any code.
    pub(super) fn wake_waiting(&self) {
        let waiting = self.flow.borrow_mut().waiting.take();
        if let Some(waiting) = waiting {
            for waker in *waiting {
                waker.wake();
            }
        }
    }
}

impl Transport {
    /// Whether [`poll_relieved`](Transport::poll_relieved) waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.stream().flow.borrow().is_waited_for()
    }

    /// Waits while the transport is congested. Any number of futures may wait. None waits for what is closed, or takes no
    /// more.
    pub(crate) fn poll_relieved(&self, context: &Context<'_>) -> Poll<()> {
        if !self.is_waited_for() {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let mut flow = self.stream().flow.borrow_mut();
        let waiting = flow.waiting.get_or_insert_default();
        if !waiting.iter().any(|other| other.will_wake(&waker)) {
            waiting.push(waker);
        }
        Poll::Pending
    }
}
