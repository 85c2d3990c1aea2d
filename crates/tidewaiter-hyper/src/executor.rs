//! Starts hyper's own tasks.

use std::future::Future;

use hyper::rt::Executor;
use tidewaiter::Reactor;

/// Starts the tasks of HTTP/2 connections, one for each request, on a reactor.
///
/// They belong to the reactor's thread as all of its tasks do, so neither services nor bodies need to be `Send`.
///
/// ```
/// use hyper::server::conn::http2;
/// use tidewaiter_hyper::ReactorExecutor;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let server = http2::Builder::new(ReactorExecutor::new(&reactor));
/// # drop(server);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReactorExecutor(Reactor);

impl ReactorExecutor {
    /// Starts tasks on this reactor.
    #[must_use]
    pub fn new(reactor: &Reactor) -> ReactorExecutor {
        ReactorExecutor(reactor.clone())
    }
}

impl<F> Executor<F> for ReactorExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        // The task goes on without its handle.
        drop(self.0.spawn(future));
    }
}
