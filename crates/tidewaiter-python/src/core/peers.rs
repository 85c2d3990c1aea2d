//! The peers that a socket has heard of or sent to last, with Python's objects for their addresses: to make one costs
//! more than to receive a datagram.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use tidewaiter::Address;

/// How many groups of senders are kept, a power of two, and how many there are in a group.
const GROUPS: usize = 16;
const IN_GROUP: usize = 4;

/// Datagrams of at most this size may be sent together with others. Every network with IPv6 carries them whole, so no error
/// is to be expected that the call should raise. More would save little, in relation to their size.
pub(crate) const GATHERED_BYTES_MAX: usize = 1232;

struct Peer {
    address: Address,
    name: Py<PyAny>,
    reached: Cell<bool>,
}

impl Peer {
    fn new(address: Address, name: &Bound<'_, PyAny>) -> Peer {
        Peer {
            address,
            name: name.clone().unbind(),
            reached: Cell::new(false),
        }
    }
}

/// Where a datagram goes.
pub(crate) struct Destination {
    /// `None`: to the peer that the socket is connected to.
    pub(crate) address: Option<Address>,
    /// The OS has taken a datagram to this peer, and has reported no error since.
    pub(crate) reached: bool,
}

/// The senders that a socket has heard of. Each is in the group that its address's hash says.
#[derive(Default)]
struct Senders {
    groups: [[Option<Peer>; IN_GROUP]; GROUPS],
    /// The place of the one that was last heard of: the next datagram is often from the same one, or to it.
    latest: (usize, usize),
    /// The place in its group of the one that is replaced next.
    next_replaced: usize,
}

impl Senders {
    fn latest(&self) -> Option<&Peer> {
        let (group, at) = self.latest;
        self.groups[group][at].as_ref()
    }

    fn all(&self) -> impl Iterator<Item = &Peer> {
        self.groups.as_flattened().iter().flatten()
    }

    /// Finds a sender, which is the latest one from here on.
    fn find(&mut self, address: &Address) -> Option<&Peer> {
        if self.latest().is_none_or(|peer| peer.address != *address) {
            let group = group(address);
            let known =
                |peer: &Option<Peer>| peer.as_ref().is_some_and(|peer| peer.address == *address);
            self.latest = (group, self.groups[group].iter().position(known)?);
        }
        self.latest()
    }

    /// Keeps a sender, which is the latest one from here on. Returns the one that it replaces.
    fn keep(&mut self, peer: Peer) -> Option<Peer> {
        let group = group(&peer.address);
        let free = self.groups[group].iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.next_replaced = (self.next_replaced + 1) % IN_GROUP;
            self.next_replaced
        });
        self.latest = (group, at);
        self.groups[group][at].replace(peer)
    }
}

fn group(address: &Address) -> usize {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    usize::try_from(hasher.finish() % GROUPS as u64).unwrap_or(0)
}

/// The peers of a socket. Their names are of built-in types that refer to nothing else, so the garbage collector need
/// not see them.
#[derive(Default)]
pub(crate) struct Peers {
    /// Boxed: most sockets of a program that has many have not heard of anyone.
    senders: RefCell<Option<Box<Senders>>>,
    /// The peer that was last sent to under a name of the application's.
    receiver: RefCell<Option<Peer>>,
    /// [`Destination::reached`] of the peer that the socket is connected to.
    connected_reached: Cell<bool>,
}

impl Peers {
    /// The name of a sender: the one that is kept, or one that `make` makes, and that is kept from here on.
    pub(crate) fn name<'py>(
        &self,
        py: Python<'py>,
        address: &Address,
        make: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut senders = self.senders.borrow_mut();
        let known = senders.as_mut().and_then(|senders| senders.find(address));
        if let Some(peer) = known {
            return Ok(peer.name.bind(py).clone());
        }
        // This may run any code of Python's.
        drop(senders);
        let name = make()?;
        let peer = Peer::new(address.clone(), &name);
        let replaced = self.senders.borrow_mut().get_or_insert_default().keep(peer);
        drop(replaced);
        Ok(name)
    }

    /// Looks at the peer that this object names, if it is kept.
    fn find<R>(&self, name: &Bound<'_, PyAny>, look: impl FnOnce(&Peer) -> R) -> Option<R> {
        let (receiver, senders) = (self.receiver.borrow(), self.senders.borrow());
        let latest = senders.iter().filter_map(|senders| senders.latest());
        let all = senders.iter().flat_map(|senders| senders.all());
        let mut kept = latest.chain(&*receiver).chain(all);
        kept.find(|peer| peer.name.is(name)).map(look)
    }

    /// The peer that this object names, if it is kept.
    pub(crate) fn destination(&self, name: &Bound<'_, PyAny>) -> Option<Destination> {
        self.find(name, |peer| Destination {
            address: Some(peer.address.clone()),
            reached: peer.reached.get(),
        })
    }

    /// The peer that the socket is connected to.
    pub(crate) fn connected(&self) -> Destination {
        Destination {
            address: None,
            reached: self.connected_reached.get(),
        }
    }

    /// Keeps a peer that the application sends to.
    pub(crate) fn keep(&self, name: &Bound<'_, PyAny>, address: Address) {
        let replaced = self.receiver.replace(Some(Peer::new(address, name)));
        drop(replaced);
    }

    /// Notes that the OS has taken a datagram to the peer that this object names, or to the connected peer.
    pub(crate) fn note_reached(&self, name: Option<&Bound<'_, PyAny>>) {
        match name {
            Some(name) => drop(self.find(name, |peer| peer.reached.set(true))),
            None => self.connected_reached.set(true),
        }
    }

    /// Notes that the OS has reported an error: the next datagram to each peer shows anew whether it is reached.
    pub(crate) fn doubt(&self) {
        let (receiver, senders) = (self.receiver.borrow(), self.senders.borrow());
        let all = senders.iter().flat_map(|senders| senders.all());
        for peer in receiver.iter().chain(all) {
            peer.reached.set(false);
        }
        self.connected_reached.set(false);
    }
}
