//! Reactors on several threads sharing a listener: `cargo run -p tidewaiter --example several_reactors -- 127.0.0.1:7000`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;
use std::thread;

use tidewaiter::{GroupListener, Protocol, Reactor, ReactorGroup, Transport};

/// Tells each caller which thread serves it.
struct Greeter {
    number: usize,
}

impl Protocol for Greeter {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(format!("reactor {} says hello\n", self.number).as_bytes());
        transport.lose_connection();
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

/// Starts a reactor on each of `threads` threads; all of them serve `address`.
pub(crate) fn serve(
    threads: usize,
    address: SocketAddr,
) -> Result<(ReactorGroup, GroupListener), tidewaiter::Error> {
    let group = ReactorGroup::start(threads, &Reactor::builder())?;
    // On Linux the kernel distributes the connections; elsewhere one reactor accepts them and hands them to the
    // others in turn.
    let listener = group.listen(address, |number| move |_peer| Greeter { number })?;
    Ok((group, listener))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:7000").parse()?;
    let threads = thread::available_parallelism()?.get();
    let (group, listener) = serve(threads, address)?;
    println!("{threads} reactors on {}", listener.local_addr());
    // Waits for Ctrl-C, which ends all of them.
    group.join()?;
    Ok(())
}
