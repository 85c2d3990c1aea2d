//! What every test of the reactor needs.

use std::net::SocketAddr;
use std::time::Duration;

use tidewaiter::Reactor;

/// How long a test may take before it has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// A reactor on the port under test, that leaves signals alone.
pub(crate) fn reactor() -> Reactor {
    crate::open(Reactor::builder().signals(false))
}

/// A loopback address with a port of the OS's choice.
pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Runs the reactor until the test stops it; fails when that takes too long.
pub(crate) fn run(reactor: &Reactor) {
    let limit = reactor.call_later(LIMIT, |reactor| {
        eprintln!("the test takes too long: {:?}", reactor.metrics());
        reactor.crash();
    });
    reactor.run().expect("the reactor runs");
    assert!(limit.is_active() || limit.due().is_none() && !reactor.is_running());
}
