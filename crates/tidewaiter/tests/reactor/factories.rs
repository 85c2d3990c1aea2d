//! Closures as factories: they refuse connections, and hear that connecting failed.

use tidewaiter::{ConnectError, ConnectOptions, Protocol};

use super::support::{
    Countdown, Echo, Log, Script, Silent, any_port, deserted_port, reactor, run_clean,
};

#[test]
fn a_closure_hears_that_connecting_failed() {
    let (reactor, log) = (reactor(), Log::default());
    let closed = deserted_port();
    let heard = log.clone();
    let connector = reactor
        .connect_tcp(closed, |_| Silent)
        .on_failure(|_, _| panic!("it is replaced"))
        .on_failure(move |reactor, error| {
            heard.add(error.to_string());
            reactor.stop();
        });
    run_clean(&reactor);
    assert_eq!(log.take(), [format!("{closed} refused the connection")]);
    let _ = connector.on_failure(|_, _| panic!("the outcome is known"));
}

/// Goal: what a closure does not want is closed, on both sides, and a client hears of it.
#[test]
fn a_closure_refuses_connections() {
    for refuse_client in [false, true] {
        let (reactor, log, done) = (reactor(), Log::default(), Countdown::new(1));
        let mut served = false;
        let serve = move |_| match std::mem::replace(&mut served, true) {
            false => Ok(Echo),
            true => Err("one is enough"),
        };
        let listener = reactor.listen_tcp(any_port(), serve);
        let address = listener.expect("a port is free").local_addr();
        let (first, again) = (log.clone(), address.clone());
        let (heard, ended) = (log.clone(), done.clone());
        // The first client is served. The second is refused by the server or by its own factory.
        let client = Script::new().made(move |transport| {
            let (heard, ended) = (heard.clone(), ended.clone());
            let (refused, over) = (heard.clone(), ended.clone());
            let options = ConnectOptions::from(again.clone());
            let second = Script::new().lost(move |transport, reason| {
                assert!(!transport.is_open());
                refused.add(format!("lost: {}", reason.is_done()));
                over.hit(transport.reactor());
            });
            let mut second = Some(second).filter(|_| !refuse_client);
            transport
                .reactor()
                .connect_tcp(options, move |_| second.take())
                .on_failure(move |reactor, error| {
                    assert!(matches!(error, ConnectError::Declined { .. }), "{error}");
                    assert!(error.io_error().is_none());
                    heard.add("declined");
                    ended.hit(reactor);
                });
            first.add("served");
        });
        let mut client = Some(Box::new(client) as Box<dyn Protocol>);
        reactor.connect_tcp(ConnectOptions::from(address), move |_| client.take());
        run_clean(&reactor);
        match refuse_client {
            false => assert_eq!(log.take(), ["served", "lost: true"]),
            true => assert_eq!(log.take(), ["served", "declined"]),
        }
    }
}
