//! A protocol tested on the simulated port: `cargo run -p tidewaiter --example simulated`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::{rc::Rc, time::Duration};

use tidewaiter::port::sim::{Faults, Sim};
use tidewaiter::{DelayedCall, Protocol, Reactor, Reason, Transport};

const HOUR: Duration = Duration::from_secs(3600);

/// The protocol under test: answers each line with its length, and closes after an hour of silence.
#[derive(Default)]
struct Lengths {
    line: usize,
    silence: Option<DelayedCall>,
}

impl Protocol for Lengths {
    fn connection_made(&mut self, transport: &Transport) {
        let silent = transport.clone();
        let close = move |_: &Reactor| silent.lose_connection();
        self.silence = Some(transport.reactor().call_later(HOUR, close));
        transport.pause_while_congested();
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.silence.as_ref().map(|call| call.reset(HOUR));
        for byte in data {
            if *byte == b'\n' {
                transport.write(format!("{}\n", std::mem::take(&mut self.line)).as_bytes());
            } else {
                self.line += 1;
            }
        }
    }

    fn connection_lost(&mut self, _: &Transport, _: Reason) {
        self.silence.take().map(|call| call.cancel());
    }
}

/// Sends lines, and collects the answers until the server hangs up.
struct Client(Rc<RefCell<String>>);

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        let lines: Vec<String> = (0..100).map(|length| "x".repeat(length)).collect();
        transport.write(format!("{}\n", lines.join("\n")).as_bytes());
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.0.borrow_mut().push_str(&String::from_utf8_lossy(data));
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        assert!(reason.is_done(), "{reason}");
        transport.reactor().stop();
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let expected: String = (0..100).map(|length| format!("{length}\n")).collect();
    for seed in 0..50 {
        // Short reads and writes, late and reordered completions: different for each seed.
        let sim = Sim::builder(seed).faults(Faults::bumpy()).build();
        let reactor = Reactor::builder().simulation(&sim).build()?;
        let address: SocketAddr = "127.0.0.1:7000".parse()?;
        reactor.listen_tcp(address, |_| Lengths::default())?;
        let answers = Rc::<RefCell<String>>::default();
        let gathered = Rc::clone(&answers);
        reactor.connect_tcp(address, move |_| Client(Rc::clone(&gathered)));
        reactor.run()?;
        assert_eq!(*answers.borrow(), expected, "seed {seed}");
        assert!(sim.elapsed() >= HOUR, "seed {seed}");
    }
    println!("50 simulations of an hour each: all answers arrived, each server hung up");
    Ok(())
}
