//! Names, as futures look them up and connect to them.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tidewaiter::io::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tidewaiter::{Address, ConnectError, ConnectOptions, Reactor};

use super::io_support::{check, poll_times};
use super::support::any_port;

/// A reactor whose names are known.
fn reactor() -> Reactor {
    let resolver = |host: &str, port: u16| match host {
        "two.test" => Ok(vec![
            // Nobody listens at the first.
            SocketAddr::from(([127, 0, 0, 9], port)),
            SocketAddr::from(([127, 0, 0, 1], port)),
        ]),
        // They are of two families.
        "mixed.test" => Ok(vec![
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
            SocketAddr::from(([127, 0, 0, 1], port)),
        ]),
        "none.test" => Ok(Vec::new()),
        _ => Err(io::Error::new(ErrorKind::TimedOut, "no answer")),
    };
    crate::open(Reactor::builder().signals(false).resolver(resolver))
}

#[test]
fn names_are_looked_up_and_lookups_can_be_dropped() {
    let reactor = reactor();
    check(&reactor, async {
        let all = lookup_host(&reactor, "two.test:80").await.unwrap();
        let expected: [SocketAddr; 2] = [
            "127.0.0.9:80".parse().unwrap(),
            "127.0.0.1:80".parse().unwrap(),
        ];
        assert_eq!(all, expected);
        for (target, kind) in [
            ("none.test:80", ErrorKind::NotFound),
            ("silent.test:80", ErrorKind::TimedOut),
            ("no port", ErrorKind::InvalidInput),
            ("unix:/path", ErrorKind::InvalidInput),
        ] {
            let error = lookup_host(&reactor, target).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{target}: {error}");
            let name = target.trim_end_matches(":80");
            assert!(error.to_string().contains(name), "{target}: {error}");
        }
        let pair = lookup_host(&reactor, ("two.test", 80)).await.unwrap();
        assert_eq!(pair, expected);
        let known = lookup_host(&reactor, &expected[0]).await.unwrap();
        assert_eq!(known, expected[..1]);
        assert!(
            poll_times(1, lookup_host(&reactor, "two.test:80"))
                .await
                .is_none()
        );
    });
    let stopped = lookup_host(&reactor, "two.test:80");
    let mut stopped = std::pin::pin!(stopped);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(error) = stopped.as_mut().poll(&mut context) else {
        panic!("it waits for a reactor that has stopped");
    };
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionAborted);
}

#[test]
fn connecting_to_a_name_tries_its_addresses() {
    let reactor = reactor();
    check(&reactor, async {
        let mut listener = TcpListener::bind(&reactor, any_port()).unwrap();
        let port = listener.local_addr().socket_addr().unwrap().port();
        // Lookups take no simulated time: a time limit would be over first.
        let to = |host| ConnectOptions::new(host, port).timeout(None);
        let mut client = TcpStream::connect(&reactor, to("two.test")).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        let unknown = TcpStream::connect(&reactor, to("silent.test")).await;
        assert!(unknown.unwrap_err().to_string().contains("silent.test"));
    });
}

#[test]
fn a_datagram_is_sent_to_a_text_or_to_the_first_address_of_a_name_that_takes_it() {
    let reactor = reactor();
    check(&reactor, async {
        let server = UdpSocket::bind(&reactor, any_port()).unwrap();
        let client = UdpSocket::bind(&reactor, any_port()).unwrap();
        let address = server.local_addr().unwrap();
        let port = address.port().unwrap();
        client.send_to(b"1", &address).await.unwrap();
        let socket_address = address.socket_addr().unwrap();
        client.send_to(b"2", &socket_address).await.unwrap();
        client.send_to(b"3", address.to_string()).await.unwrap();
        client.send_to(b"4", ("mixed.test", port)).await.unwrap();
        for expected in [b"1", b"2", b"3", b"4"] {
            let datagram = server.recv_datagram().await.unwrap();
            assert_eq!(&*datagram, expected);
            assert_eq!(datagram.sender(), client.local_addr().as_ref().ok());
        }
        for (peer, kind) in [
            ("no port", ErrorKind::InvalidInput),
            ("none.test:9", ErrorKind::NotFound),
            ("silent.test:9", ErrorKind::TimedOut),
        ] {
            let error = client.send_to(b"x", peer).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{peer}: {error}");
            let name = peer.trim_end_matches(":9");
            assert!(error.to_string().contains(name), "{peer}: {error}");
        }
        // Dropped while the name is looked up, it sends nothing.
        let given_up = client.send_to(b"x", ("two.test", port));
        assert!(poll_times(1, given_up).await.is_none());
        client.send_to(b"last", address).await.unwrap();
        let datagram = server.recv_datagram().await.unwrap();
        assert_eq!(&*datagram, b"last");
    });
}

#[test]
fn a_local_address_may_be_a_text_or_a_name() {
    let reactor = reactor();
    check(&reactor, async {
        let mut listener = TcpListener::bind(&reactor, any_port()).unwrap();
        let address = listener.local_addr();
        // Lookups take no simulated time: a time limit would be over first.
        let to = || ConnectOptions::from(&address).timeout(None);
        for local in ["127.0.0.1:0", "mixed.test:0"] {
            let options = to().local_address(local);
            let client = TcpStream::connect(&reactor, options).await.unwrap();
            let (_, peer) = listener.accept().await.unwrap();
            let own = client.transport().local_addr().unwrap();
            assert_eq!(peer, own, "{local}");
            let ip = own.socket_addr().map(|address| address.ip());
            assert_eq!(ip, Some([127, 0, 0, 1].into()), "{local}");
        }
        let unknown = to().local_address("silent.test:0");
        let error = TcpStream::connect(&reactor, unknown).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Resolve { host, .. } if host == "silent.test"),
            "{error:?}"
        );
        let unreadable = to().local_address("no port");
        let error = TcpStream::connect(&reactor, unreadable).await.unwrap_err();
        assert!(matches!(error, ConnectError::Endpoint(_)), "{error:?}");
        let both = ConnectOptions::new("silent.test", 9).local_address("mixed.test:0");
        let both = TcpStream::connect(&reactor, both.timeout(None));
        assert!(poll_times(1, both).await.is_none(), "it is given up");
        let other: Address = "[::1]:0".parse().unwrap();
        let error = TcpStream::connect(&reactor, to().local_address(other)).await;
        assert!(matches!(error, Err(ConnectError::Resolve { .. })));
    });
}
