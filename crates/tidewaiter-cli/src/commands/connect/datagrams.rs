//! `tidewaiter connect udp:…`: what standard input brings goes out as datagrams, and what comes goes to standard output.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use tidewaiter::endpoint::{self, HostPort};
use tidewaiter::port::{Datagram, DatagramError};
use tidewaiter::{
    DatagramProtocol, DatagramTransport, DelayedCall, Producer, ProducerKind, Protocol, Reactor,
    Reason, Transport,
};

use super::super::DATAGRAM_BYTES_MAX;
use super::{End, INPUT_PATIENCE, OUTPUT_BYTES_MAX};
use crate::failure::Failure;

/// The state that both sides share.
#[derive(Default)]
struct Exchange {
    socket: RefCell<Option<DatagramTransport>>,
    standard: RefCell<Option<Transport>>,
    input_ended: Cell<bool>,
    /// Ends the exchange once the input has ended and nothing comes any more.
    patience: RefCell<Option<DelayedCall>>,
    end: RefCell<Option<End>>,
}

/// Exchanges datagrams with the host until standard input has ended and nothing more comes. Returns the outcome.
pub(super) fn run(reactor: &Reactor, host: &HostPort) -> Result<Option<End>, Failure> {
    let addresses = endpoint::resolve(host).map_err(Failure::failed)?;
    let exchange = Rc::<Exchange>::default();
    let interrupted = Rc::clone(&exchange);
    reactor.on_signal(move |reactor, _| {
        interrupted.end.replace(Some(End::Interrupted));
        reactor.crash();
    });
    let mut refused = None;
    for address in addresses {
        match reactor.connect_udp(address, Socket(Rc::clone(&exchange))) {
            Ok(_) => {
                reactor.run().map_err(Failure::failed)?;
                return Ok(exchange.end.take());
            }
            // A name may have addresses of a family that this machine does not have.
            Err(error) => refused = Some(error),
        }
    }
    let refused = refused.map_or_else(
        || format!("{host} has no address"),
        |error| error.to_string(),
    );
    Err(Failure::Failed(refused))
}

/// The socket: passes on what arrives to standard output.
struct Socket(Rc<Exchange>);

impl DatagramProtocol for Socket {
    fn started(&mut self, socket: &DatagramTransport) {
        let exchange = &self.0;
        let reactor = socket.reactor();
        match reactor.standard_io(Standard(Rc::clone(exchange))) {
            Ok(standard) => {
                standard.set_water_marks(OUTPUT_BYTES_MAX / 2, OUTPUT_BYTES_MAX);
                standard.register_producer(Arrivals(socket.clone()), ProducerKind::Push);
                exchange.socket.replace(Some(socket.clone()));
                exchange.standard.replace(Some(standard));
            }
            Err(error) => {
                let end = End::Failed(format!("standard input or output: {error}"));
                exchange.finish(reactor, end);
            }
        }
    }

    fn datagram_received(&mut self, socket: &DatagramTransport, datagram: &Datagram<'_>) {
        if let Some(standard) = &*self.0.standard.borrow() {
            standard.write(datagram.bytes());
        }
        self.0.await_silence(socket.reactor());
    }

    fn error_received(&mut self, socket: &DatagramTransport, error: &DatagramError) {
        let end = End::Failed(error.to_string());
        match error.source.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                self.0.finish(socket.reactor(), end);
            }
            _ => log::warn!("{error}"),
        }
    }

    fn datagrams_dropped(&mut self, _: &DatagramTransport, count: usize) {
        log::warn!("{count} datagrams of standard input were not sent");
    }

    fn write_paused(&mut self, _: &DatagramTransport) {
        if let Some(standard) = &*self.0.standard.borrow() {
            standard.pause_producing();
        }
    }

    fn write_resumed(&mut self, _: &DatagramTransport) {
        if let Some(standard) = &*self.0.standard.borrow() {
            standard.resume_producing();
        }
    }
}

/// The arriving datagrams, as the producer of standard output.
struct Arrivals(DatagramTransport);

impl Producer for Arrivals {
    fn pause_producing(&mut self) {
        self.0.pause_receiving();
    }

    fn resume_producing(&mut self) {
        self.0.resume_receiving();
    }
}

/// Standard input and output: what is read at once goes out as one datagram.
struct Standard(Rc<Exchange>);

impl Protocol for Standard {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        if let Some(socket) = &*self.0.socket.borrow() {
            for piece in data.chunks(DATAGRAM_BYTES_MAX) {
                socket.send(piece);
            }
        }
    }

    fn read_connection_lost(&mut self, standard: &Transport) {
        self.0.input_ended.set(true);
        self.0.await_silence(standard.reactor());
    }

    fn connection_lost(&mut self, standard: &Transport, reason: Reason) {
        if !reason.is_done() {
            let end = End::Failed(format!("standard input or output: {reason}"));
            self.0.end.borrow_mut().get_or_insert(end);
        }
        standard.reactor().crash();
    }
}

impl Exchange {
    /// Once the input has ended, ends the exchange after a while without a datagram.
    fn await_silence(self: &Rc<Self>, reactor: &Reactor) {
        if let Some(patience) = self.patience.take() {
            patience.cancel();
        }
        if !self.input_ended.get() {
            return;
        }
        let exchange = Rc::clone(self);
        let call = reactor.call_later(INPUT_PATIENCE, move |reactor| {
            exchange.finish(reactor, End::Done);
        });
        self.patience.replace(Some(call));
    }

    /// Leaves the loop once all output is written.
    fn finish(&self, reactor: &Reactor, end: End) {
        self.end.borrow_mut().get_or_insert(end);
        match &*self.standard.borrow() {
            Some(standard) if standard.is_open() => {
                standard.unregister_producer();
                standard.lose_connection();
            }
            _ => reactor.crash(),
        }
    }
}
