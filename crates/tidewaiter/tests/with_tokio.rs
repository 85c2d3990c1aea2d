//! A reactor in a program of tokio's, and tokio in a program of the reactor's.

use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use tidewaiter::io::{Listener, Stream};
use tidewaiter::{Reactor, ReactorGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The reactor of a program in which tokio handles signals.
fn reactor() -> Reactor {
    Reactor::builder().signals(false).build().expect("a port")
}

/// A runtime of tokio whose only thread waits for its sockets and timers.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all();
    builder.build().expect("a thread starts")
}

/// Sends back what comes.
async fn echo(mut stream: Stream) -> std::io::Result<()> {
    let mut buffer = [0; 1000];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

#[tokio::test]
async fn a_program_of_tokio_starts_tasks_on_a_reactor_and_awaits_them() {
    let group = ReactorGroup::start(1, &Reactor::builder().signals(false)).unwrap();
    let remote = group.remotes()[0].clone();
    let (lines, mut received) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel::<()>();
    let address = remote.spawn(move |reactor| {
        let mut listener = Listener::bind(reactor, any_port()).unwrap();
        let address = listener.local_addr().socket_addr().unwrap();
        let handle = reactor.clone();
        reactor.spawn(async move {
            let (mut stream, _peer) = listener.accept().await.unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).await.unwrap() == 1 {
                // Waits while tokio's side is behind.
                lines.send((byte[0], handle.now())).await.unwrap();
            }
            stopped.await.unwrap();
            stream.write_all(b"bye").await.unwrap();
        });
        async move { address }
    });
    // Its own sockets talk to ours.
    let mut client = tokio::net::TcpStream::connect(address.await.unwrap())
        .await
        .unwrap();
    client.write_all(b"abc").await.unwrap();
    client.shutdown().await.unwrap();
    for expected in *b"abc" {
        let (byte, _) = received.recv().await.unwrap();
        assert_eq!(byte, expected);
    }
    stop.send(()).unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
    group.stop();
    tokio::task::spawn_blocking(|| group.join())
        .await
        .unwrap()
        .unwrap();
}

#[test]
fn timers_sockets_and_tasks_of_tokio_work_in_our_tasks() {
    let (reactor, runtime) = (reactor(), runtime());
    let _entered = runtime.enter();
    let owner = thread::current().id();
    let done = reactor.block_on(async {
        let mut ours = Listener::bind(&reactor, any_port()).unwrap();
        let address = ours.local_addr().socket_addr().unwrap();
        let not_send = Rc::new(5);
        reactor.spawn(async move {
            let (stream, _peer) = ours.accept().await?;
            assert_eq!(*not_send, 5);
            echo(stream).await
        });
        let mut theirs = tokio::net::TcpStream::connect(address).await.unwrap();
        theirs.write_all(b"across").await.unwrap();
        let mut back = [0; 6];
        theirs.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"across");
        tokio::time::sleep(ms(1)).await;
        let elsewhere = tokio::spawn(async { thread::current().id() });
        assert_ne!(elsewhere.await.unwrap(), owner);
        let late = tokio::time::timeout(ms(1), std::future::pending::<()>());
        assert!(late.await.is_err());
        assert_eq!(thread::current().id(), owner);
    });
    done.unwrap();
}

#[test]
fn select_waits_for_futures_of_both() {
    let (reactor, runtime) = (reactor(), runtime());
    let _entered = runtime.enter();
    let done = reactor.block_on(async {
        for ours_is_first in [true, false] {
            let (our_time, their_time) = match ours_is_first {
                true => (ms(1), Duration::from_secs(60)),
                false => (Duration::from_secs(60), ms(1)),
            };
            let ours = tokio::select! {
                () = reactor.sleep(our_time) => true,
                () = tokio::time::sleep(their_time) => false,
            };
            assert_eq!(ours, ours_is_first);
        }
    });
    done.unwrap();
}

#[test]
fn channels_between_our_tasks_need_no_runtime() {
    let reactor = reactor();
    let total = reactor.block_on(async {
        let (send, mut receive) = mpsc::channel::<u32>(2);
        for number in 1..=4 {
            let send = send.clone();
            reactor.spawn(async move {
                for _ in 0..10 {
                    send.send(number).await.unwrap();
                }
            });
        }
        drop(send);
        let mut total = 0;
        while let Some(number) = receive.recv().await {
            total += number;
        }
        total
    });
    assert_eq!(total.unwrap(), 100);
}

#[test]
fn our_streams_have_the_traits_of_tokio() {
    let reactor = reactor();
    let done = reactor.block_on(async {
        let mut listener = Listener::bind(&reactor, any_port()).unwrap();
        let mut client = Stream::connect(&reactor, listener.local_addr())
            .await
            .unwrap();
        let (server, _peer) = listener.accept().await.unwrap();
        reactor.spawn(echo(server));
        let sent = vec![7; 300_000];
        let (mut reads, mut writes) = tokio::io::split(&mut client);
        let (written, read) = tokio::join!(
            async {
                writes.write_all(&sent).await?;
                writes.shutdown().await
            },
            async {
                let mut all = Vec::new();
                reads.read_to_end(&mut all).await.map(|_| all)
            }
        );
        written.unwrap();
        assert!(read.unwrap() == sent);
    });
    done.unwrap();
}
