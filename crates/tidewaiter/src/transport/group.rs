//! Groups of reactors, one per thread, that share listeners.

use std::fmt;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use super::Factory;
use super::adopter::{Adopter, Inlet};
use super::listener;
use super::stream::Protocol;
use crate::endpoint::ToEndpoint;
use crate::error::Error;
use crate::os::Address;
use crate::panics;
use crate::port::{ListenOptions, Token};
use crate::reactor::{Phase, Reactor, ReactorBuilder, Remote, RunEnd, SystemEvent};

/// Reactors on several threads, to use several cores. They start and stop together: when one of them stops (because
/// a callback stopped it, a signal arrived, or its port failed), all of them stop.
///
/// Dropping the group stops it and waits for its threads, each of which stops as [`Reactor::run`] describes.
///
/// ```
/// use tidewaiter::{Protocol, Reactor, ReactorGroup, Transport};
/// # use std::io::{Read, Write};
/// # use std::net::TcpStream;
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.pause_while_congested(); // reads no faster than the peer reads
///     }
///
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let group = ReactorGroup::start(4, &Reactor::builder())?;
/// let listener = group.listen("127.0.0.1:0", |_thread| |_peer| Echo)?;
/// println!("listening on {}", listener.local_addr());
/// # let mut client = TcpStream::connect(listener.local_addr())?;
/// # client.write_all(b"hello")?;
/// # let mut echo = [0; 5];
/// # client.read_exact(&mut echo)?;
/// # assert_eq!(&echo, b"hello");
/// # group.stop();
/// // Until Ctrl-C:
/// group.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ReactorGroup {
    remotes: Arc<[Remote]>,
    threads: Vec<JoinHandle<Result<RunEnd, Error>>>,
}

/// The most threads in a group: more than any machine has cores.
const THREADS_MAX: usize = 4096;

/// A thread that has started, and waits until all others have too.
struct Starting {
    /// Brings the reactor's remote twice: when the reactor is built, and when it runs.
    reports: Receiver<Remote>,
    go: Sender<Arc<[Remote]>>,
}

impl ReactorGroup {
    /// Starts this number of threads, each with a reactor that `builder` sets up; zero counts as 1. Returns when
    /// all of the reactors run.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] when the OS refuses a thread, and for more than 4096 threads; [`Error::Port`] when a reactor cannot be made or
    /// begin to run. Nothing is left running then.
    pub fn start(threads: usize, builder: &ReactorBuilder) -> Result<ReactorGroup, Error> {
        if threads > THREADS_MAX {
            let message = format!("{threads} threads are more than {THREADS_MAX}");
            return Err(Error::Thread(io::Error::new(
                ErrorKind::InvalidInput,
                message,
            )));
        }
        let mut group = ReactorGroup {
            remotes: Arc::new([]),
            threads: Vec::new(),
        };
        // Declared after the group: on an early return, its channels then close first, which tells the threads to
        // end, and dropping the group waits for them.
        let mut starting = Vec::new();
        for index in 0..threads.max(1) {
            let (report, reports) = mpsc::channel();
            let (go, gate) = mpsc::channel();
            let builder = builder.clone();
            let thread = thread::Builder::new()
                .name(format!("reactor {index}"))
                .spawn(move || run_one(builder, report, &gate))
                .map_err(Error::Thread)?;
            group.threads.push(thread);
            starting.push(Starting { reports, go });
        }
        if let Some(remotes) = gather(&starting) {
            group.remotes = remotes;
            for thread in &starting {
                // `gather` below notices a thread that has ended.
                let _ = thread.go.send(Arc::clone(&group.remotes));
            }
            if gather(&starting).is_some() {
                return Ok(group);
            }
        }
        drop(starting);
        group.stop();
        Err(group.join().err().unwrap_or(Error::Stopped))
    }

    /// A [`Remote`] for each reactor, in the order of the threads' numbers.
    #[must_use]
    pub fn remotes(&self) -> &[Remote] {
        &self.remotes
    }

    /// Listens for connections and spreads them over the threads. `make_factory` is called once on each
    /// thread, with the thread's number from 0 on, and returns the factory that makes the protocols there. The group
    /// calls only [`build_protocol`](Factory::build_protocol) on these factories.
    ///
    /// On Linux, where the kernel spreads TCP connections, each reactor has a socket of its own on the same address.
    /// Another process of the same user can then listen on that address too, without an error, if it also sets
    /// `SO_REUSEPORT`. On other systems, and for other addresses, this does the same as
    /// [`listen_handing_over`](ReactorGroup::listen_handing_over). Blocks until all reactors listen.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen`]; none of the reactors listens then. [`Error::Running`] when called on one of the
    /// group's own threads, because this call waits for them.
    ///
    /// # Panics
    ///
    /// When `make_factory` panics.
    pub fn listen<F: Factory + 'static>(
        &self,
        options: impl Into<ListenOptions>,
        make_factory: impl Fn(usize) -> F + Send + Sync + 'static,
    ) -> Result<GroupListener, Error> {
        let options = options.into();
        let adopters = self.make_adopters(make_factory)?;
        match self.share(&options, &adopters) {
            Err(Error::Listen { source, .. }) if source.kind() == ErrorKind::Unsupported => {
                log::debug!("{}: handing connections over: {source}", options.endpoint);
                self.hand_over(options, adopters)
            }
            result => result,
        }
    }

    /// Listens for connections on the first reactor, which passes them to all reactors in turn, itself
    /// included. Each reactor gets the same number of connections, at the cost of a wake-up for each connection.
    /// Otherwise as [`listen`](ReactorGroup::listen).
    ///
    /// # Errors
    ///
    /// As [`listen`](ReactorGroup::listen).
    ///
    /// # Panics
    ///
    /// When `make_factory` panics.
    pub fn listen_handing_over<F: Factory + 'static>(
        &self,
        options: impl Into<ListenOptions>,
        make_factory: impl Fn(usize) -> F + Send + Sync + 'static,
    ) -> Result<GroupListener, Error> {
        let adopters = self.make_adopters(make_factory)?;
        self.hand_over(options.into(), adopters)
    }

    fn make_adopters<F: Factory + 'static>(
        &self,
        make_factory: impl Fn(usize) -> F + Send + Sync + 'static,
    ) -> Result<Vec<Adopter>, Error> {
        let make_factory = Arc::new(make_factory);
        let make = |index| {
            let make_factory = Arc::clone(&make_factory);
            self.ask(index, move |reactor| reactor.adopter(make_factory(index)))
        };
        (0..self.remotes.len()).map(make).collect()
    }

    /// Opens a listening socket on each reactor, all on one address.
    fn share(&self, options: &ListenOptions, adopters: &[Adopter]) -> Result<GroupListener, Error> {
        let mut options = options.clone();
        options.reuse_port |= adopters.len() > 1;
        let mut listener: Option<GroupListener> = None;
        for (index, adopter) in adopters.iter().enumerate() {
            let (options_here, adopter) = (options.clone(), adopter.clone());
            let listening = self.ask(index, move |reactor| {
                let inlet = adopter.inlet(reactor).ok_or(Error::Stopped)?;
                let listener = reactor.listen(options_here, LocalFactory(inlet))?;
                Ok((listener.local_addr(), listener.token()))
            });
            match listening {
                Ok((address, token)) => {
                    // If the OS chose the port, the remaining sockets use the same one.
                    options.endpoint = address.clone().to_endpoint();
                    let part = (self.remotes[index].clone(), token);
                    match &mut listener {
                        Some(listener) => listener.parts.push(part),
                        None => {
                            let parts = vec![part];
                            listener = Some(GroupListener { address, parts });
                        }
                    }
                }
                Err(error) => {
                    if let Some(listener) = listener {
                        listener.stop_listening();
                    }
                    return Err(error);
                }
            }
        }
        Ok(listener.expect("a group has a reactor at least"))
    }

    /// Opens one listening socket on the first reactor, which gives the connections to the adopters in turn.
    fn hand_over(
        &self,
        options: ListenOptions,
        adopters: Vec<Adopter>,
    ) -> Result<GroupListener, Error> {
        let (address, token) = self.ask(0, move |reactor| {
            let mut next = 0;
            let listener = reactor.listen_handing_over(options, move |socket, peer| {
                if adopters[next].adopt_stream(socket, peer.clone()).is_err() {
                    log::debug!("connection from {peer}: the group is stopping");
                }
                next = (next + 1) % adopters.len();
            })?;
            Ok((listener.local_addr(), listener.token()))
        })?;
        Ok(GroupListener {
            address,
            parts: vec![(self.remotes[0].clone(), token)],
        })
    }

    /// Calls `question` on a reactor's thread and waits for the answer. Passes a panic of `question` on.
    fn ask<T: Send + 'static>(
        &self,
        index: usize,
        question: impl FnOnce(&Reactor) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let here = thread::current().id();
        if self.threads.iter().any(|it| it.thread().id() == here) {
            return Err(Error::Running);
        }
        let (answer, answers) = mpsc::channel();
        self.remotes[index].call(move |reactor| {
            let outcome = catch_unwind(AssertUnwindSafe(|| question(reactor)));
            // The receiver lives until the answer arrives: `recv` below waits for it.
            let _ = answer.send(outcome);
        })?;
        match answers.recv() {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            // The reactor stopped before it made the call.
            Err(_) => Err(Error::Stopped),
        }
    }

    /// Stops all reactors, as [`Reactor::stop`] does. Returns at once.
    pub fn stop(&self) {
        stop_all(&self.remotes);
    }

    /// Waits until all reactors have stopped: because a callback stopped one of them, because of a signal, or
    /// because of [`stop`](ReactorGroup::stop) or [`Remote::stop`] on another thread. The returned [`RunEnd`] says
    /// how they ended.
    ///
    /// # Errors
    ///
    /// The error of the first reactor, in the order of the threads' numbers, that failed; [`Error::Port`] in a
    /// copy of the process made by `fork`, because the threads exist only in the original.
    ///
    /// # Panics
    ///
    /// When a thread of the group panicked outside of any callback, for instance while a value that a callback
    /// owned was dropped.
    pub fn join(mut self) -> Result<RunEnd, Error> {
        self.check_process()?;
        let mut result = Ok(RunEnd::Stopped);
        let mut panicked = None;
        for ended in self.await_threads() {
            match ended {
                Ok(ended) => result = result.and_then(|before| Ok(weightier(before, ended?))),
                Err(panic) => {
                    if let Some(earlier) = panicked.replace(panic) {
                        panics::discard(earlier);
                    }
                }
            }
        }
        match panicked {
            Some(panic) => resume_unwind(panic),
            None => result,
        }
    }

    /// Returns an error in a copy, made by `fork`, of the process that the group belongs to.
    fn check_process(&self) -> Result<(), Error> {
        self.remotes.iter().try_for_each(Remote::check_process)
    }

    /// Waits for all threads but the current one, and returns how each ended.
    #[expect(
        clippy::disallowed_methods,
        reason = "in a forked copy, the threads behind the handles do not exist"
    )]
    fn await_threads(&mut self) -> Vec<thread::Result<Result<RunEnd, Error>>> {
        let here = thread::current().id();
        let threads = std::mem::take(&mut self.threads);
        if self.check_process().is_err() {
            std::mem::forget(threads);
            return Vec::new();
        }
        threads
            .into_iter()
            .filter(|it| it.thread().id() != here)
            .map(JoinHandle::join)
            .collect()
    }
}

impl Drop for ReactorGroup {
    fn drop(&mut self) {
        self.stop();
        for ended in self.await_threads() {
            match ended {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => log::error!("a reactor of the group failed: {error}"),
                Err(panic) => {
                    log::error!("a thread of the group panicked");
                    panics::discard(panic);
                }
            }
        }
    }
}

impl fmt::Debug for ReactorGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReactorGroup")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}

/// A listener of a [`ReactorGroup`]. Dropping this does not close it.
///
/// ```
/// use tidewaiter::io::Stream;
/// use tidewaiter::{Reactor, ReactorGroup};
///
/// let group = ReactorGroup::per_core(&Reactor::builder())?;
/// let listener = group.serve("127.0.0.1:0", |mut stream: Stream, _peer| async move {
///     stream.write_all(b"hello\n").await
/// })?;
/// println!("listening on {}", listener.local_addr());
/// listener.stop_listening();
/// group.stop();
/// group.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GroupListener {
    address: Address,
    /// The listening sockets, each as its reactor and the listener's token there.
    parts: Vec<(Remote, Token)>,
}

impl GroupListener {
    /// The address that the group listens on. If the options named port 0, it has the port that the OS chose.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.address.clone()
    }

    /// Tells every reactor of the group to stop listening, and returns at once. Accepted connections stay open.
    pub fn stop_listening(&self) {
        for (remote, token) in &self.parts {
            let token = *token;
            // An error means that the reactor has stopped, and listening with it.
            let _ = remote.call(move |reactor| {
                if let Some(listener) = reactor.find::<listener::Inner>(token) {
                    listener.close();
                }
            });
        }
    }
}

impl fmt::Debug for GroupListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupListener")
            .field("address", &self.address)
            .field("sockets", &self.parts.len())
            .finish()
    }
}

/// Lends an adopter's factory to a listener on the same reactor.
struct LocalFactory(Rc<Inlet>);

impl Factory for LocalFactory {
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        self.0.build_protocol(peer)
    }
}

/// Picks the end that stands for the group: a signal stops one reactor, and the others merely follow it.
fn weightier(one: RunEnd, other: RunEnd) -> RunEnd {
    match one {
        RunEnd::Signal(_) => one,
        _ => other,
    }
}

/// Waits for one report from each thread. Returns `None` if a thread ended instead.
fn gather(starting: &[Starting]) -> Option<Arc<[Remote]>> {
    let report = |thread: &Starting| thread.reports.recv().ok();
    starting.iter().map(report).collect()
}

/// Builds and runs the reactor of one thread.
fn run_one(
    builder: ReactorBuilder,
    report: Sender<Remote>,
    gate: &Receiver<Arc<[Remote]>>,
) -> Result<RunEnd, Error> {
    let reactor = builder.build().map_err(Error::Port)?;
    // `start` receives both reports unless another thread has failed, and then the reports do not matter.
    let _ = report.send(reactor.remote());
    let Ok(remotes) = gate.recv() else {
        return Ok(RunEnd::Stopped);
    };
    // Stop the other reactors when this one begins to stop...
    let others = Arc::clone(&remotes);
    reactor.add_trigger(Phase::Before, SystemEvent::Shutdown, move |_, _| {
        stop_all(&others);
    });
    // ...or when it fails or panics.
    let _end = GroupEnd(remotes);
    reactor.call_when_running(move |reactor| {
        let _ = report.send(reactor.remote());
    });
    reactor.run()
}

/// Stops the group when dropped.
struct GroupEnd(Arc<[Remote]>);

impl Drop for GroupEnd {
    fn drop(&mut self) {
        stop_all(&self.0);
    }
}

fn stop_all(remotes: &[Remote]) {
    for remote in remotes {
        // An error means that the reactor has stopped already.
        let _ = remote.stop();
    }
}
