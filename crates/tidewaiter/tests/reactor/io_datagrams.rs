//! Datagram sockets that futures use.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::Reactor;
use tidewaiter::io::UdpSocket;
use tidewaiter::port::DatagramOptions;

use super::io_support::{breathe, check, poll_times};
use super::support::{any_port, pattern, reactor, run};

/// Two sockets that are connected to each other.
fn pair(reactor: &Reactor, options: impl Fn(&mut DatagramOptions)) -> (UdpSocket, UdpSocket) {
    let open = || {
        let mut bound = DatagramOptions::bound(any_port());
        options(&mut bound);
        UdpSocket::bind(reactor, bound).unwrap()
    };
    let (one, other) = (open(), open());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

#[test]
fn datagrams_arrive_whole_or_are_cut_to_the_callers_buffer() {
    let reactor = reactor();
    check(&reactor, async {
        let server = UdpSocket::bind(&reactor, any_port()).unwrap();
        let client = UdpSocket::bind(&reactor, any_port()).unwrap();
        let (to, from) = (server.local_addr().unwrap(), client.local_addr().unwrap());
        client.send_to(b"first", &to).await.unwrap();
        let first = server.recv_datagram().await.unwrap();
        assert_eq!((&*first, first.sender()), (&b"first"[..], Some(&from)));

        let large = pattern(9000);
        client.send_to(&large, &to).await.unwrap();
        let second = server.recv_datagram().await.unwrap();
        assert!(*second == large);
        assert_eq!(&*first, b"first", "it is kept");

        client.send_to(b"too long", &to).await.unwrap();
        let mut buffer = [0; 3];
        let received = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!((received, &buffer), ((3, from.clone()), b"too"));

        server.connect(&from).unwrap();
        client.connect(&to).unwrap();
        server.send(b"").await.unwrap();
        assert_eq!(client.recv(&mut buffer).await.unwrap(), 0);
        let error = client.send(&vec![0; 70_000]).await;
        let error = match error {
            Err(error) => Some(error.kind()),
            // A port that sends by operations only says so later.
            Ok(()) => client.recv(&mut buffer).await.err().map(|e| e.kind()),
        };
        assert!(error.is_some(), "no datagram is so large");
        client.send(b"goes on").await.unwrap();
        assert_eq!(&*server.recv_datagram().await.unwrap(), b"goes on");
    });
}

#[test]
fn futures_that_are_dropped_lose_no_datagram() {
    const COUNT: usize = 300;
    for polls in 1..=3 {
        let reactor = reactor();
        check(&reactor, async {
            let (one, other) = pair(&reactor, |_| {});
            let sending = reactor.spawn({
                let reactor = reactor.clone();
                async move {
                    for number in 0..COUNT {
                        let bytes = number.to_le_bytes();
                        // A future that is not ready has sent nothing.
                        while poll_times(polls, one.send(&bytes)).await.is_none() {
                            breathe(&reactor).await;
                        }
                        // The other side keeps pace: the OS drops what it has no room for.
                        assert_eq!(one.recv(&mut [0; 8]).await.unwrap(), 0);
                    }
                }
            });
            let mut received = 0;
            let mut buffer = [0; 8];
            while received < COUNT {
                match poll_times(polls, other.recv(&mut buffer)).await {
                    Some(count) => {
                        assert_eq!(count.unwrap(), 8);
                        assert_eq!(buffer, received.to_le_bytes());
                        received += 1;
                        other.send(b"").await.unwrap();
                    }
                    None => breathe(&reactor).await,
                }
            }
            sending.await.unwrap();
            assert_eq!(other.dropped(), 0);
        });
    }
}

#[test]
fn a_queue_that_nobody_receives_from_is_bounded_and_counts_what_it_drops() {
    let reactor = reactor();
    check(&reactor, async {
        let (one, other) = pair(&reactor, |options| options.queued_datagrams = 4);
        for number in 0..50_u8 {
            one.send(&[number]).await.unwrap();
            // One at a time, so that none are joined.
            breathe(&reactor).await;
        }
        while other.dropped() == 0 {
            one.send(&[99]).await.unwrap();
            breathe(&reactor).await;
        }
        let mut buffer = [0; 1];
        for number in 0..4 {
            assert_eq!(other.recv(&mut buffer).await.unwrap(), 1);
            assert_eq!(buffer, [number], "the oldest stay");
        }
        one.send(&[100]).await.unwrap();
        while buffer != [100] {
            other.recv(&mut buffer).await.unwrap();
        }
    });
}

#[test]
fn a_sender_waits_while_the_queue_is_full_and_drops_nothing() {
    const COUNT: usize = 500;
    let reactor = reactor();
    check(&reactor, async {
        let small = |options: &mut DatagramOptions| options.queued_bytes = 4000;
        let (one, other) = pair(&reactor, small);
        let other = Rc::new(other);
        let receiver = Rc::clone(&other);
        let receiving = reactor.spawn(async move {
            let mut count = 0;
            while let Ok(datagram) = receiver.recv_datagram().await {
                assert_eq!(datagram.len(), 1500);
                count += 1;
            }
            count
        });
        for _ in 0..COUNT {
            one.send(&[1; 1500]).await.unwrap();
            assert!(one.transport().queued_bytes() <= 4000);
        }
        breathe(&reactor).await;
        receiving.abort();
    });
}

#[test]
fn several_tasks_receive_from_one_socket() {
    let reactor = reactor();
    check(&reactor, async {
        let (one, other) = pair(&reactor, |_| {});
        let other = Rc::new(other);
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let socket = Rc::clone(&other);
                reactor.spawn(async move { socket.recv_datagram().await.unwrap()[0] })
            })
            .collect();
        breathe(&reactor).await;
        for number in 0..5 {
            one.send(&[number]).await.unwrap();
        }
        let mut received = Vec::new();
        for task in tasks {
            received.push(task.await.unwrap());
        }
        received.sort_unstable();
        assert_eq!(received, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn receivers_end_with_the_reactor() {
    let reactor = reactor();
    let ended = Rc::new(Cell::new(None));
    let told = Rc::clone(&ended);
    let handle = reactor.clone();
    reactor.spawn(async move {
        let socket = UdpSocket::bind(&handle, any_port()).unwrap();
        let error = socket.recv_datagram().await.unwrap_err();
        told.set(Some(error.kind()));
        let error = socket.send_to(b"x", any_port()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
    reactor.call_later(Duration::from_millis(1), Reactor::stop);
    run(&reactor);
    assert_eq!(ended.get(), Some(ErrorKind::ConnectionAborted));
    assert_eq!(reactor.metrics().panics, 0);
}

#[test]
fn a_peer_that_is_not_there_is_an_error_of_a_connected_socket() {
    let reactor = reactor();
    check(&reactor, async {
        let (one, other) = pair(&reactor, |_| {});
        drop(other);
        breathe(&reactor).await;
        one.send(b"x").await.unwrap();
        let late = reactor.timeout(Duration::from_secs(2), one.recv_datagram());
        // Some systems and sandboxes tell nothing.
        if let Ok(told) = late.await {
            let kind = told.unwrap_err().kind();
            let refused = [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset];
            assert!(refused.contains(&kind), "{kind:?}");
        }
    });
}
