//! The limits on clients, in a simulated world: minutes pass in no time.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Once;
use std::time::Duration;

use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use tidewaiter::port::sim::programs::Flood;
use tidewaiter::port::sim::{Faults, Output, Sim};
use tidewaiter::{Protocol, Reactor, Reason, Transport};

use super::client::Client;
use super::delivery::STALL_LIMIT;

use super::server::Server;
use crate::confine::Confinement;
use crate::plan::{ClientsMax, ServePlan, Streams};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the lines that each thread logs.
struct Lines;

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = Line(record.args().to_string());
        record.key_values().visit(&mut line).expect("it takes all");
        LINES.with_borrow_mut(|lines| lines.push(line.0));
    }

    fn flush(&self) {}
}

struct Line(String);

impl VisitSource<'_> for Line {
    fn visit_pair(&mut self, key: Key<'_>, value: Value<'_>) -> Result<(), kv::Error> {
        write!(self.0, " {key}={value}").map_err(kv::Error::from)
    }
}

/// Starts to keep what this thread logs.
fn keep_lines() {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| {
        log::set_logger(&Lines).expect("tests have no other logger");
        log::set_max_level(LevelFilter::Info);
    });
    LINES.take();
}

/// The number of bytes that the socket and the child's pipe each hold.
const CAPACITY: usize = 8 << 10;

/// A client that takes one piece of output each time, and then rests; it takes nothing if there is no rest.
struct Slow {
    rest: Option<Duration>,
    /// Sent for each piece.
    ping: &'static [u8],
    seen: Rc<Seen>,
}

#[derive(Default)]
struct Seen {
    bytes: Cell<usize>,
    reason: RefCell<Option<Reason>>,
}

impl Slow {
    fn rest(&self, transport: &Transport) {
        transport.pause_producing();
        if let Some(rest) = self.rest {
            let client = transport.clone();
            let resume = move |_: &Reactor| client.resume_producing();
            transport.reactor().call_later(rest, resume);
        }
    }
}

impl Protocol for Slow {
    fn connection_made(&mut self, transport: &Transport) {
        self.rest(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.seen.bytes.set(self.seen.bytes.get() + data.len());
        transport.write(self.ping);
        self.rest(transport);
    }

    fn connection_lost(&mut self, _: &Transport, reason: Reason) {
        self.seen.reason.replace(Some(reason));
    }
}

/// How a client fared.
struct Fared {
    bytes: usize,
    reason: Option<Reason>,
    took: Duration,
    lines: Vec<String>,
}

/// Serves one client a command that writes this many bytes and exits.
fn serve(bytes: usize, rest: Option<Duration>, ping: &'static [u8]) -> Fared {
    keep_lines();
    let mut faults = Faults::default();
    faults.capacity = CAPACITY;
    let sim = Sim::builder(1)
        .faults(faults)
        .receive_bytes(1 << 10)
        .build();
    sim.program("flood", move || Flood::new(Output::Stdout, bytes));
    let reactor = Reactor::builder()
        .simulation(&sim)
        .build()
        .expect("a simulation");
    let server = Server::new(&reactor, plan());
    let serving = Rc::clone(&server);
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = reactor
        .listen_tcp(address, move |peer| Client::new(&serving, peer))
        .expect("the simulated port is free");
    let seen = Rc::<Seen>::default();
    let client = Cell::new(Some(Slow {
        rest,
        ping,
        seen: Rc::clone(&seen),
    }));
    reactor.connect_tcp(listener.local_addr(), move |_| {
        client.take().expect("connected once")
    });
    // If the session never ends, the test fails instead of simulating for ever.
    reactor.call_later(Duration::from_secs(24 * 3600), Reactor::stop);
    stop_when_over(&reactor, server, Rc::clone(&seen), rest.is_some());
    reactor.run().expect("it runs");
    Fared {
        bytes: seen.bytes.get(),
        reason: seen.reason.take(),
        took: sim.elapsed(),
        lines: LINES.take(),
    }
}

/// Stops the reactor once the server's session is over, and the client was told if it takes anything.
fn stop_when_over(reactor: &Reactor, server: Rc<Server>, client: Rc<Seen>, told: bool) {
    reactor.call_later(Duration::from_secs(1), move |reactor| {
        let waits = told && client.reason.borrow().is_none();
        if server.session_count() == 0 && !waits {
            reactor.stop();
        } else {
            stop_when_over(reactor, server, client, told);
        }
    });
}

fn plan() -> ServePlan {
    ServePlan {
        port: None,
        place: "127.0.0.1:0".parse().expect("an address"),
        socket_mode: None,
        command: vec!["flood".into()],
        confinement: Confinement::default(),
        clients_max: ClientsMax::Unlimited,
        idle_timeout: None,
        grace: Duration::from_secs(10),
        streams: Streams::Pipes,
        merge_stderr: false,
        no_delay: false,
        metrics: None,
    }
}

/// Amounts of output, which after the child's exit are in the socket; also in the server's queue; also in the child's pipe.
const AMOUNTS: [usize; 3] = [6 << 10, 60 << 10, 80 << 10];

/// Goal: a client that takes some bytes now and then gets all the output, however long that takes, even if it keeps
/// sending to a child that has exited.
#[test]
fn a_client_that_takes_bytes_slowly_gets_all_of_them() {
    // The client's port receives one piece ahead, so the socket is emptied after every other rest.
    let rest = (STALL_LIMIT / 2).saturating_sub(Duration::from_secs(1));
    let pings = [&b""[..], b"ping"];
    for (bytes, ping) in AMOUNTS
        .iter()
        .flat_map(|&bytes| pings.map(|ping| (bytes, ping)))
    {
        let fared = serve(bytes, Some(rest), ping);
        assert_eq!(fared.bytes, bytes, "{:?}", fared.lines);
        let in_order = fared.reason.as_ref().is_some_and(Reason::is_done);
        // A client that still sends after the server has closed sees a reset, having all the output.
        let told = in_order || !ping.is_empty();
        assert!(told, "{:?}", fared.reason);
        let took = fared.took;
        assert!(took > 2 * STALL_LIMIT, "{bytes} bytes: after {took:?}");
        let ended = fared.lines.last().expect("the end is logged");
        assert!(ended.contains("exit=exit code 0"), "{ended}");
        assert!(!fared.lines.iter().any(|line| line.contains("dropping")));
    }
}

/// Goal: a client that takes nothing is dropped after the limit, and the log says how much was not delivered.
#[test]
fn a_client_that_takes_nothing_is_dropped_after_the_limit() {
    for bytes in AMOUNTS {
        let fared = serve(bytes, None, b"");
        assert_eq!(fared.bytes, 0);
        let over = fared.took.checked_sub(STALL_LIMIT);
        let in_time = over.is_some_and(|over| over < STALL_LIMIT / 3);
        assert!(in_time, "{bytes} bytes: after {:?}", fared.took);
        let said = "the client does not read: dropping the rest peer=127.0.0.1";
        let said = fared.lines.iter().find(|line| line.starts_with(said));
        let said = said.expect("the log tells");
        let (_, lost) = said.rsplit_once(" bytes=").expect("it tells how much");
        let lost: usize = lost.parse().expect("a number");
        // What the server has not read from the child's pipe is not counted.
        let in_pipe = bytes.saturating_sub(lost);
        assert!(
            lost <= bytes && in_pipe <= CAPACITY,
            "{lost} of {bytes} bytes"
        );
    }
}
