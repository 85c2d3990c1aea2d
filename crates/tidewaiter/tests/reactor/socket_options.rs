//! Options of TCP sockets, from before they connect or listen on.

use std::io;
use std::time::Duration;

use tidewaiter::port::{ListenOptions, SocketOption};
use tidewaiter::{ConnectError, ConnectOptions, Error};

use super::support::{Countdown, Echo, Log, Script, Silent, any_port, reactor, run_clean};
use crate::support::number::no_delay_of;

/// Goal: both sides have their options from the beginning on, and the connection works.
#[test]
fn options_are_set_before_connecting_and_on_what_is_accepted() {
    let options = [
        SocketOption::NoDelay(true),
        SocketOption::KeepAlive(Some(Duration::from_secs(60))),
        SocketOption::ReceiveBuffer(1 << 16),
        SocketOption::SendBuffer(1 << 16),
        SocketOption::HopLimit(40),
    ];
    let (reactor, done) = (reactor(), Countdown::new(2));
    let mut listening = ListenOptions::new(any_port());
    listening.socket_options.extend(options.clone());
    listening.backlog = 4;
    let check = |transport: &tidewaiter::Transport| {
        if let Some(number) = transport.raw_descriptor() {
            assert_eq!(no_delay_of(number), Some(true), "{transport:?}");
        }
    };
    let server = Script::new()
        .made(check)
        .data(tidewaiter::Transport::write)
        .then_done(&done);
    let mut server = Some(server);
    let listener = reactor.listen_tcp(listening, move |_| server.take());
    let mut to = ConnectOptions::from(listener.expect("a port is free").local_addr());
    for option in options {
        to = to.socket_option(option);
    }
    let client = Script::new()
        .made(move |transport| {
            check(transport);
            let set = transport.set_option(SocketOption::NoDelay(false));
            set.expect("it is connected");
            transport.write(b"word");
        })
        .data(|transport, _| transport.lose_connection())
        .then_done(&done);
    let mut client = Some(client);
    reactor
        .connect_tcp(to, move |_| client.take())
        .on_failure(|_, error| panic!("{error}"));
    run_clean(&reactor);
}

/// Goal: an option that the OS refuses fails the call with an error that names it.
#[test]
fn an_option_that_is_refused_is_named() {
    if crate::SIMULATED {
        return; // A simulation takes all of them.
    }
    let (reactor, log) = (reactor(), Log::default());
    let device = SocketOption::Device("no such device".to_owned());
    let mut options = ListenOptions::new(any_port());
    options.socket_options.push(device.clone());
    let refused = reactor.listen_tcp(options, |_| Echo);
    let Err(Error::Listen { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        source.to_string().starts_with("Device(\"no such"),
        "{source}"
    );
    let unsupported = source.kind() == io::ErrorKind::Unsupported;
    assert_eq!(unsupported, !cfg!(target_os = "linux"), "{source}");
    let listener = reactor
        .listen_tcp(any_port(), |_| Echo)
        .expect("a port is free");
    let to = ConnectOptions::from(listener.local_addr()).socket_option(device);
    let heard = log.clone();
    reactor
        .connect_tcp(to, |_| Silent)
        .on_failure(move |reactor, error| {
            let ConnectError::Os { source, .. } = error else {
                panic!("{error}");
            };
            heard.add(source.to_string());
            reactor.stop();
        });
    run_clean(&reactor);
    assert_eq!(log.take(), [source.to_string()]);
}
