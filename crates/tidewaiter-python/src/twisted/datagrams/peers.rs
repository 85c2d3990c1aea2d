//! The peers that a socket has heard of or sent to last, with Python's objects for their addresses: to make one costs
//! more than to receive a datagram.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use tidewaiter::Address;

/// How many senders are kept: a power of two.
const SENDERS: usize = 16;

struct Peer {
    address: Address,
    name: Py<PyAny>,
}

/// The peers of a socket. Their names are of built-in types that refer to nothing else, so the garbage collector need
/// not see them.
#[derive(Default)]
pub(super) struct Peers {
    /// Each at the place that its address's hash says.
    senders: RefCell<[Option<Peer>; SENDERS]>,
    /// The peer that was last sent to under a name of the application's.
    receiver: RefCell<Option<Peer>>,
}

fn place(address: &Address) -> usize {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    usize::try_from(hasher.finish() % SENDERS as u64).unwrap_or(0)
}

impl Peers {
    /// The name of a sender: the one that is kept, or one that `make` makes, and that is kept from here on.
    pub(super) fn name<'py>(
        &self,
        py: Python<'py>,
        address: &Address,
        make: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let place = place(address);
        if let Some(peer) = &self.senders.borrow()[place]
            && peer.address == *address
        {
            return Ok(peer.name.bind(py).clone());
        }
        let name = make()?;
        let peer = Peer {
            address: address.clone(),
            name: name.clone().unbind(),
        };
        let replaced = self.senders.borrow_mut()[place].replace(peer);
        drop(replaced);
        Ok(name)
    }

    /// The address of the peer that this object names, if it is kept.
    pub(super) fn find(&self, name: &Bound<'_, PyAny>) -> Option<Address> {
        let (receiver, senders) = (self.receiver.borrow(), self.senders.borrow());
        let mut kept = receiver.iter().chain(senders.iter().flatten());
        let found = kept.find(|peer| peer.name.is(name));
        found.map(|peer| peer.address.clone())
    }

    /// Keeps a peer that the application sends to.
    pub(super) fn keep(&self, name: &Bound<'_, PyAny>, address: Address) {
        let peer = Peer {
            address,
            name: name.clone().unbind(),
        };
        let replaced = self.receiver.replace(Some(peer));
        drop(replaced);
    }
}
