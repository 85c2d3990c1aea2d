//! Addresses as programs have them: texts, hosts and ports, addresses of each kind.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewaiter::endpoint::{HostPort, ToEndpoint};
#[cfg(unix)]
use tidewaiter::io::{UnixListener, UnixStream};
use tidewaiter::port::{DatagramOptions, ListenOptions};
use tidewaiter::{ConnectError, ConnectOptions, Error, Reactor};

use super::datagrams::{
    Client, Echo as DatagramEcho, Silent as NoDatagrams, ip_of, with_datagrams,
};
#[cfg(unix)]
use super::io_support::check;
use super::support::{Countdown, Echo, Log, Script, Silent, any_port, reactor, run, run_clean};

/// A reactor on which `twice.test` has an address that is not ours and then one that is, `once.test` has one that is ours,
/// and no other name has any.
fn resolving() -> Reactor {
    let builder = Reactor::builder().signals(false);
    crate::open(builder.resolver(|host, port| match host {
        "twice.test" => Ok(vec![
            ([192, 0, 2, 1], port).into(),
            ([127, 0, 0, 1], port).into(),
        ]),
        "once.test" => Ok(vec![([127, 0, 0, 1], port).into()]),
        _ => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "there is no such name",
        )),
    }))
}

/// Connects to an echo at `to`, and stops the reactor.
fn check_echo(reactor: &Reactor, to: impl Into<ConnectOptions>) {
    let done = Countdown::new(1);
    let mut client = Some(
        Script::new()
            .made(|transport| transport.write(b"word"))
            .data(|transport, _| transport.lose_connection())
            .then_done(&done),
    );
    reactor
        .connect_tcp(to, move |_| client.take())
        .on_failure(|_, error| panic!("{error}"));
    run_clean(reactor);
}

#[test]
fn a_listener_and_a_client_take_texts_and_addresses() {
    let v4 = Ipv4Addr::LOCALHOST;
    let listened = [
        "127.0.0.1:0".to_endpoint(),
        "localhost:0".to_endpoint(),
        String::from("127.0.0.1:0").to_endpoint(),
        ("localhost", 0).to_endpoint(),
        ("127.0.0.1", 0).to_endpoint(),
        (v4, 0).to_endpoint(),
        (IpAddr::from(v4), 0).to_endpoint(),
        SocketAddr::from((v4, 0)).to_endpoint(),
    ];
    for endpoint in listened {
        let reactor = reactor();
        let listener = reactor.listen_tcp(endpoint.clone(), |_| Echo);
        let listener = listener.unwrap_or_else(|error| panic!("{endpoint}: {error}"));
        let address = listener.local_addr().socket_addr().expect("it is of TCP");
        assert!(
            address.ip().is_loopback() && address.port() != 0,
            "{address}"
        );
        match address {
            SocketAddr::V4(_) => check_echo(&reactor, ("127.0.0.1", address.port())),
            SocketAddr::V6(_) => check_echo(&reactor, address.to_string()),
        }
    }
}

/// Goal: a name's addresses are tried in their order, to listen and to connect.
#[test]
fn a_name_stands_for_the_first_address_that_works() {
    let reactor = resolving();
    let listener = reactor
        .listen_tcp("twice.test:0", |_| Echo)
        .expect("one is ours");
    let address = listener.local_addr().socket_addr().expect("it is of TCP");
    assert_eq!(address.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
    // A simulated clock would pass the time limit while another thread looks the name up.
    let to = ConnectOptions::to(("twice.test", address.port())).timeout(None);
    check_echo(&reactor, to);
    let late = reactor.listen_tcp("twice.test:0", |_| Echo);
    assert!(matches!(late, Err(Error::Stopped)), "{late:?}");
}

#[test]
fn an_endpoint_that_cannot_be_used_is_named_with_the_cause() {
    let reactor = resolving();
    for (text, kind, message) in [
        (
            "localhost",
            io::ErrorKind::InvalidInput,
            "invalid address \"localhost\": the port is missing, as in localhost:7000",
        ),
        (
            "nowhere.test:80",
            io::ErrorKind::NotFound,
            "cannot resolve \"nowhere.test\": there is no such name",
        ),
    ] {
        let error = reactor
            .listen_tcp(text, |_| Echo)
            .expect_err("it is no address");
        assert!(matches!(error, Error::Endpoint(_)), "{error:?}");
        assert_eq!(error.to_string(), message);
        assert_eq!(io::Error::from(error).kind(), kind);
        let options = ListenOptions::new(text);
        assert!(reactor.listen(options, |_| Echo).is_err());
    }
    let log = Log::default();
    for (at, text) in ["nowhere.test:80", "local host:80", "unix:/a"]
        .into_iter()
        .enumerate()
    {
        let heard = log.clone();
        let to = ConnectOptions::to(text).timeout(None);
        reactor
            .connect_tcp(to, |_| Silent)
            .on_failure(move |reactor, error| {
                let expected = match error {
                    ConnectError::Resolve { .. } => 0,
                    ConnectError::Endpoint(_) => 1,
                    other => panic!("{other}"),
                };
                assert_eq!(expected, at.min(1));
                heard.add(error.to_string());
                if at == 0 {
                    reactor.stop();
                }
            });
    }
    run(&reactor);
    let mut messages = log.take();
    messages.sort();
    let url = "invalid address \"unix:/a\": a host cannot contain '/'";
    let space = "invalid address \"local host:80\": a host cannot contain ' '";
    let name = "cannot resolve \"nowhere.test\": there is no such name";
    assert_eq!(messages, [name, space, url]);
}

/// Goal: calls for UNIX sockets read a text as a path, and those for any address by its prefix.
#[cfg(unix)]
#[test]
fn a_path_is_the_address_of_a_unix_socket() {
    let scratch = super::support::scratch("endpoint");
    let path = scratch.path();
    let path = path.to_str().expect("it is text");
    let (reactor, done) = (reactor(), Countdown::new(1));
    let listener = reactor
        .listen_unix(path, |_| Echo)
        .expect("the path is free");
    assert_eq!(listener.local_addr().to_string(), format!("unix:{path}"));
    let mut client = Some(
        Script::new()
            .made(tidewaiter::Transport::lose_connection)
            .then_done(&done),
    );
    reactor.connect(format!("unix:{path}"), move |_| client.take());
    run_clean(&reactor);
}

/// Goal: a call for any address takes a text that is plainly a path for one, as tokio's calls for UNIX sockets do.
#[cfg(unix)]
#[test]
fn a_text_that_begins_as_a_path_is_one() {
    let scratch = super::support::scratch("path");
    let path = scratch.path();
    let path = path.to_str().expect("it is text");
    let reactor = reactor();
    check(&reactor, async {
        let mut listener = UnixListener::bind(&reactor, path).expect("the path is free");
        assert_eq!(listener.local_addr().to_string(), format!("unix:{path}"));
        let mut client = UnixStream::connect(&reactor, path).await.expect("it is");
        client.write_all(b"x").await.expect("it is connected");
        let (mut server, _) = listener.accept().await.expect("a client");
        server.read_exact(&mut [0]).await.expect("it wrote");
        for nowhere in ["./is/not/there", "../is/not/there"] {
            let refused = UnixStream::connect(&reactor, nowhere).await;
            assert!(refused.unwrap_err().to_string().contains(nowhere));
        }
    });
}

#[test]
fn hosts_with_ports_are_displayed_as_they_are_read() {
    let host = HostPort {
        host: "::1".to_owned(),
        port: 80,
    };
    assert_eq!(host.to_endpoint().to_string(), "[::1]:80");
    assert_eq!("example.org:80".to_endpoint().to_string(), "example.org:80");
    assert!("example.org:80".to_endpoint().address().is_none());
}

/// Sends a datagram to an echo at `to`, and stops the reactor once it came back.
fn check_datagram_echo(reactor: &Reactor, to: impl ToEndpoint) {
    let client = Client::new(1);
    let transport = reactor.connect_udp(to, client.clone()).expect("it opens");
    transport.send(b"word");
    run_clean(reactor);
    let log = client.log.take();
    assert!(log.contains(&"received word".to_owned()), "{log:?}");
}

#[test]
fn texts_and_names_open_datagram_sockets() {
    if with_datagrams().is_none() {
        return;
    }
    for host in ["127.0.0.1", "once.test"] {
        let reactor = resolving();
        let server = reactor.listen_udp(format!("{host}:0"), DatagramEcho);
        let address = ip_of(&server.expect("it opens"));
        assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
        assert_ne!(address.port(), 0);
        check_datagram_echo(&reactor, ("once.test", address.port()));
    }
}

/// A reactor on which each name has the address that is set, and then one of this host.
fn resolving_to_two(first: &Arc<Mutex<SocketAddr>>) -> Reactor {
    let first = Arc::clone(first);
    let builder = Reactor::builder().signals(false);
    crate::open(builder.resolver(move |_, port| {
        let first = *first.lock().expect("no test panics here");
        Ok(vec![first, (Ipv4Addr::LOCALHOST, port).into()])
    }))
}

/// Goal: the first of a name's addresses counts that the OS allows. No peer is asked, since datagrams have no handshake.
#[test]
fn a_name_opens_a_datagram_socket_at_the_first_address_that_the_os_allows() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    drop(reactor);
    let first = Arc::new(Mutex::new(any_port()));
    let reactor = resolving_to_two(&first);
    let holder = reactor
        .listen_udp(any_port(), NoDatagrams)
        .expect("a port is free");
    let taken = ip_of(&holder);
    *first.lock().expect("no test panics here") = taken;
    let server = reactor
        .listen_udp("two.test:0", DatagramEcho)
        .expect("the second address is free");
    let address = ip_of(&server);
    assert_ne!(address, taken);
    let client = reactor
        .connect_udp(("two.test", address.port()), NoDatagrams)
        .expect("both can be peers");
    assert_eq!(client.peer_addr().expect("it is connected"), taken.into());

    *first.lock().expect("no test panics here") = (Ipv6Addr::LOCALHOST, address.port()).into();
    let options = DatagramOptions::connected(("two.test", address.port())).local(any_port());
    let client = Client::new(1);
    let transport = reactor.open_datagrams(options, client.clone());
    let transport = transport.expect("the second address is of the family of the local one");
    transport.send(b"word");
    run_clean(&reactor);
    let log = client.log.take();
    assert!(log.contains(&"received word".to_owned()), "{log:?}");
}

#[test]
fn texts_that_are_no_address_and_names_without_one_open_no_datagram_socket() {
    if with_datagrams().is_none() {
        return;
    }
    let reactor = resolving();
    let opened = |text: &str| {
        let listening = reactor.listen_udp(text, NoDatagrams).unwrap_err();
        let connecting = reactor.connect_udp(text, NoDatagrams).unwrap_err();
        assert_eq!(listening.to_string(), connecting.to_string());
        assert!(matches!(listening, Error::Endpoint(_)), "{listening:?}");
        listening.to_string()
    };
    assert!(opened("once.test").contains("the port is missing"));
    assert!(opened("never.test:5353").contains("never.test"));
    let path = Path::new("/run/no.socket");
    let refused = reactor.listen_udp(path, NoDatagrams).unwrap_err();
    assert!(matches!(refused, Error::Datagrams { .. }), "{refused:?}");
    reactor.call_later(Duration::ZERO, Reactor::stop);
    run(&reactor);
}
