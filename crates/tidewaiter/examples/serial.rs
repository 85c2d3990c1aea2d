//! Joins our standard streams with a serial port: `cargo run -p tidewaiter --example serial -- NAME RATE`.

use std::error::Error;
use std::io;

use tidewaiter::port::SerialOptions;
use tidewaiter::{Protocol, Reactor, Reason, SerialPort, Transport};

/// Our standard streams: what arrives goes to the port.
struct Console {
    port: Transport,
}

impl Protocol for Console {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.port.write(data);
    }

    fn connection_lost(&mut self, _: &Transport, _: Reason) {
        self.port.lose_connection();
    }
}

/// The serial port: what arrives goes to standard output.
#[derive(Default)]
struct Device {
    console: Option<Transport>,
}

impl Protocol for Device {
    fn connection_made(&mut self, port: &Transport) {
        let console = Console { port: port.clone() };
        match port.reactor().standard_io(console) {
            Ok(console) => self.console = Some(console),
            Err(_) => port.lose_connection(),
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        if let Some(console) = &self.console {
            console.write(data);
        }
    }

    fn connection_lost(&mut self, port: &Transport, _: Reason) {
        port.reactor().stop();
    }
}

/// Opens the port, and our standard streams once it is open.
pub(crate) fn open(reactor: &Reactor, name: &str, baud_rate: u32) -> io::Result<SerialPort> {
    reactor.open_serial(&SerialOptions::new(name, baud_rate), Device::default())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(name), Some(rate)) = (words.next(), words.next()) else {
        return Err("usage: serial NAME RATE".into());
    };
    let reactor = Reactor::new()?;
    open(&reactor, &name, rate.parse()?)?;
    reactor.run()?;
    Ok(())
}
