//! Producers that keep the pace of the other end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::{Producer, ProducerKind, Protocol, Reason, Transport};

use super::support::{
    Checker, Countdown, HIGH_WATER, Log, RECEIVE, Script, byte_at, pair, pattern, reactor,
    run_clean,
};
use crate::support::reasons::kind_of;

/// The number of bytes that a producer of these tests writes at a time.
const PIECE: usize = 10_000;

/// The calls that a producer received, and the bytes that it wrote.
#[derive(Default)]
struct Account {
    offered: Cell<usize>,
    queued_max: Cell<usize>,
    paused: Cell<usize>,
    resumed: Cell<usize>,
    stopped: Cell<usize>,
    is_paused: Cell<bool>,
}

/// Writes the pattern, up to a size: as a push producer until it is congested, as a pull producer one piece per
/// call.
struct Source {
    to: Transport,
    kind: ProducerKind,
    size: usize,
    account: Rc<Account>,
}

impl Source {
    fn produce(&self) {
        let account = &self.account;
        while account.offered.get() < self.size {
            let begin = account.offered.get();
            let end = self.size.min(begin + PIECE);
            let piece: Vec<u8> = (begin..end).map(byte_at).collect();
            self.to.write_bytes(piece);
            account.offered.set(end);
            let most = account.queued_max.get().max(self.to.queued());
            account.queued_max.set(most);
            if end < self.size && (self.kind == ProducerKind::Pull || self.to.is_congested()) {
                return;
            }
        }
        self.to.unregister_producer();
    }
}

impl Producer for Source {
    fn pause_producing(&mut self) {
        assert!(self.kind == ProducerKind::Push);
        self.account.paused.set(self.account.paused.get() + 1);
        self.account.is_paused.set(true);
    }

    fn resume_producing(&mut self) {
        self.account.resumed.set(self.account.resumed.get() + 1);
        self.account.is_paused.set(false);
        self.produce();
    }

    fn stop_producing(&mut self) {
        self.account.stopped.set(self.account.stopped.get() + 1);
    }
}

/// Goal: a peer that stops reading pauses the producer, and loses nothing when it reads on.
/// Method: the peer pauses at once, and reads on only when the producer has been paused.
fn offer(kind: ProducerKind, size: usize) -> Rc<Account> {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let account = Rc::new(Account::default());
    let of_client = Rc::clone(&account);
    let client = Script::new()
        .made(move |transport| {
            let source = Source {
                to: transport.clone(),
                kind,
                size,
                account: Rc::clone(&of_client),
            };
            if kind == ProducerKind::Push {
                source.produce();
            }
            transport.register_producer(source, kind);
            // The close must wait for the producer.
            transport.lose_connection();
        })
        .then_done(&countdown);
    let checker = Rc::new(Checker::default());
    let (check, pace) = (Rc::clone(&checker), Rc::clone(&account));
    let server = Script::new()
        .made(move |transport| {
            transport.pause_producing();
            resume_when_stuck(transport.clone(), Rc::clone(&pace), 0);
        })
        .data(move |_, data| check.take(data))
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(
        (checker.received.get(), account.offered.get()),
        (size, size)
    );
    account
}

/// Resumes once several checks in a row show that the producer was not asked for more.
fn resume_when_stuck(transport: Transport, account: Rc<Account>, before: usize) {
    let reactor = transport.reactor().clone();
    reactor.call_later(Duration::from_millis(20), move |_| {
        let now = account.offered.get();
        if now > 0 && now == before {
            transport.resume_producing();
        } else {
            resume_when_stuck(transport, account, now);
        }
    });
}

#[test]
fn a_peer_that_does_not_read_pauses_a_push_producer() {
    let account = offer(ProducerKind::Push, crate::MUCH);
    let bound = HIGH_WATER + PIECE;
    assert!(
        account.queued_max.get() <= bound,
        "{}",
        account.queued_max.get()
    );
    assert!(account.paused.get() > 0 && account.resumed.get() > 0);
    assert_eq!(account.stopped.get(), 0, "it had unregistered");
}

#[test]
fn a_pull_producer_is_asked_for_one_write_at_a_time() {
    let account = offer(ProducerKind::Pull, crate::MUCH / 8);
    assert!(
        account.queued_max.get() <= PIECE,
        "{}",
        account.queued_max.get()
    );
    assert_eq!(account.resumed.get(), (crate::MUCH / 8).div_ceil(PIECE));
    assert_eq!((account.paused.get(), account.stopped.get()), (0, 0));
}

#[test]
fn a_producer_registered_while_congested_is_paused_and_one_of_a_lost_connection_stopped() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let account = Rc::new(Account::default());
    let late = Rc::new(Account::default());
    let (of_client, of_late) = (Rc::clone(&account), Rc::clone(&late));
    let (at_loss, after_loss) = (Rc::clone(&account), countdown.clone());
    let client = Script::new()
        .made(move |transport| {
            transport.write_bytes(vec![0; 16 << 20]);
            assert!(transport.is_congested());
            let source = |account: &Rc<Account>| Source {
                to: transport.clone(),
                kind: ProducerKind::Push,
                size: 0,
                account: Rc::clone(account),
            };
            transport.register_producer(source(&of_client), ProducerKind::Push);
            assert_eq!(
                of_client.paused.get(),
                0,
                "nothing is called from inside a call"
            );
        })
        .lost(move |transport, reason| {
            assert_eq!(kind_of(&reason), "reset");
            assert_eq!((at_loss.paused.get(), at_loss.stopped.get()), (1, 1));
            let source = Source {
                to: transport.clone(),
                kind: ProducerKind::Push,
                size: 0,
                account: Rc::clone(&of_late),
            };
            transport.register_producer(source, ProducerKind::Push);
            after_loss.hit(transport.reactor());
        });
    let server = Script::new()
        .data(|transport, _| transport.abort_connection())
        .lost(move |transport, _| countdown.hit(transport.reactor()));
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(account.stopped.get(), 1);
    assert_eq!(late.stopped.get(), 1, "nothing is left to write to");
}

#[test]
fn water_marks_decide_when_a_producer_is_paused_and_resumed() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let client = Script::new()
        .made(|transport| {
            transport.set_water_marks(5, 10);
            transport.write(&[0; 10]);
            assert!(!transport.is_congested());
            transport.write(&[0; 1]);
            assert!(transport.is_congested());
            transport.lose_connection();
        })
        .then_done(&countdown);
    pair(&reactor, client, Script::new().then_done(&countdown));
    run_clean(&reactor);
}

#[test]
fn lower_water_marks_pause_a_producer_at_once() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let account = Rc::new(Account::default());
    let of_client = Rc::clone(&account);
    let client = Script::new()
        .made(move |transport| {
            let source = Source {
                to: transport.clone(),
                kind: ProducerKind::Push,
                size: 0,
                account: Rc::clone(&of_client),
            };
            transport.register_producer(source, ProducerKind::Push);
            transport.write(&[0; 20]);
            transport.set_water_marks(20, 20);
            assert!(!transport.is_congested());
            transport.set_water_marks(5, 10);
            assert!(transport.is_congested());
            transport.lose_connection();
        })
        .then_done(&countdown);
    pair(&reactor, client, Script::new().then_done(&countdown));
    run_clean(&reactor);
    assert_eq!(account.paused.get(), 1);
}

/// Goal: ending the sending side waits for a registered producer, as closing does.
#[test]
fn a_half_close_waits_for_the_producer_and_sends_what_it_writes() {
    let size = 10 * PIECE;
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let account = Rc::new(Account::default());
    let of_client = Rc::clone(&account);
    let client = Script::new()
        .made(move |transport| {
            let source = Source {
                to: transport.clone(),
                kind: ProducerKind::Pull,
                size,
                account: Rc::clone(&of_client),
            };
            transport.register_producer(source, ProducerKind::Pull);
            transport.lose_write_connection();
        })
        .then_done(&countdown);
    let checker = Rc::new(Checker::default());
    let check = Rc::clone(&checker);
    let server = Script::new()
        .data(move |_, data| check.take(data))
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(checker.received.get(), size);
}

/// Goal: while an end waits for a producer, another producer may replace it, and the end waits for that one.
#[test]
fn a_producer_that_holds_an_end_back_may_be_replaced() {
    let size = 10 * PIECE;
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let first = Rc::new(Account::default());
    let second = Rc::new(Account::default());
    let accounts = [Rc::clone(&first), Rc::clone(&second)];
    let client = Script::new()
        .made(move |transport| {
            for account in accounts.clone() {
                let source = Source {
                    to: transport.clone(),
                    kind: ProducerKind::Pull,
                    size,
                    account,
                };
                transport.register_producer(source, ProducerKind::Pull);
                transport.lose_connection();
            }
        })
        .then_done(&countdown);
    let checker = Rc::new(Checker::default());
    let check = Rc::clone(&checker);
    let server = Script::new()
        .data(move |_, data| check.take(data))
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(first.resumed.get(), 0);
    assert_eq!(second.stopped.get(), 0);
    assert_eq!(checker.received.get(), size);
}

/// A proxy between two connections: each sends the bytes that the other receives, at the pace of the slower.
struct Proxy {
    most: Rc<Cell<usize>>,
}

impl Proxy {
    /// Returns a protocol that sends what it receives to `to`.
    fn towards(&self, to: &Transport) -> Script {
        let (at_made, at_data, at_end) = (to.clone(), to.clone(), to.clone());
        let most = Rc::clone(&self.most);
        Script::new()
            .made(move |transport| {
                at_made.register_producer(transport.clone(), ProducerKind::Push);
            })
            .data(move |_, data| {
                at_data.write(data);
                most.set(most.get().max(at_data.queued()));
            })
            .read_lost(move |transport| {
                at_end.unregister_producer();
                at_end.lose_connection();
                transport.lose_connection();
            })
    }
}

/// Goal: a proxy holds no more than the water mark and one receive, however slow its far end.
#[test]
fn a_transport_is_the_producer_of_another_one() {
    let size = crate::MUCH / 8;
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let checker = Rc::new(Checker::default());
    let check = Rc::clone(&checker);
    let most = Rc::new(Cell::new(0));
    let proxy = Proxy {
        most: Rc::clone(&most),
    };
    let counted = countdown.clone();
    // The far end reads a little, and pauses a little.
    let slow = Script::new()
        .data(move |transport, data| {
            check.take(data);
            transport.pause_producing();
            let again = transport.clone();
            transport
                .reactor()
                .call_later(Duration::from_micros(100), move |_| {
                    again.resume_producing();
                });
        })
        .then_done(&countdown);
    let near = Script::new()
        .made(move |transport| {
            transport.write(&pattern(size));
            transport.lose_connection();
        })
        .then_done(&counted);
    let near = RefCell::new(Some(near));
    let middle = Script::new().made(move |transport| {
        let near = near.borrow_mut().take().expect("connected once");
        pair(transport.reactor(), near, proxy.towards(transport));
    });
    pair(&reactor, middle, slow);
    run_clean(&reactor);
    assert_eq!(checker.received.get(), size);
    assert!(
        most.get() <= HIGH_WATER + RECEIVE,
        "{} queued at most",
        most.get()
    );
}

/// Goal: when a transport that another one fills is lost, the other one goes on reading and sending, and ends
/// in order.
#[test]
fn a_transport_whose_consumer_is_lost_goes_on_reading_and_sending() {
    /// More than all buffers on the way hold.
    const SIZE: usize = 64 << 20;
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(3));
    let answered = log.clone();
    let near = Script::new()
        .made(move |transport| {
            transport.write_bytes(vec![0; SIZE]);
            transport.lose_write_connection();
        })
        .data(move |_, data| answered.add(String::from_utf8_lossy(data)))
        .then_noted(&log, "near", &countdown);
    let near = RefCell::new(Some(near));
    let front: Rc<RefCell<Option<Transport>>> = Rc::default();
    let (keep, answering) = (Rc::clone(&front), Rc::clone(&front));
    let (dropped, all) = (Rc::new(Cell::new(0)), Cell::new(0));
    let in_vain = Rc::clone(&dropped);
    let middle = Script::new()
        .made(move |consumer| {
            let (near, keep) = (near.borrow_mut().take().expect("once"), Rc::clone(&keep));
            let (filled, written) = (consumer.clone(), consumer.clone());
            let in_vain = Rc::clone(&in_vain);
            let all = all.clone();
            let producer = Script::new()
                .made(move |transport| {
                    filled.register_producer(transport.clone(), ProducerKind::Push);
                    keep.replace(Some(transport.clone()));
                })
                .data(move |_, data| {
                    all.set(all.get() + data.len());
                    if !written.is_open() {
                        in_vain.set(in_vain.get() + data.len());
                    }
                    written.write(data);
                });
            pair(consumer.reactor(), near, producer);
        })
        .lost({
            let (log, countdown) = (log.clone(), countdown.clone());
            move |transport, reason| {
                log.add(format!("middle: {}", kind_of(&reason)));
                let other = answering.take().expect("connected first");
                assert!(other.is_open(), "it is not ended by this");
                other.write(b"it no longer exists");
                countdown.hit(transport.reactor());
            }
        });
    // It reads nothing, and ends once the proxy is stuck.
    let far = Script::new()
        .made(|transport| {
            transport.pause_producing();
            abort_when_stuck(transport.clone(), 0);
        })
        .lost(move |transport, _| countdown.hit(transport.reactor()));
    pair(&reactor, middle, far);
    run_clean(&reactor);
    assert_eq!(
        log.take(),
        ["middle: reset", "it no longer exists", "near: done"]
    );
    assert!(dropped.get() > 0, "it read on");
}

/// Aborts once a check shows that nothing was received since the last one.
fn abort_when_stuck(transport: Transport, before: u64) {
    let reactor = transport.reactor().clone();
    reactor.call_later(Duration::from_millis(20), move |reactor| {
        let now = reactor.metrics().bytes_received;
        if now > 0 && now == before {
            transport.abort_connection();
        } else {
            abort_when_stuck(transport, now);
        }
    });
}

/// Writes until it is told to pause, and on when it is told to.
struct Heeding {
    left: usize,
    log: Log,
    done: Countdown,
}

impl Heeding {
    fn go_on(&mut self, transport: &Transport) {
        while self.left > 0 && !transport.is_congested() {
            let count = self.left.min(PIECE);
            transport.write_bytes(vec![b'x'; count]);
            self.left -= count;
        }
        if self.left == 0 {
            transport.lose_connection();
        }
    }
}

impl Protocol for Heeding {
    fn connection_made(&mut self, transport: &Transport) {
        self.go_on(transport);
    }
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    fn write_paused(&mut self, transport: &Transport) {
        assert!(transport.is_congested() && transport.queued() > HIGH_WATER);
        self.log.add("paused");
    }
    fn write_resumed(&mut self, transport: &Transport) {
        assert!(!transport.is_congested());
        self.log.add("resumed");
        self.go_on(transport);
    }
    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        assert!(reason.is_done(), "{reason}");
        self.done.hit(transport.reactor());
    }
}

#[test]
fn a_protocol_is_told_to_pause_and_to_write_on_in_turns() {
    let (reactor, log) = (reactor(), Log::default());
    let received = Rc::new(Cell::new(0));
    let (done, counted) = (Countdown::new(2), Rc::clone(&received));
    let server = Script::new()
        .data(move |_, data| counted.set(counted.get() + data.len()))
        .then_done(&done);
    let heeding = Heeding {
        left: 4 << 20,
        log: log.clone(),
        done,
    };
    // Boxed: a box of a protocol is one, with all its methods.
    let boxed: Box<dyn Protocol> = Box::new(heeding);
    let _listener = pair(&reactor, boxed, server);
    run_clean(&reactor);
    assert_eq!(received.get(), 4 << 20);
    let events = log.take();
    assert!(events.len() > 3, "{events:?}");
    let expected = ["paused", "resumed"].iter().cycle();
    assert!(
        events
            .iter()
            .zip(expected)
            .all(|(event, name)| event == name),
        "{events:?}"
    );
}
