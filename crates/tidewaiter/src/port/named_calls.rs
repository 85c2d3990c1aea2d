//! The calls of a [`Port`](super::Port) by their names, for tests of one driver that look into it.

use std::io;

use super::calls::{Control, Open, Query, SignalCall};
use super::{Driver, Handle, ListenOptions, Resource, Waker};
use crate::os::Address;
use crate::process::{Signal, SignalTarget, Survey, Unreached};

pub(super) trait NamedCalls: Driver {
    fn listen(&mut self, options: &ListenOptions) -> io::Result<Handle> {
        self.open(Open::Listener(options))
    }

    fn open_stream(&mut self, peer: &Address, local: Option<&Address>) -> io::Result<Handle> {
        self.open(Open::Stream {
            peer,
            local,
            packets: false,
        })
    }

    fn adopt(&mut self, resource: Resource) -> io::Result<Handle> {
        self.open(Open::Adopted(resource))
    }

    fn shutdown_write(&mut self, handle: Handle) -> io::Result<()> {
        self.control(handle, Control::ShutdownWrite)
    }

    fn signal(&mut self, handle: Handle, signal: Signal, target: SignalTarget) -> io::Result<()> {
        self.control(
            handle,
            Control::Signal(SignalCall {
                signal,
                target,
                survey: &mut Survey::default(),
                unreached: &mut Unreached::default(),
            }),
        )
    }

    fn local_addr(&self, handle: Handle) -> io::Result<Address> {
        Ok(self.query(handle, Query::LocalAddress)?.address())
    }

    fn peer_addr(&self, handle: Handle) -> io::Result<Address> {
        Ok(self.query(handle, Query::PeerAddress)?.address())
    }

    fn waker(&self) -> Waker {
        self.status().waker.clone()
    }

    fn in_flight(&self) -> usize {
        self.status().in_flight
    }

    fn open_handles(&self) -> usize {
        self.status().open_handles
    }

    fn stale(&self) -> u64 {
        self.status().stale
    }
}

impl<D: Driver> NamedCalls for D {}
