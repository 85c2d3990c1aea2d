//! Helpers of every test of the reactor.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tidewaiter::{Address, Listener, Metrics, Protocol, Reactor, Reason, RunEnd, Transport};

use crate::support::reasons::kind_of;

/// A test that takes longer than this has failed. Some move so many bytes that a busy machine needs a minute.
const LIMIT: Duration = Duration::from_secs(180);

/// A reactor on the port under test, without signal handling.
pub(crate) fn reactor() -> Reactor {
    crate::open(Reactor::builder().signals(false))
}

/// A loopback address with a port of the OS's choice.
pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An address at which nobody listens: no OS assigns this port.
///
/// A listener that was closed just now may still listen: on Unix, the children that other tests fork hold a copy of every
/// descriptor until their programs start.
pub(crate) fn deserted_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// Runs the reactor until the test stops it, and returns how it ended. Fails when that takes too long.
///
/// A thread keeps the time, because a delayed call would be due at once on a simulated clock.
#[track_caller]
pub(crate) fn run(reactor: &Reactor) -> RunEnd {
    let (over, is_over) = mpsc::channel::<()>();
    let remote = reactor.remote();
    let watch = thread::spawn(move || {
        let late = is_over.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
        if late {
            // An error means that the reactor has just stopped.
            let _ = remote.call(Reactor::crash);
        }
        late
    });
    let result = reactor.run();
    drop(over);
    let late = watch.join().expect("it only waits");
    assert!(!late, "the test takes too long: {:?}", reactor.metrics());
    result.expect("the reactor runs")
}

/// As [`run`], and then checks that nothing panicked and nothing is left.
#[track_caller]
pub(crate) fn run_clean(reactor: &Reactor) {
    run(reactor);
    let metrics = reactor.metrics();
    assert_eq!(metrics.panics, 0);
    assert_empty(&metrics);
}

/// Checks that nothing lives on the reactor, and no operation is under way.
#[track_caller]
pub(crate) fn assert_empty(metrics: &Metrics) {
    let left = (metrics.live, metrics.in_flight, metrics.late_completions);
    assert_eq!(left, (0, 0, 0), "live, in flight, late: {metrics:?}");
}

/// Calls `then` in the turn in which `ready` returns true.
pub(crate) fn wait_until(
    reactor: &Reactor,
    mut ready: impl FnMut(&Reactor) -> bool + 'static,
    then: impl FnOnce(&Reactor) + 'static,
) {
    reactor.call_later(Duration::from_millis(1), move |reactor| {
        if ready(reactor) {
            then(reactor);
        } else {
            wait_until(reactor, ready, then);
        }
    });
}

/// Events as text, in order. Clones share the same log.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, what: impl Into<String>) {
        self.0.borrow_mut().push(what.into());
    }

    pub(crate) fn has(&self, what: &str) -> bool {
        self.0.borrow().iter().any(|event| event == what)
    }

    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

/// Stops a reactor after this many events.
#[derive(Clone)]
pub(crate) struct Countdown(Rc<Cell<usize>>);

impl Countdown {
    pub(crate) fn new(count: usize) -> Countdown {
        Countdown(Rc::new(Cell::new(count)))
    }

    pub(crate) fn hit(&self, reactor: &Reactor) {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.expect("it happens no more often than expected"));
        if self.0.get() == 0 {
            reactor.stop();
        }
    }
}

/// Ignores all events.
pub(crate) struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

/// Sends back what it receives.
pub(crate) struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

type OnTransport = Box<dyn FnMut(&Transport)>;
type OnData = Box<dyn FnMut(&Transport, &[u8])>;
type OnLoss = Box<dyn FnMut(&Transport, Reason)>;

/// A protocol made of closures. An event without a closure is handled by the default.
#[derive(Default)]
pub(crate) struct Script {
    made: Option<OnTransport>,
    data: Option<OnData>,
    read_lost: Option<OnTransport>,
    write_lost: Option<OnTransport>,
    lost: Option<OnLoss>,
}

impl Script {
    pub(crate) fn new() -> Script {
        Script::default()
    }

    pub(crate) fn made(mut self, call: impl FnMut(&Transport) + 'static) -> Script {
        self.made = Some(Box::new(call));
        self
    }

    pub(crate) fn data(mut self, call: impl FnMut(&Transport, &[u8]) + 'static) -> Script {
        self.data = Some(Box::new(call));
        self
    }

    pub(crate) fn read_lost(mut self, call: impl FnMut(&Transport) + 'static) -> Script {
        self.read_lost = Some(Box::new(call));
        self
    }

    pub(crate) fn write_lost(mut self, call: impl FnMut(&Transport) + 'static) -> Script {
        self.write_lost = Some(Box::new(call));
        self
    }

    pub(crate) fn lost(mut self, call: impl FnMut(&Transport, Reason) + 'static) -> Script {
        self.lost = Some(Box::new(call));
        self
    }

    /// Counts down when the connection is lost in order.
    pub(crate) fn then_done(self, countdown: &Countdown) -> Script {
        let countdown = countdown.clone();
        self.lost(move |transport, reason| {
            assert!(reason.is_done(), "{reason}");
            countdown.hit(transport.reactor());
        })
    }

    /// Notes why the connection is lost, and counts down.
    pub(crate) fn then_noted(self, log: &Log, name: &str, countdown: &Countdown) -> Script {
        let (log, name, countdown) = (log.clone(), name.to_owned(), countdown.clone());
        self.lost(move |transport, reason| {
            log.add(format!("{name}: {}", kind_of(&reason)));
            countdown.hit(transport.reactor());
        })
    }
}

impl Protocol for Script {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(call) = &mut self.made {
            call(transport);
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if let Some(call) = &mut self.data {
            call(transport, data);
        }
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        match &mut self.read_lost {
            Some(call) => call(transport),
            None => transport.lose_connection(),
        }
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        if let Some(call) = &mut self.write_lost {
            call(transport);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        if let Some(call) = &mut self.lost {
            call(transport, reason);
        }
    }
}

/// Connects a client to a server, each with its protocol.
pub(crate) fn pair(
    reactor: &Reactor,
    client: impl Protocol + 'static,
    server: impl Protocol + 'static,
) -> Listener {
    let server = Cell::new(Some(server));
    let listener = reactor.listen_tcp(any_port(), move |_: Address| {
        server.take().expect("one connection only")
    });
    let listener = listener.expect("a port is free");
    let client = Cell::new(Some(client));
    reactor.connect_tcp(listener.local_addr(), move |_: Address| {
        client.take().expect("connected once")
    });
    listener
}

/// A path for a new file, which is removed with the value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A simulated file is not there.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A path that no other test uses, in a directory that exists on a simulated disk as well.
pub(crate) fn scratch(name: &str) -> Scratch {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = format!("tidewaiter-{process}-{number}-{name}");
    Scratch(std::env::temp_dir().join(name))
}

/// Bytes that differ from their neighbours, near and far.
pub(crate) fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(byte_at).collect()
}

/// Byte `n` of the pattern.
pub(crate) fn byte_at(n: usize) -> u8 {
    let bytes = n.to_le_bytes();
    bytes[0] ^ bytes[1].wrapping_mul(3) ^ bytes[2].wrapping_mul(7)
}

/// Checks bytes against the pattern, in order, without keeping them.
#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) received: Cell<usize>,
}

impl Checker {
    pub(crate) fn take(&self, data: &[u8]) {
        let begin = self.received.get();
        let in_order = (begin..).zip(data).all(|(n, &byte)| byte == byte_at(n));
        assert!(in_order, "in order, from byte {begin} on");
        self.received.set(begin + data.len());
    }
}

/// The default water mark.
pub(crate) const HIGH_WATER: usize = 64 << 10;

/// The default limit on the bytes of one receive.
pub(crate) const RECEIVE: usize = 68 << 10;
