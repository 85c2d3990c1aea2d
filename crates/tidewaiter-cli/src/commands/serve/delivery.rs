//! The end of a session whose child is gone: the client gets the rest of the output, however slow it is.
//!
//! Only the client can say that it has everything, by closing its side; most do. Of the others, those who
//! stand still are given up.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::session::Session;

/// How long a client that has everything may take to close its side.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long a client for which there is more may take none of it.
const STILL_LIMIT: Duration = Duration::from_secs(30);
/// How long a client may leave its side open of which the OS does not tell what it took.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked how much the client took: no event tells.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Session {
    /// Sends the rest, tells the end, and waits for the client to close its side. Closed at once, with
    /// something unread or still to come, the connection would be reset, and what is under way lost.
    pub(super) fn deliver_rest(self: &Rc<Self>) {
        self.client.unregister_producer();
        self.client.lose_write_connection();
        self.watch_delivery(self.undelivered(), self.reactor().now());
    }

    /// How much output the client has not taken; `None` if there may be some, and the OS does not tell.
    pub(super) fn undelivered(&self) -> Option<usize> {
        let queued = self.client.queued();
        match self.client.unacknowledged() {
            Ok(sent) => Some(queued + sent),
            Err(_) if queued > 0 => Some(queued),
            Err(_) => None,
        }
    }

    /// Gives the client up if it took nothing for too long; `before` was left at `since`.
    fn watch_delivery(self: &Rc<Self>, before: Option<usize>, since: Instant) {
        let (left, now) = (self.undelivered(), self.reactor().now());
        let since = if left == before { since } else { now };
        let limit = match left {
            Some(0) => CLOSE_LIMIT,
            Some(_) => STILL_LIMIT,
            None => UNKNOWN_LIMIT,
        };
        if now.saturating_duration_since(since) < limit {
            self.later(LOOK_EVERY, move |session| {
                session.watch_delivery(left, since);
            });
            return;
        }
        match left {
            Some(bytes @ 1..) => {
                log::warn!(peer:% = self.peer(), bytes = bytes; "the client takes nothing: the rest is dropped");
                self.client.abort_connection();
            }
            Some(0) | None => self.client.lose_connection(),
        }
    }
}
