//! How connections end: what the peer receives, and what the protocol is told.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tidewaiter::port::RawDescriptor;
use tidewaiter::{Address, Producer, ProducerKind, Protocol, Reactor, Reason, Transport};

use super::support::{Countdown, Log, Script, any_port, pair, pattern, reactor, run_clean};
use crate::support::reasons::kind_of;

/// More than a simulated connection buffers, and less than those of real systems do.
const ANSWER: usize = 200_000;

/// How long a peer sends before it begins to read.
const BUSY: Duration = Duration::from_millis(30);

/// Sends a few bytes now and then until it has received the whole answer and its end. Begins to read only after
/// a while.
fn busy_peer(countdown: &Countdown) -> Script {
    let ended = Rc::new(Cell::new(false));
    let (sending, whole) = (Rc::clone(&ended), Rc::clone(&ended));
    let received = Rc::new(RefCell::new(Vec::new()));
    let gathered = Rc::clone(&received);
    Script::new()
        .made(move |transport| {
            transport.pause_producing();
            send_now_and_then(transport.clone(), Rc::clone(&sending));
            let later = transport.clone();
            let resume = move |_: &Reactor| later.resume_producing();
            transport.reactor().call_later(BUSY, resume);
        })
        .data(move |_, data| gathered.borrow_mut().extend_from_slice(data))
        .read_lost(move |transport| {
            assert!(*received.borrow() == pattern(ANSWER), "all of the answer");
            whole.set(true);
            transport.lose_connection();
        })
        .then_done(countdown)
}

fn send_now_and_then(transport: Transport, ended: Rc<Cell<bool>>) {
    if ended.get() {
        return;
    }
    assert!(
        transport.is_open(),
        "it is not lost before the end has come"
    );
    transport.write(&[b'u'; 16 * 1024]);
    let reactor = transport.reactor().clone();
    let again = move |_: &Reactor| send_now_and_then(transport, ended);
    reactor.call_later(Duration::from_millis(1), again);
}

#[test]
fn a_peer_that_still_sends_receives_all_that_was_written() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let server = Script::new()
        .data(|transport, _| {
            transport.write(&pattern(ANSWER));
            transport.lose_connection();
        })
        .then_done(&countdown);
    pair(&reactor, busy_peer(&countdown), server);
    run_clean(&reactor);
}

#[test]
fn a_peer_that_still_sends_receives_all_that_was_taken_before_a_close() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let mut answered = false;
    let server = Script::new()
        .data(move |transport, _| {
            if !std::mem::replace(&mut answered, true) {
                transport.write(&pattern(ANSWER));
            } else if transport.queued() == 0 {
                transport.close_connection_now();
            }
        })
        .then_done(&countdown);
    pair(&reactor, busy_peer(&countdown), server);
    run_clean(&reactor);
}

/// Goal: a stop does not cut off the bytes written to such a peer either.
/// Method: the peer sends before and after the server is told of the end, and only then reads.
#[test]
fn a_peer_that_still_sends_receives_all_that_was_written_before_a_stop() {
    if crate::SIMULATED {
        // The peers are on the same reactor, and stop as well.
        return;
    }
    let reactor = reactor();
    let (over, is_over) = mpsc::channel();
    let listener = reactor.listen_tcp(any_port(), move |_: Address| {
        let over = over.clone();
        let mut answered = false;
        Script::new()
            .data(move |transport, _| {
                if !std::mem::replace(&mut answered, true) {
                    transport.write(&pattern(ANSWER));
                    transport.reactor().stop();
                }
            })
            .lost(move |_, reason| {
                assert_eq!(kind_of(&reason), "stopped");
                over.send(()).expect("the peer waits");
            })
    });
    let address = listener.unwrap().local_addr();
    let peer = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(&[b'u'; 64 * 1024]).expect("it reads");
        is_over.recv().expect("it says so");
        for _ in 0..4 {
            stream.write_all(&[b'u'; 64 * 1024]).expect("it reads on");
        }
        let mut received = Vec::new();
        let end = stream.read_to_end(&mut received);
        (received, end.map_err(|error| error.to_string()))
    });
    run_clean(&reactor);
    let (received, end) = peer.join().unwrap();
    assert!(
        received == pattern(ANSWER),
        "{} bytes, {end:?}",
        received.len()
    );
}

/// Goal: a peer that sends all of its bytes before it reads any does not get stuck when the other end closes.
#[test]
fn a_peer_that_sends_everything_before_it_reads_is_not_stuck() {
    let size = crate::MUCH / 8;
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    let client = Script::new()
        .made(move |transport| {
            transport.pause_producing();
            transport.write_bytes(vec![b'u'; size]);
            resume_when_sent(transport.clone());
        })
        .data(move |_, data| count.set(count.get() + data.len()))
        .then_done(&countdown);
    let server = Script::new()
        .data(move |transport, _| {
            transport.write(&vec![b'r'; size]);
            transport.lose_connection();
        })
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(received.get(), size);
}

fn resume_when_sent(transport: Transport) {
    let reactor = transport.reactor().clone();
    reactor.call_later(Duration::from_millis(5), move |_| {
        if transport.queued() == 0 {
            transport.resume_producing();
        } else {
            resume_when_sent(transport);
        }
    });
}

/// How a connection with many unsent bytes is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Closed,
    Aborted,
    ResetByPeer,
    Stopped,
    LostAndStopped,
}

/// Goal: each way of ending reports how many bytes were never sent, and its reason, which is the same on each
/// port.
/// Method: the reactor counts the bytes sent; the peer reads nothing, if it accepts at all.
#[test]
fn bytes_dropped_at_the_end_are_reported() {
    const SIZE: usize = 40_000_000;
    for (how, told) in [
        (How::Closed, "done"),
        (How::Aborted, "aborted"),
        (How::ResetByPeer, "reset"),
        (How::Stopped, "stopped"),
        (How::LostAndStopped, "stopped"),
    ] {
        let stops = matches!(how, How::Stopped | How::LostAndStopped);
        if stops && crate::SIMULATED {
            // The peer is on the same reactor, and does not receive after a stop.
            continue;
        }
        let (reactor, log) = (reactor(), Log::default());
        let ends = log.clone();
        let client = Script::new()
            .made(move |transport| {
                transport.write_bytes(vec![0; SIZE - 100_000]);
                transport.write(&[0; 100_000]);
                assert_eq!(transport.unsent(), 0);
                end_later(transport, how);
            })
            .lost(move |transport, reason| {
                assert_eq!((transport.queued(), transport.is_open()), (0, false));
                let sent = transport.reactor().metrics().bytes_sent;
                let sent = usize::try_from(sent).expect("memory holds it");
                assert!(transport.unsent() > 0);
                assert_eq!(transport.unsent() + sent, SIZE, "{how:?}");
                let unsent = transport.unsent();
                transport.write(b"nowhere");
                assert_eq!(transport.unsent(), unsent);
                ends.add(kind_of(&reason));
                transport.reactor().stop();
            });
        let backlog = TcpListener::bind(any_port());
        if stops {
            let client = Cell::new(Some(client));
            let address = backlog.as_ref().unwrap().local_addr().unwrap();
            reactor.connect_tcp(address, move |_| client.take().expect("connected once"));
        } else {
            pair(&reactor, client, deaf(how));
        }
        run_clean(&reactor);
        assert_eq!(log.take(), [told], "{how:?}");
    }
}

/// Reads nothing, and aborts if `how` says so.
fn deaf(how: How) -> Script {
    Script::new().made(move |transport| {
        transport.pause_producing();
        if how == How::ResetByPeer {
            end_later(transport, How::Aborted);
        }
    })
}

/// Ends the connection once the OS takes no more bytes.
fn end_later(transport: &Transport, how: How) {
    let later = transport.clone();
    let end = move |reactor: &Reactor| match how {
        How::Closed => later.close_connection_now(),
        How::Aborted => later.abort_connection(),
        How::ResetByPeer => {}
        How::Stopped => reactor.stop(),
        How::LostAndStopped => {
            later.lose_connection();
            reactor.stop();
        }
    };
    transport.reactor().call_later(BUSY, end);
}

/// Goal: a connection that was told to close before the reactor stops, and whose bytes are all sent in time,
/// ends in order; the stop ends the others.
#[test]
fn a_stop_does_not_change_how_a_connection_ends_that_was_closed_before() {
    for (loses, told) in [(true, "done"), (false, "stopped")] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
        let client = Script::new().made(|transport| transport.write(b"?"));
        let server = Script::new()
            .data(move |transport, _| {
                transport.write(&pattern(ANSWER));
                if loses {
                    transport.lose_connection();
                }
                transport.reactor().stop();
            })
            .then_noted(&log, "server", &countdown);
        pair(&reactor, client, server);
        run_clean(&reactor);
        assert_eq!(log.take(), [format!("server: {told}")]);
    }
}

/// Registers itself as a producer that never ends by itself. Handles the peer's end of file by the default.
struct Registers {
    log: Log,
    countdown: Countdown,
}

struct Endless(Log);

impl Producer for Endless {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {}

    fn stop_producing(&mut self) {
        self.0.add("stopped");
    }
}

impl Protocol for Registers {
    fn connection_made(&mut self, transport: &Transport) {
        transport.register_producer(Endless(self.log.clone()), ProducerKind::Push);
        transport.write(&pattern(ANSWER));
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {}

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        self.log.add(kind_of(&reason));
        self.countdown.hit(transport.reactor());
    }
}

#[test]
fn the_default_at_the_peers_end_ends_the_connection_whatever_is_registered() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    let client = Script::new()
        .made(Transport::lose_write_connection)
        .data(move |_, data| count.set(count.get() + data.len()))
        .then_done(&countdown);
    let server = Registers {
        log: log.clone(),
        countdown,
    };
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(log.take(), ["stopped", "done"]);
    assert_eq!(received.get(), ANSWER, "what was written is sent");
}

/// Goal: while a connection is told of its end, no other socket can have its number.
/// Method: the callback opens a socket.
#[test]
fn the_socket_is_not_closed_before_connection_lost() {
    if crate::SIMULATED {
        return;
    }
    for how in [How::Closed, How::Aborted, How::ResetByPeer, How::Stopped] {
        let reactor = reactor();
        let number = Rc::new(Cell::new(None));
        let noted = Rc::clone(&number);
        let told = Rc::new(Cell::new(false));
        let tells = Rc::clone(&told);
        let client = Script::new()
            .made(move |transport| {
                noted.set(transport.raw_descriptor());
                end_later(transport, how);
            })
            .lost(move |transport, _| {
                assert_eq!(transport.raw_descriptor(), None);
                let other = UdpSocket::bind(any_port()).expect("a free address");
                assert!(number.get().is_some());
                assert_ne!(Some(number_of(&other)), number.get(), "{how:?}");
                tells.set(true);
                transport.reactor().stop();
            });
        pair(&reactor, client, deaf(how));
        run_clean(&reactor);
        assert!(told.get(), "{how:?}");
    }
}

#[cfg(unix)]
fn number_of(socket: &UdpSocket) -> RawDescriptor {
    std::os::fd::AsRawFd::as_raw_fd(socket)
}

#[cfg(windows)]
fn number_of(socket: &UdpSocket) -> RawDescriptor {
    std::os::windows::io::AsRawSocket::as_raw_socket(socket)
}
