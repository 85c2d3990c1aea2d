//! Named pipes of Windows.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;

use bench_common::pipes::{self, Echoes};
use tidewaiter::{Address, PipeName, Protocol, Reactor, Transport};

/// Sends back everything that it receives, and counts it.
struct Echo(Rc<RefCell<Echoes>>);

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_while_congested();
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
        self.0.borrow_mut().add(data.len());
    }
}

pub(crate) fn echo(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
    let address = Address::from(PipeName::new(pipes::name())?);
    let echoes = Rc::<RefCell<Echoes>>::default();
    reactor.listen(address, move |_peer| Echo(Rc::clone(&echoes)))?;
    pipes::start_clients();
    Ok(())
}
