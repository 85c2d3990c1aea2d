//! Delivering the rest of the output after the child has exited.
//!
//! A slow client gets all of the output. Only the client can confirm that it has everything, by closing its side, and
//! most do. The server drops a client that makes no progress, even while some of the output is still in the child's pipe.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::session::Session;

/// Time that a client has to close its side after it has received everything.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Time that a client may go without taking any of the remaining output.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Time that a client has to close its side on a system that does not tell how much the client has received.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(10);
/// Interval between two checks of the progress: no event reports it.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Session {
    /// Starts to watch the client's progress, once the child has exited.
    pub(super) fn watch_rest(self: &Rc<Self>) {
        self.watch_delivery(self.undelivered(), self.reactor().now());
    }

    /// Sends the rest, shuts down the sending side, and waits for the client to close its side.
    ///
    /// Closing at once could lose output: with unread input, the kernel resets the connection instead of delivering
    /// the data that it still holds.
    pub(super) fn deliver_rest(&self) {
        if let Some(client) = self.client() {
            client.unregister_producer();
            client.lose_write_connection();
        }
    }

    /// Bytes of output that the client has not received; `None` if the OS does not tell.
    pub(super) fn undelivered(&self) -> Option<usize> {
        let client = self.client()?;
        let queued = client.queued();
        match client.unacknowledged() {
            Ok(sent) => Some(queued + sent),
            Err(_) if queued > 0 => Some(queued),
            Err(_) => None,
        }
    }

    /// Drops a client that has made no progress for too long. `before` is the undelivered output at `since`, the
    /// time of the last progress.
    fn watch_delivery(self: &Rc<Self>, before: Option<usize>, since: Instant) {
        let (left, now) = (self.undelivered(), self.reactor().now());
        // A client that has received everything is not late while the child's pipes are open.
        let waits = matches!(left, Some(0) | None) && !self.child_has_ended();
        let since = if left == before && !waits { since } else { now };
        let limit = match left {
            Some(0) => CLOSE_LIMIT,
            Some(_) => STALL_LIMIT,
            None => UNKNOWN_LIMIT,
        };
        if now.saturating_duration_since(since) < limit {
            self.later(CHECK_INTERVAL, move |session| {
                session.watch_delivery(left, since);
            });
            return;
        }
        let Some(client) = self.client() else { return };
        match left {
            Some(bytes @ 1..) => {
                log::warn!(peer:% = self.peer(), bytes = bytes; "the client does not read: dropping the rest");
                client.abort_connection();
            }
            Some(0) | None => client.lose_connection(),
        }
    }
}
