//! The peers that a socket has heard of or sent to last, with Python's objects for their addresses: to make one costs
//! more than to receive a datagram.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use tidewaiter::Address;

/// How many senders are kept: a power of two.
const SENDERS: usize = 16;

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

/// The peers of a socket. Their names are of built-in types that refer to nothing else, so the garbage collector need
/// not see them.
#[derive(Default)]
pub(crate) struct Peers {
    /// Each at the place that its address's hash says.
    senders: RefCell<[Option<Peer>; SENDERS]>,
    /// The place of the sender that was last heard of: the next datagram is often from the same one, or to it.
    latest: Cell<usize>,
    /// The peer that was last sent to under a name of the application's.
    receiver: RefCell<Option<Peer>>,
    /// [`Destination::reached`] of the peer that the socket is connected to.
    connected_reached: Cell<bool>,
}

fn place(address: &Address) -> usize {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    usize::try_from(hasher.finish() % SENDERS as u64).unwrap_or(0)
}

impl Peers {
    /// The name of a sender: the one that is kept, or one that `make` makes, and that is kept from here on.
    pub(crate) fn name<'py>(
        &self,
        py: Python<'py>,
        address: &Address,
        make: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(kept) = self.name_at(py, self.latest.get(), address) {
            return Ok(kept);
        }
        let place = place(address);
        self.latest.set(place);
        if let Some(kept) = self.name_at(py, place, address) {
            return Ok(kept);
        }
        let name = make()?;
        let peer = Peer::new(address.clone(), &name);
        let replaced = self.senders.borrow_mut()[place].replace(peer);
        drop(replaced);
        Ok(name)
    }

    fn name_at<'py>(
        &self,
        py: Python<'py>,
        place: usize,
        address: &Address,
    ) -> Option<Bound<'py, PyAny>> {
        let senders = self.senders.borrow();
        let peer = senders[place].as_ref()?;
        (peer.address == *address).then(|| peer.name.bind(py).clone())
    }

    /// Looks at the peer that this object names, if it is kept.
    fn find<R>(&self, name: &Bound<'_, PyAny>, look: impl FnOnce(&Peer) -> R) -> Option<R> {
        let (receiver, senders) = (self.receiver.borrow(), self.senders.borrow());
        let latest = senders[self.latest.get()].iter();
        let mut kept = latest.chain(&*receiver).chain(senders.iter().flatten());
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
        for peer in receiver.iter().chain(senders.iter().flatten()) {
            peer.reached.set(false);
        }
        self.connected_reached.set(false);
    }
}
