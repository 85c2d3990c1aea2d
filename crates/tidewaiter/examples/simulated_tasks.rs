//! An async function tested in simulations: `cargo run -p tidewaiter --example simulated_tasks`. With `TIDEWAITER_SEED=7`
//! before it, only the seventh.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;
use std::time::Duration;

use tidewaiter::io::{Listener, Stream};
use tidewaiter::port::sim::Faults;
use tidewaiter::{ConnectError, Reactor, simulate};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The function under test: connects, and tries again while the server is down, after one second, two, four, and so on up to
/// a minute.
async fn connect_patiently(
    reactor: &Reactor,
    address: SocketAddr,
) -> Result<(Stream, usize), ConnectError> {
    let (mut wait, mut attempt) = (SECOND, 1);
    loop {
        match Stream::connect(reactor, address).await {
            Ok(stream) => return Ok((stream, attempt)),
            Err(ConnectError::Refused { .. }) => reactor.sleep(wait).await,
            Err(error) => return Err(error),
        }
        wait = (wait * 2).min(MINUTE);
        attempt += 1;
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    simulate(0..50, &Faults::bumpy(), async |reactor, sim| {
        let address: SocketAddr = "10.0.0.1:7000".parse()?;
        // The server begins after a quarter of an hour, and greets one client.
        let handle = reactor.clone();
        let server = reactor.spawn(async move {
            handle.sleep(15 * MINUTE).await;
            let mut listener = Listener::bind(&handle, address)?;
            let (mut stream, _peer) = listener.accept().await?;
            stream.write_all(b"at last").await
        });
        let (mut stream, attempts) = connect_patiently(reactor, address).await?;
        let mut greeting = Vec::new();
        stream.read_to_end(&mut greeting).await?;
        assert_eq!(greeting, b"at last");
        server.await??;
        // 1 + 2 + 4 + 8 + 16 + 32 seconds, and then a minute each.
        assert_eq!(attempts, 21);
        assert!(sim.elapsed() < 16 * MINUTE, "{:?}", sim.elapsed());
        Ok(())
    });
    println!("50 simulations of a quarter of an hour each: every client was patient enough");
    Ok(())
}
