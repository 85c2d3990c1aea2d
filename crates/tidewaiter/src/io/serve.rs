//! Servers of tasks on every core.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::thread;

use super::shared::Inlet;
use super::stream::Stream;
use crate::error::Error;
use crate::os::Address;
use crate::port::ListenOptions;
use crate::reactor::ReactorBuilder;
use crate::transport::{Factory, GroupListener, Protocol, ReactorGroup};

impl ReactorGroup {
    /// [Starts](ReactorGroup::start) a reactor for each core that this process may use.
    ///
    /// # Errors
    ///
    /// As [`start`](ReactorGroup::start).
    pub fn per_core(builder: &ReactorBuilder) -> Result<ReactorGroup, Error> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        ReactorGroup::start(cores, builder)
    }

    /// Listens for connections as [`listen`](ReactorGroup::listen) does, and serves each in a task on one of the
    /// reactors: the future that `handler` returns.
    ///
    /// The handler is called on that reactor's thread. The future stays there and need not be `Send`; the stream's
    /// [`transport`](Stream::transport) leads to its [reactor](crate::Transport::reactor). An error that a future
    /// returns is logged at the level `debug`, with the peer's address: whether the client of one connection went away
    /// is seldom of interest.
    ///
    /// ```
    /// use tidewaiter::io::Stream;
    /// use tidewaiter::{Address, Reactor, ReactorGroup};
    ///
    /// async fn greet(mut stream: Stream, peer: Address) -> std::io::Result<()> {
    ///     stream.write_all(format!("hello, {peer}\n").as_bytes()).await
    /// }
    ///
    /// let group = ReactorGroup::per_core(&Reactor::builder())?;
    /// let listener = group.serve("127.0.0.1:0", greet)?;
    /// # let mut client = std::net::TcpStream::connect(listener.local_addr())?;
    /// # let greeting = std::io::read_to_string(&mut client)?;
    /// # assert_eq!(greeting, format!("hello, {}\n", client.local_addr()?));
    /// # group.stop();
    /// // Until Ctrl-C:
    /// group.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`listen`](ReactorGroup::listen).
    #[track_caller]
    pub fn serve<F, E>(
        &self,
        options: impl Into<ListenOptions>,
        handler: impl Fn(Stream, Address) -> F + Send + Sync + 'static,
    ) -> Result<GroupListener, Error>
    where
        F: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display + 'static,
    {
        let serving = Serving {
            handler: Arc::new(handler),
            called_at: Location::caller(),
        };
        self.listen(options, move |_thread| serving.clone())
    }
}

/// Starts a task for each connection.
struct Serving<H> {
    handler: Arc<H>,
    /// Where the program asked for it: reports of slow tasks name this place.
    called_at: &'static Location<'static>,
}

impl<H> Clone for Serving<H> {
    fn clone(&self) -> Serving<H> {
        Serving {
            handler: Arc::clone(&self.handler),
            called_at: self.called_at,
        }
    }
}

impl<H, F, E> Factory for Serving<H>
where
    H: Fn(Stream, Address) -> F + 'static,
    F: Future<Output = Result<(), E>> + 'static,
    E: fmt::Display + 'static,
{
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        let Serving { handler, called_at } = self.clone();
        Some(Box::new(Inlet::new(move |transport, shared| {
            let serving = handler(Stream::new(transport, shared), peer.clone());
            let task = async move {
                if let Err(error) = serving.await {
                    log::debug!("connection from {peer}: {error}");
                }
            };
            transport.reactor().spawn_at(task, called_at);
        })))
    }
}
