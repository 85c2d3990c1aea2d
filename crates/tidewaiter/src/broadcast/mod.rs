//! One message to many connections, of which some read slowly.

mod member;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::transport::Transport;
use member::Connection;
pub use member::Member;

/// How many bytes may be queued for each connection unless set.
const LIMIT: usize = 256 << 10;

/// What becomes of a member of a [`Broadcast`] that reads more slowly than messages come: for which more bytes would be
/// queued than the [limit](Broadcast::limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlowMembers {
    /// It does not get the message, and gets those again for which there is room. [`Member::dropped`] counts what it
    /// missed.
    MissMessages,
    /// Its connection is [aborted](Transport::abort_connection), and it is no member any more.
    Disconnect,
    /// The sender waits for it: a task with [`Broadcast::ready`], a callback with [`Broadcast::hold_back`]. Then one member
    /// that does not read holds up all; [`Broadcast::disconnect_slow`] ends that.
    Wait,
}

/// Sends messages to many connections without a copy for each, and bounds what is queued for those that read slowly.
///
/// Members are [`Transport`]s of one reactor: of callback protocols, of the streams of tasks, pipes to children. Clones
/// refer to the same broadcast.
///
/// ```
/// use tidewaiter::frames::{FrameProtocol, Frames, Line, Lines, Encoder};
/// use tidewaiter::{Broadcast, Member, Reactor, SlowMembers, Transport};
///
/// /// Everyone gets the lines of all others.
/// struct Chat {
///     all: Broadcast,
///     own: Option<Member>,
/// }
///
/// impl FrameProtocol for Chat {
///     type Codec = Lines;
///
///     fn connection_made(&mut self, transport: &Transport) {
///         self.own = Some(self.all.add(transport));
///     }
///
///     fn frame_received(&mut self, _: &Transport, line: Line) {
///         if let (Some(own), Ok(line)) = (&self.own, Lines::new().frame(line)) {
///             own.send_to_others(line);
///         }
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let all = Broadcast::new(SlowMembers::Disconnect).limit(1 << 20);
/// reactor.listen_tcp("127.0.0.1:0", move |_peer| {
///     let all = all.clone();
///     Frames::new(Lines::new().limit(4096), Chat { all, own: None })
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Broadcast {
    inner: Rc<Inner>,
}

struct Inner {
    slow: SlowMembers,
    limit: Cell<usize>,
    /// In the order in which they were added.
    members: RefCell<BTreeMap<u64, Rc<Connection>>>,
    added: Cell<u64>,
    counters: Cell<BroadcastCounters>,
    /// Futures that wait for slow members.
    waiting: RefCell<Vec<Waker>>,
    /// Connections that are paused until no member is slow.
    held_back: RefCell<Vec<Transport>>,
}

/// What a [`Broadcast`] did.
///
/// ```
/// use tidewaiter::{Broadcast, SlowMembers};
///
/// let all = Broadcast::new(SlowMembers::MissMessages);
/// all.send(&b"nobody is there yet"[..]);
/// let counters = all.counters();
/// assert_eq!((counters.members, counters.dropped), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcastCounters {
    /// The members it has now.
    pub members: usize,
    /// Messages that were sent, each to any number of members.
    pub messages: u64,
    /// Messages that a member [missed](SlowMembers::MissMessages), counted for each member.
    pub dropped: u64,
    /// Members that were disconnected because they were slow.
    pub disconnected: u64,
    /// How often a sender had to wait for slow members.
    pub waits: u64,
}

impl Broadcast {
    /// Makes a broadcast without members. Up to 256 KiB are queued for each.
    #[must_use]
    pub fn new(slow: SlowMembers) -> Broadcast {
        Broadcast {
            inner: Rc::new(Inner {
                slow,
                limit: Cell::new(LIMIT),
                members: RefCell::default(),
                added: Cell::new(0),
                counters: Cell::default(),
                waiting: RefCell::default(),
                held_back: RefCell::default(),
            }),
        }
    }

    /// Sets how many bytes may be queued for each member, what the program writes to it besides included. A message that
    /// is longer itself is sent if nothing is queued.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Broadcast {
        self.inner.limit.set(bytes);
        self
    }

    /// Adds a connection, until the returned value is dropped.
    ///
    /// With [`SlowMembers::Wait`], this sets the connection's [water marks](Transport::set_water_marks), to the limit and
    /// a quarter of it.
    pub fn add(&self, transport: &Transport) -> Member {
        let inner = &self.inner;
        if inner.slow == SlowMembers::Wait {
            let limit = inner.limit.get();
            transport.set_water_marks(limit / 4, limit);
        }
        let number = inner.added.get();
        inner.added.set(number + 1);
        let connection = Rc::new(Connection::new(transport));
        let own = Rc::clone(&connection);
        inner.members.borrow_mut().insert(number, connection);
        Member::new(self, number, own)
    }

    /// Sends a message to all members: it is queued at once, and sent at the end of the turn.
    ///
    /// With [`SlowMembers::Wait`], it is queued for slow members too: wait before.
    pub fn send(&self, message: impl Into<Bytes>) {
        self.send_except(None, &message.into());
    }

    fn send_except(&self, except: Option<u64>, message: &Bytes) {
        let inner = &self.inner;
        let limit = match inner.slow {
            SlowMembers::Wait => usize::MAX,
            _ => inner.limit.get(),
        };
        let (mut slow, mut dropped) = (Vec::new(), 0);
        for (&number, member) in &*inner.members.borrow() {
            if except == Some(number) {
                continue;
            }
            let queued = member.transport.queued();
            if queued == 0 || queued.saturating_add(message.len()) <= limit {
                member.transport.write_bytes(message.clone());
            } else if inner.slow == SlowMembers::Disconnect {
                slow.push(number);
            } else {
                member.count_dropped();
                dropped += 1;
            }
        }
        inner.count(|counters| {
            counters.messages += 1;
            counters.dropped += dropped;
        });
        self.disconnect(&slow);
    }

    /// Waits, with [`SlowMembers::Wait`], until no member is slow. Returns at once otherwise.
    ///
    /// ```
    /// use tidewaiter::Broadcast;
    ///
    /// async fn publish(all: Broadcast, news: Vec<&'static str>) {
    ///     for piece in news {
    ///         all.ready().await;
    ///         all.send(piece);
    ///     }
    /// }
    /// ```
    pub async fn ready(&self) {
        let mut waited = false;
        poll_fn(|context| {
            let ready = self.poll_ready(context);
            if ready.is_pending() && !std::mem::replace(&mut waited, true) {
                self.inner.count(|counters| counters.waits += 1);
            }
            ready
        })
        .await;
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker();
        while let Some(slow) = self.first_slow() {
            if slow.poll_relieved(context).is_pending() {
                // A member that is removed tells as well.
                let waker = waker.clone();
                let mut waiting = self.inner.waiting.borrow_mut();
                if !waiting.iter().any(|other| other.will_wake(&waker)) {
                    waiting.push(waker);
                }
                return Poll::Pending;
            }
        }
        self.inner.wake();
        Poll::Ready(())
    }

    fn first_slow(&self) -> Option<Transport> {
        if self.inner.slow != SlowMembers::Wait {
            return None;
        }
        let members = self.inner.members.borrow();
        let mut all = members.values().map(|member| &member.transport);
        all.find(|transport| transport.is_waited_for()).cloned()
    }

    /// Pauses `source`, with [`SlowMembers::Wait`], until no member is slow: to be called by a callback protocol after it
    /// has sent what `source` received. Does nothing if none is slow.
    ///
    /// This pauses and resumes it as [`Transport::pause_producing`] and [`Transport::resume_producing`] do: do not mix
    /// them.
    ///
    /// ```
    /// use tidewaiter::{Broadcast, Protocol, Transport};
    ///
    /// /// Passes what it receives on to all members.
    /// struct Source(Broadcast);
    ///
    /// impl Protocol for Source {
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
    ///         self.0.send(data.to_vec());
    ///         self.0.hold_back(transport);
    ///     }
    /// }
    /// ```
    pub fn hold_back(&self, source: &Transport) {
        if self.first_slow().is_none() {
            return;
        }
        let mut held_back = self.inner.held_back.borrow_mut();
        if held_back.contains(source) {
            return;
        }
        source.pause_producing();
        held_back.push(source.clone());
        if held_back.len() > 1 {
            return;
        }
        drop(held_back);
        let all = self.clone();
        source.reactor().spawn(async move {
            all.ready().await;
            for source in all.inner.held_back.take() {
                source.resume_producing();
            }
        });
    }

    /// Disconnects, with [`SlowMembers::Wait`], the members that are slow now, and returns how many these are: to wait for
    /// them, but not for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::{Broadcast, Reactor};
    ///
    /// async fn publish(reactor: Reactor, all: Broadcast, message: &'static str) {
    ///     if reactor.timeout(Duration::from_secs(5), all.ready()).await.is_err() {
    ///         all.disconnect_slow();
    ///     }
    ///     all.send(message);
    /// }
    /// ```
    pub fn disconnect_slow(&self) -> usize {
        if self.inner.slow != SlowMembers::Wait {
            return 0;
        }
        let members = self.inner.members.borrow();
        let slow = members
            .iter()
            .filter(|(_, member)| member.transport.is_waited_for());
        let slow: Vec<_> = slow.map(|(&number, _)| number).collect();
        drop(members);
        self.disconnect(&slow);
        slow.len()
    }

    fn disconnect(&self, slow: &[u64]) {
        for &number in slow {
            if let Some(member) = self.remove(number) {
                let transport = &member.transport;
                log::debug!("{transport:?}: disconnected, as it reads too slowly");
                transport.abort_connection();
                self.inner.count(|counters| counters.disconnected += 1);
            }
        }
    }

    fn remove(&self, number: u64) -> Option<Rc<Connection>> {
        let removed = self.inner.members.borrow_mut().remove(&number);
        if removed.is_some() {
            self.inner.wake();
        }
        removed
    }

    /// What was sent, dropped and disconnected so far.
    ///
    /// ```
    /// use tidewaiter::{Broadcast, SlowMembers};
    ///
    /// let all = Broadcast::new(SlowMembers::MissMessages);
    /// all.send("nobody hears this");
    /// let counters = all.counters();
    /// assert_eq!((counters.messages, counters.members, counters.dropped), (1, 0, 0));
    /// ```
    #[must_use]
    pub fn counters(&self) -> BroadcastCounters {
        BroadcastCounters {
            members: self.inner.members.borrow().len(),
            ..self.inner.counters.get()
        }
    }
}

impl Inner {
    fn count(&self, change: impl FnOnce(&mut BroadcastCounters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// Wakes the futures that wait. Nothing is borrowed meanwhile: a waker may be any code.
    fn wake(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("slow", &self.inner.slow)
            .field("limit", &self.inner.limit.get())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}
