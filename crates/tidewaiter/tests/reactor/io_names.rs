//! Names, as futures look them up and connect to them.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tidewaiter::io::{TcpListener, TcpStream, lookup_host};
use tidewaiter::{ConnectOptions, Reactor};

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
        ] {
            let error = lookup_host(&reactor, target).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{target}: {error}");
        }
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
