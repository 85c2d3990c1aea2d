//! Hands a listener to another process on Windows: this one listens, and its worker, which reads a copy of the listener
//! from its standard input, serves a client. `cargo run -p tidewaiter --example hand_over_windows -- 127.0.0.1:7000`
//! Connections are handed over in the same way. For Unix, see the example `hand_over`.
#![cfg_attr(windows, expect(unsafe_code, reason = "the worker trusts its parent"))]
#![cfg_attr(windows, expect(clippy::print_stdout, reason = "it talks to its user"))]

#[cfg(windows)]
pub(crate) use on_windows::main;
#[cfg(not(windows))]
pub(crate) fn main() {}

#[cfg(windows)]
mod on_windows {
    use std::error::Error;
    use std::io::{self, Read};
    use std::net::TcpListener;
    use tidewaiter::port::{ListeningSocket, SharedSocket};
    use tidewaiter::process::{Command, ExitStatus};
    use tidewaiter::{Process, ProcessProtocol, Protocol, Reactor, Reason, Transport};

    /// Set in the worker.
    const IS_WORKER: &str = "EXAMPLE_IS_WORKER";

    /// Greets a client, and ends the worker.
    struct Greeter;

    impl Protocol for Greeter {
        fn connection_made(&mut self, transport: &Transport) {
            transport.write(b"hello from the worker\n");
            transport.lose_connection();
        }

        fn data_received(&mut self, _: &Transport, _: &[u8]) {}

        fn connection_lost(&mut self, transport: &Transport, _: Reason) {
            transport.reactor().stop();
        }
    }

    /// Gives the worker a copy of the listener, which no reactor of this process has adopted.
    struct Parent(TcpListener);

    impl ProcessProtocol for Parent {
        fn connection_made(&mut self, worker: &Process) {
            let copy = SharedSocket::new(&self.0, worker.pid()).expect("the worker runs");
            worker.write(copy.as_bytes());
            worker.close_stdin();
        }

        fn process_ended(&mut self, worker: &Process, status: ExitStatus) {
            println!("the worker has ended: {status}");
            worker.reactor().stop();
        }
    }

    fn work(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
        let mut bytes = [0; SharedSocket::BYTES];
        io::stdin().read_exact(&mut bytes)?;
        // SAFETY: the parent made the bytes for this process, and they are opened once.
        let listener = unsafe { SharedSocket::open(&bytes) }?;
        reactor.listen_on(ListeningSocket::from(listener), |_peer| Greeter)?;
        Ok(())
    }

    pub(crate) fn main() -> Result<(), Box<dyn Error>> {
        let reactor = Reactor::new()?;
        if std::env::var_os(IS_WORKER).is_some() {
            work(&reactor)?;
        } else {
            let address = std::env::args().nth(1).ok_or("no address given")?;
            let listener = TcpListener::bind(address)?;
            println!("listening on {}", listener.local_addr()?);
            let worker = Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1));
            reactor.spawn_process(&worker.env(IS_WORKER, "yes"), Parent(listener))?;
        }
        reactor.run()?;
        Ok(())
    }
}
