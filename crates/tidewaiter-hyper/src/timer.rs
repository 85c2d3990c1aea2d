//! hyper's timeouts by the reactor's clock.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use send_wrapper::SendWrapper;
use tidewaiter::Reactor;

/// Measures hyper's timeouts by a reactor's clock, which is virtual time on the simulated port.
///
/// hyper wants timers to be `Send`, and this one belongs to the reactor's thread, as the connections do that use it.
/// Using it on another thread panics; dropping it there does too.
///
/// ```
/// use std::time::Duration;
/// use hyper::server::conn::http1;
/// use tidewaiter_hyper::ReactorTimer;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let mut server = http1::Builder::new();
/// server
///     .timer(ReactorTimer::new(&reactor))
///     .header_read_timeout(Duration::from_secs(10));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ReactorTimer(SendWrapper<Reactor>);

impl ReactorTimer {
    /// Measures time by this reactor's clock.
    #[must_use]
    pub fn new(reactor: &Reactor) -> ReactorTimer {
        ReactorTimer(SendWrapper::new(reactor.clone()))
    }
}

impl Timer for ReactorTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Sleeping(SendWrapper::new(self.0.sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

impl fmt::Debug for ReactorTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReactorTimer")
    }
}

struct Sleeping(SendWrapper<tidewaiter::Sleep>);

impl Future for Sleeping {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut *self.0).poll(context)
    }
}

impl Sleep for Sleeping {}
