//! Sending datagrams.

use super::pending::{Pending, Work};
use super::world::World;
use crate::port::Outcome;
use crate::port::datagram::DatagramError;
use crate::port::table::Key;

/// Sends datagrams until a queue is full. Waits while none can be sent.
pub(super) fn attempt_send_datagrams(
    world: &mut World,
    pending: &mut Pending,
    key: Key,
) -> Option<Outcome> {
    let Work::SendDatagrams(batch) = &mut pending.work else {
        unreachable!("the caller found a send of datagrams");
    };
    let count = batch.len();
    loop {
        let next = batch.runs().next();
        let Some(first) = next.map(|run| run.first(1)) else {
            break;
        };
        match world.send_datagram(key, first.to, first.bytes) {
            Ok(true) => batch.note_sent(1),
            Ok(false) => break,
            Err(error) => {
                let to = first.to.cloned();
                batch.note_failed(DatagramError::new("sendmsg", to, error));
            }
        }
    }
    (batch.len() < count).then(|| Outcome::DatagramsSent(std::mem::take(batch)))
}
