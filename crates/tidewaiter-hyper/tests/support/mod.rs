//! Servers and clients for the tests, on every port of this system.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use tidewaiter::io::{Listener, Stream};
use tidewaiter::port::PortKind;
use tidewaiter::port::sim::Faults;
use tidewaiter::{Address, Reactor, simulate};
use tidewaiter_hyper::{Io, ReactorExecutor, ReactorTimer};

/// A test that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) type Answer = hyper::Result<Response<Pieces>>;

/// Runs a test on each port that this system has, and in simulations.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a closure is passed without an ampersand"
)]
pub(crate) fn on_each_port(test: impl AsyncFn(&Reactor)) {
    for kind in [PortKind::Uring, PortKind::Poll, PortKind::Iocp] {
        // An error means that this system does not have, or does not allow, this kind of port.
        if let Ok(reactor) = Reactor::builder().signals(false).port(kind).build() {
            run(&reactor, &test);
        }
    }
    simulate(0..2, &Faults::bumpy(), async |reactor, _sim| {
        test(reactor).await;
        Ok(())
    });
}

/// Runs a test, and then checks that nothing panicked and nothing is left.
pub(crate) fn run(reactor: &Reactor, test: &impl AsyncFn(&Reactor)) {
    let done = reactor.block_on(async { reactor.timeout(LIMIT, test(reactor)).await });
    done.expect("the port works").expect("it ends in time");
    assert_eq!(reactor.metrics().panics, 0);
    reactor.call_later(Duration::ZERO, Reactor::stop);
    reactor.run().expect("it stops");
    assert_eq!(reactor.metrics().live, 0);
}

/// A body: `piece`, so many times. It cannot be sent to other threads.
pub(crate) struct Pieces {
    piece: Bytes,
    left: usize,
    /// What the last piece that was taken leaves.
    taken: Rc<Cell<usize>>,
}

impl Pieces {
    pub(crate) fn new(piece: impl Into<Bytes>, count: usize) -> Pieces {
        Pieces {
            piece: piece.into(),
            left: count,
            taken: Rc::default(),
        }
    }

    pub(crate) fn one(piece: impl Into<Bytes>) -> Pieces {
        Pieces::new(piece, 1)
    }

    /// How many pieces were taken.
    pub(crate) fn taken(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.taken)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.left = left;
        self.taken.set(self.taken.get() + 1);
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

pub(crate) const BOTH: [Version; 2] = [Version::Http1, Version::Http2];

/// Ends connections in order, once.
#[derive(Clone, Default)]
pub(crate) struct Ending(Rc<(Cell<bool>, Cell<Option<Waker>>)>);

impl Ending {
    pub(crate) fn begin(&self) {
        self.0.0.set(true);
        if let Some(waker) = self.0.1.take() {
            waker.wake();
        }
    }

    fn poll(&self, context: &Context<'_>) -> bool {
        self.0.1.set(Some(context.waker().clone()));
        self.0.0.take()
    }
}

/// Serves one connection by `service`, until it ends or `ending` begins.
pub(crate) async fn serve_one<F>(
    stream: Stream,
    version: Version,
    service: impl Fn(Request<Incoming>) -> F + 'static,
    ending: Ending,
) -> hyper::Result<()>
where
    F: Future<Output = Answer> + 'static,
{
    let reactor = stream.transport().reactor().clone();
    let (io, service) = (Io::new(stream), service_fn(service));
    match version {
        Version::Http1 => {
            let mut server = http1::Builder::new();
            server.timer(ReactorTimer::new(&reactor));
            let mut connection = pin!(server.serve_connection(io, service));
            poll_fn(|context| {
                if ending.poll(context) {
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(context)
            })
            .await
        }
        Version::Http2 => {
            let mut server = http2::Builder::new(ReactorExecutor::new(&reactor));
            server.timer(ReactorTimer::new(&reactor));
            let mut connection = pin!(server.serve_connection(io, service));
            poll_fn(|context| {
                if ending.poll(context) {
                    connection.as_mut().graceful_shutdown();
                }
                connection.as_mut().poll(context)
            })
            .await
        }
    }
}

/// Listens, and serves each connection in a task.
pub(crate) fn serve<F>(
    reactor: &Reactor,
    version: Version,
    service: impl Fn(Request<Incoming>) -> F + Clone + 'static,
    ending: &Ending,
) -> Address
where
    F: Future<Output = Answer> + 'static,
{
    let (mut listener, address) = listen(reactor);
    let (handle, ending) = (reactor.clone(), ending.clone());
    reactor.spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            let service = service.clone();
            handle.spawn(serve_one(stream, version, service, ending.clone()));
        }
    });
    address
}

pub(crate) fn listen(reactor: &Reactor) -> (Listener, Address) {
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(reactor, any_port).expect("a port is free");
    let address = listener.local_addr();
    (listener, address)
}

/// A client of one connection.
pub(crate) enum Client {
    One(client1::SendRequest<Pieces>),
    Two(client2::SendRequest<Pieces>),
}

impl Client {
    pub(crate) async fn connect(reactor: &Reactor, address: Address, version: Version) -> Client {
        let stream = Stream::connect(reactor, address).await;
        let io = Io::new(stream.expect("it listens"));
        match version {
            Version::Http1 => {
                let (requests, connection) = client1::handshake(io).await.expect("it is open");
                reactor.spawn(connection);
                Client::One(requests)
            }
            Version::Http2 => {
                let executor = ReactorExecutor::new(reactor);
                let (requests, connection) =
                    client2::handshake(executor, io).await.expect("it is open");
                reactor.spawn(connection);
                Client::Two(requests)
            }
        }
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Client::One(requests) => requests.is_closed(),
            Client::Two(requests) => requests.is_closed(),
        }
    }

    pub(crate) async fn send(&mut self, body: Pieces) -> hyper::Result<Response<Incoming>> {
        let request = Request::post("http://localhost/")
            .header("host", "localhost")
            .body(body)
            .expect("it is correct");
        match self {
            Client::One(requests) => {
                requests.ready().await?;
                requests.send_request(request).await
            }
            Client::Two(requests) => {
                requests.ready().await?;
                requests.send_request(request).await
            }
        }
    }
}

/// Bytes that differ from their neighbours, near and far.
pub(crate) fn pattern(size: usize) -> Bytes {
    (0..size)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1].wrapping_mul(3))
        .collect()
}

/// Waits until `condition` holds, as long as the test may take.
pub(crate) async fn until(reactor: &Reactor, condition: impl Fn() -> bool) {
    while !condition() {
        reactor.sleep(Duration::from_millis(1)).await;
    }
}
