//! Watches of sockets that the program owns: the promises of operations hold for them as well.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tidewaiter::port::{
    Completion, Failure, Interest, Operation, Outcome, Port, PortOptions, Readiness, RequestKind,
    Token,
};

use crate::support::harness::PATIENCE;
use crate::support::number::number;

const TOKEN: Token = Token(7);

fn port() -> Port {
    crate::open(&PortOptions::default())
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let client = TcpStream::connect(address).expect("it listens");
    (client, listener.accept().expect("a client connected").0)
}

/// The completions of one wait that delivers some.
fn delivered(port: &mut Port) -> Vec<Completion> {
    let (mut completions, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while completions.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "nothing came");
        port.wait(Some(left), &mut completions)
            .expect("it can wait");
    }
    completions
}

/// Asserts that the port has nothing to deliver for a while.
fn assert_silent(port: &mut Port) {
    let (mut completions, until) = (Vec::new(), Instant::now() + Duration::from_millis(50));
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        port.wait(Some(left), &mut completions)
            .expect("it can wait");
    }
    assert!(completions.is_empty(), "{completions:?}");
}

#[track_caller]
fn assert_last(completion: &Completion, operation: Operation) {
    assert_eq!(
        (completion.operation, completion.kind),
        (operation, RequestKind::Watch)
    );
    assert!(!completion.more);
    assert!(matches!(completion.result, Err(Failure::Cancelled)));
}

/// Goal: a cancelled watch ends with one completion, whether it had begun, was idle, or had just been reported; the
/// socket may be closed at once.
#[test]
fn a_cancelled_watch_completes_once() {
    let mut port = port();
    for (begun, ready) in [(false, false), (true, false), (true, true)] {
        let (ours, mut theirs) = connection();
        let operation = port.watch(number(&ours), Interest::READABLE, TOKEN);
        let operation = operation.expect("it is a socket");
        assert_eq!(port.in_flight(), 1);
        if ready {
            theirs.write_all(b"a").expect("it is connected");
            let reports = delivered(&mut port);
            assert!(matches!(reports[0].result, Ok(Outcome::Ready(_))));
        } else if begun {
            assert_silent(&mut port);
        }
        assert!(port.cancel(operation));
        drop(ours);
        let completions = delivered(&mut port);
        assert_eq!(completions.len(), 1, "{completions:?}");
        assert_last(&completions[0], operation);
        assert_silent(&mut port);
        assert!(!port.cancel(operation), "it has ended");
        assert_eq!((port.in_flight(), port.stale()), (0, 0));
    }
}

/// Goal: the interest changes whenever that is asked for, and a change back reports nothing in between.
#[test]
fn the_interest_changes_at_any_time() {
    let mut port = port();
    let (ours, mut theirs) = connection();
    let operation = port.watch(number(&ours), Interest::NONE, TOKEN);
    let operation = operation.expect("it is a socket");
    for _ in 0..3 {
        port.set_interest(operation, Interest::WRITABLE).unwrap();
        port.set_interest(operation, Interest::READABLE).unwrap();
    }
    assert_silent(&mut port);
    theirs.write_all(b"a").expect("it is connected");
    let both = Interest {
        readable: true,
        writable: true,
    };
    for interest in [
        Interest::READABLE,
        both,
        Interest::WRITABLE,
        Interest::READABLE,
    ] {
        port.set_interest(operation, interest).unwrap();
        let expected = Readiness {
            readable: interest.readable,
            writable: interest.writable,
            ..Readiness::default()
        };
        // A poll that was under way may tell less than what is so now.
        loop {
            let reports = delivered(&mut port);
            assert!(reports.iter().all(|report| report.more));
            match reports[0].result {
                Ok(Outcome::Ready(readiness)) if readiness == expected => break,
                Ok(Outcome::Ready(readiness)) => assert_eq!(readiness, readiness.only(interest)),
                ref other => panic!("{other:?}"),
            }
        }
    }
    port.set_interest(operation, Interest::NONE).unwrap();
    assert_silent(&mut port);
    port.cancel(operation);
    assert_last(&delivered(&mut port)[0], operation);
    let error = port.set_interest(operation, Interest::NONE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// Goal: dropping a port with watches in every state takes no time, and leaves the sockets to their owners.
#[test]
fn a_port_can_be_dropped_with_watches() {
    let mut port = port();
    let connections: Vec<_> = (0..crate::MANY.min(100)).map(|_| connection()).collect();
    for (index, (ours, theirs)) in connections.iter().enumerate() {
        let operation = port.watch(number(ours), Interest::READABLE, TOKEN);
        let operation = operation.expect("it is a socket");
        let mut theirs = theirs;
        match index % 3 {
            0 => theirs.write_all(b"a").expect("it is connected"),
            1 => assert!(port.cancel(operation)),
            _ => {}
        }
    }
    delivered(&mut port);
    let begun = Instant::now();
    drop(port);
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited");
    for (mut ours, mut theirs) in connections {
        ours.write_all(b"b").expect("it is open");
        theirs.write_all(b"b").expect("it is open");
    }
}
