//! One message to many connections.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidewaiter::bytes::Bytes;
use tidewaiter::frames::{Encoder, FrameProtocol, FramedRead, Frames, LengthPrefixed, Line, Lines};
use tidewaiter::io::Stream;
use tidewaiter::{
    Broadcast, JoinHandle, Member, Protocol, Reactor, SlowMembers, Transport, yield_now,
};

use super::io_streams::{check, pair as streams, poll_once};
use super::support::{Countdown, Log, Script, any_port, reactor, run_clean};

const MESSAGE: usize = 16 << 10;
const LIMIT: usize = 128 << 10;

fn codec() -> LengthPrefixed {
    LengthPrefixed::big_endian(4).limit(MESSAGE)
}

/// The message of this number.
fn message(number: u32) -> Bytes {
    let mut message = vec![0; MESSAGE];
    message[..4].copy_from_slice(&number.to_be_bytes());
    codec().frame(message).expect("it is short enough")
}

/// The numbers of the messages that arrive at a client, until the end.
fn reads(reactor: &Reactor, client: Stream) -> JoinHandle<Vec<u32>> {
    reactor.spawn(async move {
        let (mut frames, mut numbers) = (FramedRead::new(client, codec()), Vec::new());
        // A connection that was aborted ends with an error.
        while let Some(Ok(frame)) = frames.next().await {
            let number = frame[..4].try_into().expect("it has a number");
            numbers.push(u32::from_be_bytes(number));
        }
        numbers
    })
}

/// A member with the other end of its connection.
struct Connected {
    member: Member,
    _server: Stream,
    client: Stream,
}

async fn connected(reactor: &Reactor, all: &Broadcast) -> Connected {
    let (client, server) = streams(reactor).await;
    Connected {
        member: all.add(server.transport()),
        _server: server,
        client,
    }
}

/// Sends messages, no faster than a member takes them, `until` tells enough. Returns their number.
async fn publish(all: &Broadcast, fast: &Transport, until: impl Fn() -> bool) -> u32 {
    for number in 0..100_000 {
        if until() {
            return number;
        }
        all.send(message(number));
        yield_now().await;
        while fast.queued() > 0 && !until() {
            yield_now().await;
        }
    }
    panic!("the system takes any amount");
}

#[test]
fn a_slow_member_misses_the_newest_messages() {
    let reactor = reactor();
    check(&reactor, async {
        let all = Broadcast::new(SlowMembers::MissMessages).limit(LIMIT);
        let fast = connected(&reactor, &all).await;
        let slow = connected(&reactor, &all).await;
        let all_read = reads(&reactor, fast.client);
        let count = publish(&all, fast.member.transport(), || slow.member.dropped() >= 5).await;
        let dropped = slow.member.dropped();
        assert!(slow.member.transport().queued() <= LIMIT);
        assert_eq!(fast.member.dropped(), 0);
        let counters = all.counters();
        assert_eq!((counters.members, counters.messages), (2, count.into()));
        assert_eq!((counters.dropped, counters.disconnected), (dropped, 0));
        drop((fast.member, fast._server, slow.member, slow._server));
        let numbers = all_read.await.unwrap();
        assert!(numbers.iter().copied().eq(0..count), "all, in order");
        let numbers = reads(&reactor, slow.client).await.unwrap();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert_eq!(numbers.len() as u64, u64::from(count) - dropped);
        assert_eq!(all.counters().members, 0);
    });
}

#[test]
fn a_slow_member_is_disconnected() {
    let reactor = reactor();
    check(&reactor, async {
        let all = Broadcast::new(SlowMembers::Disconnect).limit(LIMIT);
        let fast = connected(&reactor, &all).await;
        let slow = connected(&reactor, &all).await;
        let all_read = reads(&reactor, fast.client);
        let count = publish(&all, fast.member.transport(), || {
            all.counters().disconnected > 0
        })
        .await;
        let counters = all.counters();
        assert_eq!((counters.members, counters.dropped), (1, 0));
        assert!(!slow.member.transport().is_open());
        drop((fast.member, fast._server));
        assert!(all_read.await.unwrap().into_iter().eq(0..count));
        assert!(reads(&reactor, slow.client).await.unwrap().len() < count as usize);
    });
}

#[test]
fn a_sender_waits_for_a_slow_member() {
    const COUNT: u32 = 1000;
    let reactor = reactor();
    check(&reactor, async {
        let all = Broadcast::new(SlowMembers::Wait).limit(LIMIT);
        let fast = connected(&reactor, &all).await;
        let slow = connected(&reactor, &all).await;
        let all_read = reads(&reactor, fast.client);
        let sending = reactor.spawn({
            let (all, transport) = (all.clone(), slow.member.transport().clone());
            async move {
                for number in 0..COUNT {
                    all.ready().await;
                    all.send(message(number));
                    assert!(transport.queued() <= LIMIT + message(0).len());
                }
            }
        });
        while all.counters().waits == 0 {
            yield_now().await;
        }
        let slow_read = reads(&reactor, slow.client);
        sending.await.unwrap();
        drop((fast.member, fast._server, slow.member, slow._server));
        for read in [all_read, slow_read] {
            assert!(read.await.unwrap().into_iter().eq(0..COUNT));
        }
        assert_eq!(all.counters().messages, COUNT.into());
    });
}

/// Sends until one member, which does not read, is waited for, and the system takes no more.
async fn stuck(reactor: &Reactor, all: &Broadcast) -> Connected {
    let slow = connected(reactor, all).await;
    let transport = slow.member.transport();
    let mut queued = 0;
    while !transport.is_congested() || queued != transport.queued() {
        while !transport.is_congested() {
            all.send(message(0));
            yield_now().await;
        }
        queued = transport.queued();
        reactor.sleep(Duration::from_millis(10)).await;
    }
    assert!(poll_once(all.ready()).await.is_none());
    slow
}

#[test]
fn no_sender_waits_for_a_member_that_is_gone() {
    let reactor = reactor();
    check(&reactor, async {
        let all = Broadcast::new(SlowMembers::Wait).limit(LIMIT);
        for way in 0..4 {
            let slow = stuck(&reactor, &all).await;
            let waiting = [(); 2].map(|()| {
                let all = all.clone();
                reactor.spawn(async move { all.ready().await })
            });
            yield_now().await;
            assert!(!waiting[0].is_finished());
            let transport = slow.member.transport().clone();
            match way {
                0 => drop(slow.member),
                1 => transport.abort_connection(),
                2 => drop(slow.client),
                _ => assert_eq!(all.disconnect_slow(), 1),
            }
            for waiting in waiting {
                waiting.await.unwrap();
            }
            transport.abort_connection();
        }
        assert_eq!(all.counters().disconnected, 1);
        assert_eq!(all.disconnect_slow(), 0);
    });
}

#[test]
fn within_a_turn_no_more_than_the_limit_is_queued() {
    let reactor = reactor();
    check(&reactor, async {
        let all = Broadcast::new(SlowMembers::MissMessages).limit(1000);
        let one = connected(&reactor, &all).await;
        for size in [400, 400, 400, 200] {
            all.send(vec![0; size]);
        }
        assert_eq!(
            (one.member.dropped(), one.member.transport().queued()),
            (1, 1000)
        );
        while one.member.transport().queued() > 0 {
            yield_now().await;
        }
        // A message that is longer than the limit is not lost for ever.
        all.send(vec![0; 2000]);
        assert_eq!(one.member.dropped(), 1);
    });
}

#[test]
fn a_message_is_shared_by_all_members() {
    struct Owner {
        _counted: Arc<()>,
    }
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"the message"
        }
    }
    let reactor = reactor();
    check(&reactor, async {
        let all = Broadcast::new(SlowMembers::MissMessages);
        let mut members = Vec::new();
        for _ in 0..20 {
            members.push(connected(&reactor, &all).await);
        }
        let owner = Arc::new(());
        let counted = Owner {
            _counted: Arc::clone(&owner),
        };
        all.send(Bytes::from_owner(counted));
        assert_eq!(Arc::strong_count(&owner), 2, "the queues have it");
        for connected in &mut members {
            let mut message = [0; 11];
            connected.client.read_exact(&mut message).await.unwrap();
            assert_eq!(&message, b"the message");
        }
        while Arc::strong_count(&owner) > 1 {
            yield_now().await;
        }
    });
}

/// Passes lines on to all others.
struct Chat {
    all: Broadcast,
    own: Option<Member>,
}

impl FrameProtocol for Chat {
    type Codec = Lines;

    fn connection_made(&mut self, transport: &Transport) {
        self.own = Some(self.all.add(transport));
    }

    fn frame_received(&mut self, _: &Transport, line: Line) {
        let own = self.own.as_ref().expect("it is made");
        own.send_to_others(Lines::new().frame(line).expect("it is a line"));
    }
}

#[test]
fn callbacks_send_to_all_others() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(3));
    let all = Broadcast::new(SlowMembers::Disconnect);
    let listener = reactor.listen_tcp(any_port(), {
        let all = all.clone();
        move |_| {
            let (all, own) = (all.clone(), None);
            Frames::new(Lines::new(), Chat { all, own })
        }
    });
    let listener = listener.expect("a port is free");
    let connect = |name: &'static str| {
        let (log, countdown, all) = (log.clone(), countdown.clone(), all.clone());
        let heard = Cell::new(0);
        let client = Script::new()
            .made(move |transport| {
                let (transport, all) = (transport.clone(), all.clone());
                let reactor = transport.reactor().clone();
                reactor.clone().spawn(async move {
                    while all.counters().members < 3 {
                        reactor.sleep(Duration::from_millis(1)).await;
                    }
                    transport.write(name.as_bytes());
                    transport.write(b"\n");
                });
            })
            .data(move |transport, data| {
                heard.set(heard.get() + data.len());
                log.add(String::from_utf8_lossy(data).replace('\n', &format!(" to {name} ")));
                if heard.get() == 4 {
                    transport.lose_connection();
                }
            })
            .then_done(&countdown);
        let client = Cell::new(Some(client));
        reactor.connect_tcp(listener.local_addr(), move |_| client.take().expect("once"));
    };
    for name in ["a", "b", "c"] {
        connect(name);
    }
    run_clean(&reactor);
    let told = log.take().concat();
    let mut told: Vec<_> = told
        .split_terminator(' ')
        .collect::<Vec<_>>()
        .chunks(3)
        .map(|words| words.join(" "))
        .collect();
    told.sort();
    assert_eq!(
        told,
        ["a to b", "a to c", "b to a", "b to c", "c to a", "c to b"]
    );
    assert_eq!(
        all.counters().members,
        0,
        "they left with their connections"
    );
}

/// Passes all on.
struct Source {
    all: Broadcast,
    received: Rc<Cell<usize>>,
}

impl Protocol for Source {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received.set(self.received.get() + data.len());
        self.all.send(data.to_vec());
        self.all.hold_back(transport);
    }
}

#[test]
fn a_source_is_held_back_for_a_slow_member() {
    const COUNT: u32 = 2000;
    let reactor = reactor();
    let (all, received) = (
        Broadcast::new(SlowMembers::Wait).limit(LIMIT),
        Rc::new(Cell::new(0)),
    );
    let listener = reactor.listen_tcp(any_port(), {
        let (all, received) = (all.clone(), Rc::clone(&received));
        move |_| Source {
            all: all.clone(),
            received: Rc::clone(&received),
        }
    });
    let listener = listener.expect("a port is free");
    check(&reactor, async {
        let slow = connected(&reactor, &all).await;
        let mut source = Stream::connect(&reactor, listener.local_addr())
            .await
            .unwrap();
        let sending = reactor.spawn(async move {
            for number in 0..COUNT {
                source.write_bytes(message(number)).await.unwrap();
            }
            source.flush().await.unwrap();
            source
        });
        while all.counters().waits == 0 {
            yield_now().await;
        }
        let transport = slow.member.transport().clone();
        assert!(
            transport.queued() < 2 * LIMIT,
            "the limit, and what one receive brings"
        );
        let read = reads(&reactor, slow.client);
        sending.await.unwrap();
        while received.get() < message(0).len() * COUNT as usize {
            assert!(transport.queued() < 2 * LIMIT);
            yield_now().await;
        }
        drop((slow.member, slow._server));
        assert!(read.await.unwrap().into_iter().eq(0..COUNT));
    });
}
