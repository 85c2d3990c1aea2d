//! What the library logs at the level `debug`, and its spans of `tracing`.
//!
//! The records are those of each test's own thread. In this test program, a subscriber of `tracing` is there as well: the
//! library's dependency on itself for tests turns the feature on.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Once;

use socket2::{Domain, Socket, Type};
use tidewaiter::io::{Listener, Stream};
use tidewaiter::port::Datagram;
use tidewaiter::process::Command;
use tidewaiter::{ConnectError, DatagramProtocol, DatagramTransport, ProcessProtocol, Reactor};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    /// The records of this thread, each with the spans in which it was made.
    static RECORDS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// All spans of this thread, by their ids, which begin at 1: name, fields and parent.
    static SPANS: RefCell<Vec<(String, Option<u64>)>> = const { RefCell::new(Vec::new()) };
    /// The spans that are entered.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The spans in which this thread is, from the outermost on.
fn path() -> String {
    let mut names = Vec::new();
    let mut next = ENTERED.with_borrow(|entered| entered.last().copied());
    while let Some(id) = next {
        SPANS.with_borrow(|spans| {
            let index = usize::try_from(id).unwrap() - 1;
            names.insert(0, spans[index].0.clone());
            next = spans[index].1;
        });
    }
    names.join(":")
}

struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("tidewaiter")
    }

    fn log(&self, record: &log::Record<'_>) {
        if log::Log::enabled(self, record.metadata()) {
            let text = format!("[{}] {}: {}", path(), record.level(), record.args());
            RECORDS.with_borrow_mut(|records| records.push(text));
        }
    }

    fn flush(&self) {}
}

/// Writes fields down.
struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        // Paths and ids differ from machine to machine.
        let value = match field.name() {
            "peer" => format!("{value:?}"),
            _ => "…".to_owned(),
        };
        self.0 += &format!("{{{}={value}}}", field.name());
    }
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tidewaiter")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        let parent = ENTERED.with_borrow(|entered| entered.last().copied());
        SPANS.with_borrow_mut(|spans| {
            spans.push((fields.0, parent));
            Id::from_u64(spans.len() as u64)
        })
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| assert_eq!(entered.pop(), Some(span.into_u64())));
    }
}

/// Keeps the records of this process from here on.
fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Keeper).expect("there is no other one");
        log::set_max_level(log::LevelFilter::Debug);
        tracing::subscriber::set_global_default(Keeper).expect("there is no other one");
    });
}

/// Returns the records since the last call that `tell` one of these words, with the numbers of `ports` replaced.
fn take(words: &[&str], ports: &[(u16, &str)]) -> Vec<String> {
    let told = |record: &String| words.iter().any(|word| record.contains(word));
    let name = |mut record: String| {
        for (port, name) in ports {
            record = record.replace(&port.to_string(), name);
        }
        record
    };
    let records = RECORDS.take().into_iter();
    records.filter(told).map(name).collect()
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn reactor() -> Reactor {
    Reactor::builder().signals(false).build().expect("a port")
}

#[test]
fn a_connection_tells_when_it_begins_and_why_it_ends_within_its_span() {
    keep();
    let reactor = reactor();
    let ports = reactor.block_on(async {
        let mut listener = Listener::bind(&reactor, any_port()).unwrap();
        let address = listener.local_addr().socket_addr().unwrap();
        let mut client = Stream::connect(&reactor, address).await.unwrap();
        let (server, peer) = listener.accept().await.unwrap();
        drop((server, listener));
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        drop(client);
        let peer = peer.socket_addr().unwrap();
        [(address.port(), "SERVER"), (peer.port(), "CLIENT")]
    });
    reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
    reactor.run().unwrap();
    let mut records = take(&["connected", "listening"], &ports.unwrap());
    assert_eq!(records.remove(0), "[] DEBUG: 127.0.0.1:SERVER: listening");
    records.sort_unstable();
    let of = |peer: &str, what: &str| {
        format!("[connection{{peer=127.0.0.1:{peer}}}] DEBUG: 127.0.0.1:{peer}: {what}")
    };
    assert_eq!(
        records,
        [
            "[] DEBUG: 127.0.0.1:SERVER: no longer listening".to_owned(),
            of("CLIENT", "connected"),
            of("CLIENT", "disconnected: closed in order"),
            of("SERVER", "connected"),
            of("SERVER", "disconnected: closed in order"),
        ]
    );
}

#[test]
fn a_connection_that_fails_tells_why() {
    keep();
    let reactor = reactor();
    // Nobody listens at an address that is only bound.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind(&any_port().into()).unwrap();
    let address = bound.local_addr().unwrap().as_socket().unwrap();
    let failed = reactor.block_on(async { Stream::connect(&reactor, address).await.map(drop) });
    assert!(
        matches!(failed, Ok(Err(ConnectError::Refused { .. }))),
        "{failed:?}"
    );
    let records = take(&["refused"], &[(address.port(), "PORT")]);
    assert_eq!(records, ["[] DEBUG: 127.0.0.1:PORT refused the connection"]);
}

#[test]
fn a_task_has_a_span_within_the_one_that_started_it() {
    keep();
    let reactor = reactor();
    let handle = reactor.clone();
    let inner = async move {
        handle
            .spawn(async { log::info!(target: "tidewaiter", "inside") })
            .await
    };
    let outer = reactor.spawn(async move {
        log::info!(target: "tidewaiter", "outside");
        inner.await.unwrap();
        log::info!(target: "tidewaiter", "outside again");
    });
    reactor.block_on(outer).unwrap().unwrap();
    assert_eq!(
        take(&["side"], &[]),
        [
            "[task{spawned_at=…}] INFO: outside",
            "[task{spawned_at=…}:task{spawned_at=…}] INFO: inside",
            "[task{spawned_at=…}] INFO: outside again",
        ]
    );
    assert_eq!(path(), "");
}

#[test]
fn a_child_tells_when_it_starts_and_how_it_ends_within_its_span() {
    struct Ends;

    impl ProcessProtocol for Ends {
        fn process_ended(
            &mut self,
            process: &tidewaiter::Process,
            _: tidewaiter::process::ExitStatus,
        ) {
            log::info!(target: "tidewaiter", "child: seen");
            process.reactor().stop();
        }
    }

    keep();
    let reactor = reactor();
    let (program, words) = match cfg!(windows) {
        true => ("cmd", ["/d", "/c", "exit 3"].as_slice()),
        false => ("sh", ["-c", "exit 3"].as_slice()),
    };
    let command = Command::new(program).args(words);
    let child = reactor.spawn_process(&command, Ends).unwrap();
    reactor.run().unwrap();
    let name = format!("child {} ({program:?})", child.pid());
    let records: Vec<_> = take(&["child"], &[])
        .iter()
        .map(|record| record.replace(&name, "NAME"))
        .collect();
    assert_eq!(
        records,
        [
            "[child{pid=…}{program=…}] DEBUG: NAME: started",
            "[child{pid=…}{program=…}] DEBUG: NAME: exit code 3",
            "[child{pid=…}{program=…}] INFO: child: seen",
        ]
    );
}

#[test]
fn a_datagram_socket_tells_when_it_opens_and_closes() {
    struct Silent;

    impl DatagramProtocol for Silent {
        fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}
    }

    keep();
    let reactor = reactor();
    let socket = reactor.listen_udp(any_port(), Silent).unwrap();
    let name = format!("{socket:?}");
    reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
    reactor.run().unwrap();
    assert_eq!(
        take(&[&name], &[]),
        [
            format!("[] DEBUG: {name}: open"),
            format!("[] DEBUG: {name}: the reactor stopped"),
        ]
    );
}
