//! Helpers of the tests of I/O by futures.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tidewaiter::io::{Listener, Stream};
use tidewaiter::{Reactor, yield_now};

use super::support::{any_port, assert_empty, run};

/// Two connected streams.
pub(crate) async fn pair(reactor: &Reactor) -> (Stream, Stream) {
    let mut listener = Listener::bind(reactor, any_port()).unwrap();
    let connecting = reactor.spawn({
        let (reactor, address) = (reactor.clone(), listener.local_addr());
        async move { Stream::connect(&reactor, address).await.unwrap() }
    });
    let (accepted, _) = listener.accept().await.unwrap();
    (connecting.await.unwrap(), accepted)
}

/// Runs the future, stops the reactor, and checks that nothing is left.
pub(crate) fn check<T>(reactor: &Reactor, future: impl Future<Output = T>) -> T {
    let output = reactor.block_on(future).unwrap();
    reactor.call_later(Duration::ZERO, Reactor::stop);
    run(reactor);
    assert_eq!(reactor.metrics().panics, 0);
    assert_empty(&reactor.metrics());
    output
}

/// Polls a future once, and drops it.
pub(crate) async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    poll_times(1, future).await
}

/// Polls a future at once and then each time that it is woken, up to so many times, at least once, and then drops it.
pub(crate) async fn poll_times<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        left -= 1;
        match left {
            0 => Poll::Ready(None),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Waits for the next turn, and for a moment on every port's clock.
pub(crate) async fn breathe(reactor: &Reactor) {
    yield_now().await;
    reactor.sleep(Duration::from_micros(50)).await;
}
