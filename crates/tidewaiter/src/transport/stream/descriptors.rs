//! Passing descriptors over a UNIX socket, both ways.

use std::io;
use std::rc::Rc;

use super::state::{Event, Next};
use super::{Stream, Transport};
use crate::port::{
    DESCRIPTORS_MAX, OwnedDescriptor, PassedDescriptors, PeerCredentials, ReceivedWithDescriptors,
};

impl Stream {
    /// Delivers descriptors, and then the bytes with which they came.
    pub(super) fn received_passed(self: &Rc<Self>, received: ReceivedWithDescriptors) {
        let ReceivedWithDescriptors { data, passed } = received;
        match self.on(Event::Received) {
            Next::Deliver => {
                self.deliver_passed(passed);
                // The program may have paused the stream, or closed it.
                self.received(data);
            }
            Next::Hold => {
                self.flow.borrow_mut().hold(data, Some(Box::new(passed)));
                self.stop_receiving();
            }
            _ => self.discard(data.len()),
        }
    }

    pub(super) fn deliver_passed(self: &Rc<Self>, passed: PassedDescriptors) {
        self.enter(|protocol, transport| protocol.descriptors_received(transport, passed));
    }

    fn check_passes_descriptors(&self) -> io::Result<()> {
        if !self.link.passes_descriptors {
            let message = "only UNIX sockets pass descriptors";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let port = self.reactor.port().info().kind;
        if !port.has_messages() {
            let message = format!("the {port} port does not pass descriptors");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        Ok(())
    }
}

impl Transport {
    /// Sends `data`, after everything that was written before, and passes descriptors with it (`SCM_RIGHTS`): the peer
    /// gets descriptors of its own for the same files, sockets and other objects. Ours are closed once they are sent, or
    /// when the connection ends before that: pass duplicates of those that you keep.
    ///
    /// The peer gets the descriptors with the first byte of `data`, or with bytes before it, and never those of two calls
    /// together. Otherwise, `data` is sent as by [`write`](Transport::write).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) on a connection that is no UNIX socket, without data, and with more
    /// than 253 descriptors; [`Unsupported`](io::ErrorKind::Unsupported) on Windows;
    /// [`NotConnected`](io::ErrorKind::NotConnected) once the connection is closed or accepts no more data. The
    /// descriptors are closed then, and nothing is sent.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::fd::OwnedFd;
    /// use tidewaiter::port::PassedDescriptors;
    /// use tidewaiter::{Protocol, Reactor, Transport, UnixAddress};
    ///
    /// /// Passes the standard input on.
    /// struct Giver;
    ///
    /// impl Protocol for Giver {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         let input = std::io::stdin();
    ///         let ours = std::os::fd::AsFd::as_fd(&input).try_clone_to_owned();
    ///         let sent = ours.and_then(|ours| transport.send_with_descriptors(b"take it", vec![ours]));
    ///         assert!(sent.is_ok());
    ///     }
    ///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    /// }
    ///
    /// struct Taker;
    ///
    /// impl Protocol for Taker {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         let taken = transport.take_descriptors();
    ///         assert!(taken.is_ok());
    ///     }
    ///     fn descriptors_received(&mut self, transport: &Transport, passed: PassedDescriptors) {
    ///         let theirs: Vec<OwnedFd> = passed.descriptors;
    ///         assert_eq!(theirs.len(), 1);
    ///         transport.reactor().stop();
    ///     }
    ///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    /// }
    ///
    /// # let path = std::env::temp_dir().join(format!("taker-{}.sock", std::process::id()));
    /// let address = UnixAddress::from_pathname(path)?;
    /// let reactor = Reactor::new()?;
    /// reactor.listen_unix(address.clone(), |_peer| Taker)?;
    /// reactor.connect_unix(address, |_peer| Giver);
    /// reactor.run()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_with_descriptors(
        &self,
        data: &[u8],
        descriptors: Vec<OwnedDescriptor>,
    ) -> io::Result<()> {
        self.stream().check_passes_descriptors()?;
        if data.is_empty() || descriptors.len() > DESCRIPTORS_MAX {
            let message = "descriptors go with at least one byte, and at most 253 at a time";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if !self.stream().flow.borrow().takes_data() {
            let message = "the connection takes no more data";
            return Err(io::Error::new(io::ErrorKind::NotConnected, message));
        }
        self.stream().write(|queue| {
            queue.begin_message(descriptors);
            queue.extend_from_slice(data);
        });
        Ok(())
    }

    /// Passes descriptors with the last byte that was written, as
    /// [`send_with_descriptors`](Transport::send_with_descriptors) does with those that it gets. Gives them back if that byte
    /// is on its way to the OS already, or if others go with it.
    ///
    /// # Errors
    ///
    /// The descriptors, which are still open: also on a connection that passes none or is closed.
    pub fn pass_with_written(
        &self,
        descriptors: Vec<OwnedDescriptor>,
    ) -> Result<(), Vec<OwnedDescriptor>> {
        let mut flow = self.stream().flow.borrow_mut();
        if self.stream().check_passes_descriptors().is_err() || !flow.takes_data() {
            return Err(descriptors);
        }
        flow.queue.attach(descriptors)
    }

    /// From now on, takes descriptors that the peer passes:
    /// [`Protocol::descriptors_received`](super::Protocol::descriptors_received) gets them. Until this call, the OS closes
    /// them, so a peer cannot fill up this process's descriptors. Call it in
    /// [`connection_made`](super::Protocol::connection_made), before anything is received. It lasts for the connection's
    /// life, and each receive costs a little more.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) on a connection that is no UNIX socket;
    /// [`Unsupported`](io::ErrorKind::Unsupported) on Windows.
    pub fn take_descriptors(&self) -> io::Result<()> {
        self.stream().check_passes_descriptors()?;
        self.stream().flow.borrow_mut().takes_descriptors = true;
        // The receive that follows takes them.
        self.stream().stop_receiving();
        Ok(())
    }

    /// The process and the user at the other end of a UNIX socket: the client that connected, or the server as it was
    /// when it began to listen. Of a named pipe, the process alone.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Transport::local_addr); [`InvalidInput`](io::ErrorKind::InvalidInput) for a connection of another
    /// kind, and [`Unsupported`](io::ErrorKind::Unsupported) for sockets on Windows and in simulations.
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        self.check_open()?;
        let port = self.stream().reactor.port();
        port.peer_credentials(self.stream().handle)
    }
}
