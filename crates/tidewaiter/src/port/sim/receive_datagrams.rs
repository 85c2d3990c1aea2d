//! Receiving datagrams.

use std::io;
use std::rc::Rc;

use super::faults::{Call, Faults};
use super::world::World;
use super::world::datagrams::{Arrival, INTERFACE};
use crate::os::Address;
use crate::port::Outcome;
use crate::port::buffer::{Buffer, Pool};
use crate::port::datagram::{DatagramError, Datagrams, Ecn, Message, PacketInfo, SpareBatches};
use crate::port::table::Key;

/// The most datagrams in one completion.
const RECEIVED_MAX: usize = 16;

/// Receives what has arrived: datagrams, or one error.
pub(super) fn attempt_receive_datagrams(
    world: &mut World,
    key: Key,
    spare: &Rc<SpareBatches>,
) -> Option<Outcome> {
    if let Some(error) = world.requested_failures.take(Call::ReceiveDatagrams) {
        return Some(told(None, error));
    }
    let arrived = world.datagram_socket(key).datagrams_arrived(RECEIVED_MAX);
    if arrived == 0 {
        let arrival = world.datagram_socket_mut(key).receive()?;
        let Arrival::Unreachable { peer } = arrival else {
            unreachable!("no datagram is the next arrival");
        };
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        return Some(told(Some(peer), refused));
    }
    let count = Faults::shorten(arrived, world.faults.short_receives, &mut world.random);
    let mut datagrams = Datagrams::new(spare);
    let socket = world.datagram_socket_mut(key);
    let tells_info = socket.packet_info;
    for arrival in (0..count).filter_map(|_| socket.receive()) {
        if let Arrival::Datagram {
            bytes,
            sender,
            destination,
        } = arrival
        {
            datagrams.push(Message {
                memory: buffer(&bytes),
                start: 0,
                segment: 0,
                sender,
                info: tells_info.then_some(PacketInfo {
                    destination,
                    interface: destination.map(|_| INTERFACE),
                    ecn: destination.map(|_| Ecn::NotCapable),
                }),
            });
        }
    }
    Some(Outcome::Datagrams(datagrams))
}

/// An error about a datagram that was sent to `peer`.
fn told(peer: Option<Address>, error: io::Error) -> Outcome {
    Outcome::DatagramError(Box::new(DatagramError::new("recvmsg", peer, error)))
}

/// Memory of exactly these bytes.
fn buffer(bytes: &[u8]) -> Buffer {
    let mut lease = Pool::new(bytes.len(), 0).lease();
    lease.as_mut_slice().copy_from_slice(bytes);
    lease.filled(bytes.len())
}
