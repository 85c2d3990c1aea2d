//! Sending datagrams.

use super::pending::{Pending, Work};
use super::world::World;
use crate::port::Outcome;
use crate::port::datagram::{DatagramBatch, DatagramError};
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
    send_now(world, batch, key);
    (batch.len() < count).then(|| Outcome::DatagramsSent(std::mem::take(batch)))
}

/// Sends datagrams until a queue is full. Returns the number of bytes.
pub(super) fn send_now(world: &mut World, batch: &mut DatagramBatch, key: Key) -> usize {
    let mut bytes = 0;
    loop {
        let next = batch.runs().next();
        let Some(first) = next.map(|run| run.first(1)) else {
            break;
        };
        match world.send_datagram(key, first.to, first.bytes) {
            Ok(true) => {
                bytes += first.bytes.len();
                batch.note_sent(1);
            }
            Ok(false) => break,
            Err(error) => {
                let to = first.to.cloned();
                batch.note_failed(DatagramError::new("sendmsg", to, error));
            }
        }
    }
    bytes
}
