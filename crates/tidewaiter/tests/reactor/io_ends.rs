//! Futures of I/O after their reactor's end, and their wakers.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use tidewaiter::io::{Listener, Stream, UdpSocket};
use tidewaiter::{Error, Reactor};

use super::io_support::{check, pair, poll_times};
use super::support::{any_port, reactor};

/// Polls a future that must be ready, because nothing will wake it.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it would wait for ever"),
    }
}

#[test]
fn after_the_reactors_end_futures_fail_instead_of_waiting() {
    // Dropped without having stopped: nothing tells its protocols.
    let reactor = reactor();
    let (mut client, mut server) = reactor.block_on(pair(&reactor)).unwrap();
    let mut listener = Listener::bind(&reactor, any_port()).unwrap();
    let socket = UdpSocket::bind(&reactor, any_port()).unwrap();
    let address = listener.local_addr();
    let handle = reactor.clone();
    reactor
        .block_on(async {
            server.write_all(b"before").await?;
            client.fill_buf().await.map(drop)
        })
        .unwrap()
        .unwrap();
    drop(reactor);
    let mut before = [0; 6];
    now(client.read_exact(&mut before)).unwrap();
    assert_eq!(&before, b"before", "what had arrived stays");
    let kinds = [
        now(client.read(&mut before)).unwrap_err().kind(),
        now(client.write_all(b"x")).unwrap_err().kind(),
        now(listener.accept()).unwrap_err().kind(),
        now(socket.recv_datagram()).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::ConnectionAborted; 4]);
    now(socket.send_to(b"x", &address)).unwrap_err();
    now(Stream::connect(&handle, address)).unwrap_err();
    drop((client, server, listener, socket));
}

#[test]
fn another_thread_wakes_a_task_that_then_reads_on() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        let (wakers, woken) = mpsc::channel::<Waker>();
        let thread = thread::spawn(move || woken.iter().for_each(Waker::wake));
        let reading = reactor.spawn(async move {
            let mut read = Vec::new();
            while read.len() < 100 {
                std::future::poll_fn(|context| {
                    wakers.send(context.waker().clone()).unwrap();
                    Poll::Ready(())
                })
                .await;
                // The thread wakes this task in vain, at any time.
                if let Some(bytes) = poll_times(2, server.read_chunk()).await {
                    read.extend_from_slice(&bytes.unwrap());
                }
            }
            read
        });
        for number in 0..100 {
            client.write_all(&[number]).await.unwrap();
            client.flush().await.unwrap();
        }
        let read = reading.await.unwrap();
        assert_eq!(read, (0..100).collect::<Vec<u8>>());
        thread.join().unwrap();
    });
}

#[test]
fn block_on_is_refused_where_a_stream_is_served() {
    let reactor = reactor();
    let handle = reactor.clone();
    let nested = reactor.block_on(async {
        let (mut client, mut server) = pair(&reactor).await;
        client.write_all(b"x").await.unwrap();
        server.fill_buf().await.unwrap();
        // The byte is there: but the loop would not go on.
        handle.block_on(async { server.read(&mut [0]).await })
    });
    assert!(matches!(nested, Ok(Err(Error::Running))), "{nested:?}");
    let (told, nested) = mpsc::channel();
    reactor.call_later(std::time::Duration::ZERO, move |reactor| {
        told.send(reactor.block_on(async {})).unwrap();
        Reactor::stop(reactor);
    });
    super::support::run(&reactor);
    let nested = nested.recv().unwrap();
    assert!(matches!(nested, Err(Error::Running)), "{nested:?}");
}
