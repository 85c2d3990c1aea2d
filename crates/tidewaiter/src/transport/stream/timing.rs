//! Calls and timeouts that end with their connection.

use std::io;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::Stream;
use super::protocol::Protocol;
use super::reaching::downcast;
use super::state::{Ending, Stage};
use super::timeout::ConnectionTimeout;
use super::transport::Transport;
use crate::error::Reason;
use crate::port::{Completion, Outcome};
use crate::reactor::DelayedCall;

/// The shortest timeout: shorter ones would keep the loop busy.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The calls and timeouts of a stream.
#[derive(Default)]
pub(super) struct Timing {
    calls: Vec<DelayedCall>,
    idle: Option<Limit>,
    read: Option<Limit>,
}

/// A limit of the time without activity. Activity moves `since` and leaves the call alone: the call finds out by itself
/// that it came too early, and is made again.
struct Limit {
    period: Duration,
    since: Instant,
    call: DelayedCall,
}

#[derive(Clone, Copy)]
enum Kind {
    Idle,
    Read,
}

impl Timing {
    fn limit(&mut self, kind: Kind) -> &mut Option<Limit> {
        match kind {
            Kind::Idle => &mut self.idle,
            Kind::Read => &mut self.read,
        }
    }

    /// Cancels everything. The callbacks are dropped, so nothing of the stream may be borrowed.
    fn cancel(self) {
        let limits = [self.idle, self.read].into_iter().flatten();
        let calls = self.calls.into_iter().chain(limits.map(|limit| limit.call));
        for call in calls {
            call.cancel();
        }
    }
}

impl Transport {
    /// Calls `callback` once with the protocol of this connection, no earlier than `delay` from now, unless the
    /// connection ends before: the call is then cancelled. Does nothing, but for an error in the log, if the protocol
    /// is of another type. A panic in `callback` loses the connection, as one in the protocol does. Otherwise as
    /// [`Reactor::call_later`](crate::Reactor::call_later).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::{Protocol, Transport};
    ///
    /// #[derive(Default)]
    /// struct Greeter {
    ///     name: Option<String>,
    /// }
    ///
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.write(b"What is your name?\n");
    ///         transport.call_later(Duration::from_secs(10), |greeter: &mut Greeter, transport| {
    ///             if greeter.name.is_none() {
    ///                 transport.write(b"Are you still there?\n");
    ///             }
    ///         });
    ///     }
    ///     fn data_received(&mut self, _: &Transport, data: &[u8]) {
    ///         self.name = Some(String::from_utf8_lossy(data).into_owned());
    ///     }
    /// }
    /// ```
    pub fn call_later<P: Protocol>(
        &self,
        delay: Duration,
        callback: impl FnOnce(&mut P, &Transport) + 'static,
    ) -> DelayedCall {
        let stream = Rc::downgrade(self.stream());
        let call = self.reactor().call_later(delay, move |_| {
            if let Some(stream) = stream.upgrade() {
                stream.call_protocol(callback);
            }
        });
        self.stream().keep_call(&call);
        call
    }

    /// Ends the connection if nothing is received or sent for this long, from now on: never (`None`) by default. What the
    /// OS takes counts as sent, so a peer that does not read is idle once the OS takes no more. This also holds after
    /// [`lose_connection`](Transport::lose_connection), while bytes are still to be sent.
    ///
    /// [`Protocol::timed_out`] is called then, which decides what happens. The default ends the connection with
    /// [`Reason::TimedOut`]. At least 1 ms. Costs no timer for each message, but a look at the
    /// clock.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::{Protocol, Reactor, Reason, Transport};
    ///
    /// struct Impatient;
    ///
    /// impl Protocol for Impatient {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.set_idle_timeout(Duration::from_millis(20));
    ///     }
    ///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    ///     fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
    ///         assert_eq!(reason.to_string(), "timed out: nothing was received or sent for 20ms");
    ///         transport.reactor().stop();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let listener = reactor.listen_tcp("127.0.0.1:0", |_peer| Impatient)?;
    /// # let _client = std::net::TcpStream::connect(listener.local_addr())?;
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_idle_timeout(&self, timeout: impl Into<Option<Duration>>) {
        self.stream().set_limit(Kind::Idle, timeout.into());
    }

    /// Ends the connection if nothing is received for this long, from now on: never (`None`) by default. The time begins
    /// anew when a pause ends, and does not run during one, nor once the peer has ended its sending side. Otherwise as
    /// [`set_idle_timeout`](Transport::set_idle_timeout).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::{ConnectionTimeout, Protocol, Transport};
    ///
    /// /// Asks a silent peer for a sign of life, and hangs up on the second silence.
    /// #[derive(Default)]
    /// struct Pinging {
    ///     asked: bool,
    /// }
    ///
    /// impl Protocol for Pinging {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.set_read_timeout(Duration::from_secs(30));
    ///     }
    ///     fn data_received(&mut self, _: &Transport, _: &[u8]) {
    ///         self.asked = false;
    ///     }
    ///     fn timed_out(&mut self, transport: &Transport, _: ConnectionTimeout) {
    ///         if self.asked {
    ///             transport.abort_connection();
    ///         } else {
    ///             self.asked = true;
    ///             transport.write(b"PING\n");
    ///         }
    ///     }
    /// }
    /// ```
    pub fn set_read_timeout(&self, timeout: impl Into<Option<Duration>>) {
        self.stream().set_limit(Kind::Read, timeout.into());
    }

    /// The default of [`Protocol::timed_out`].
    pub(crate) fn lose_to(&self, timeout: ConnectionTimeout) {
        let source = io::Error::new(io::ErrorKind::TimedOut, timeout.to_string());
        let ending = match self.queued() {
            0 => Ending::InOrder,
            // The peer does not read, and an end in order would come after what it does not read.
            _ => Ending::Reset,
        };
        self.stream().close(ending, Reason::TimedOut(source));
    }
}

impl Stream {
    /// Calls `callback` with the protocol, if it is of that type. To be called from the loop.
    fn call_protocol<P: Protocol>(self: &Rc<Self>, callback: impl FnOnce(&mut P, &Transport)) {
        self.enter(|protocol, transport| match downcast(protocol) {
            Some(protocol) => callback(protocol, transport),
            None => log::error!(
                "{transport:?}: a delayed call expects another type of protocol: {}",
                std::any::type_name::<P>()
            ),
        });
    }

    /// Keeps `call`, to cancel it when the connection ends.
    fn keep_call(&self, call: &DelayedCall) {
        if !self.is_untold() {
            call.cancel();
            return;
        }
        let mut timing = self.timing.borrow_mut();
        let calls = &mut timing.get_or_insert_default().calls;
        if calls.len() == calls.capacity() {
            // Forget those that were made, before the memory grows.
            calls.retain(DelayedCall::is_active);
        }
        calls.push(call.clone());
    }

    /// Whether the protocol does not know of the connection's end yet.
    fn is_untold(&self) -> bool {
        !matches!(
            self.flow.borrow().state.stage(),
            Stage::Told(_) | Stage::Closed
        )
    }

    fn set_limit(self: &Rc<Self>, kind: Kind, period: Option<Duration>) {
        if !self.is_untold() {
            return;
        }
        let limit = period.map(|period| {
            let period = period.max(TIMEOUT_MIN);
            Limit {
                period,
                since: self.reactor.now(),
                call: self.call_at_limit(kind, period),
            }
        });
        let mut timing = self.timing.borrow_mut();
        let timing = timing.get_or_insert_default();
        let replaced = std::mem::replace(timing.limit(kind), limit);
        self.timed
            .set(timing.idle.is_some() || timing.read.is_some());
        if let Some(replaced) = replaced {
            replaced.call.cancel();
        }
    }

    fn call_at_limit(self: &Rc<Self>, kind: Kind, after: Duration) -> DelayedCall {
        let stream: Weak<Stream> = Rc::downgrade(self);
        self.reactor.call_later(after, move |_| {
            if let Some(stream) = stream.upgrade() {
                stream.limit_reached(kind);
            }
        })
    }

    /// Tells the protocol, if there was no activity for the whole period. To be called from the loop.
    fn limit_reached(self: &Rc<Self>, kind: Kind) {
        let now = self.reactor.now();
        let (open, counts) = {
            let state = &self.flow.borrow().state;
            let counts = match kind {
                Kind::Idle => true,
                Kind::Read => state.awaits_data(&self.link),
            };
            (state.is_open(), counts)
        };
        let mut timing = self.timing.borrow_mut();
        let Some(limit) = timing
            .as_mut()
            .and_then(|timing| timing.limit(kind).as_mut())
        else {
            return;
        };
        if !open {
            return;
        }
        if !counts {
            limit.since = now;
        }
        let (period, passed) = (limit.period, now.saturating_duration_since(limit.since));
        let over = passed >= period;
        if over {
            limit.since = now;
        }
        let left = if over { period } else { period - passed };
        limit.call = self.call_at_limit(kind, left);
        drop(timing);
        if over {
            let timeout = match kind {
                Kind::Idle => ConnectionTimeout::Idle(period),
                Kind::Read => ConnectionTimeout::Read(period),
            };
            self.enter(|protocol, transport| protocol.timed_out(transport, timeout));
        }
    }

    /// Notes activity that restarts the timeouts. Stays out of line: few streams have any.
    #[cold]
    #[inline(never)]
    pub(super) fn note_activity(&self, completion: &Completion) {
        match completion.result {
            // What is dropped while the stream ends keeps nothing alive.
            Ok(Outcome::Received(_) | Outcome::ReceivedWithDescriptors(_))
                if self.flow.borrow().state.stage() == Stage::Open =>
            {
                self.restart_limits(true);
            }
            Ok(Outcome::Sent { bytes: 1.. }) => self.restart_limits(false),
            Ok(Outcome::FileSent { bytes: 1.., .. }) => self.restart_limits(false),
            _ => {}
        }
    }

    /// Begins the time of the idle timeout anew, and that of the read timeout if `read`.
    #[cold]
    #[inline(never)]
    pub(super) fn restart_limits(&self, read: bool) {
        let now = self.reactor.now();
        if let Some(timing) = &mut *self.timing.borrow_mut() {
            let read = timing.read.as_mut().filter(|_| read);
            for limit in timing.idle.as_mut().into_iter().chain(read) {
                limit.since = now;
            }
        }
    }

    /// Begins the time of the read timeout anew, after a pause.
    #[cold]
    #[inline(never)]
    pub(super) fn restart_read_limit(&self) {
        let now = self.reactor.now();
        if let Some(limit) = self
            .timing
            .borrow_mut()
            .as_mut()
            .and_then(|timing| timing.read.as_mut())
        {
            limit.since = now;
        }
    }

    /// Cancels the calls and timeouts, because the connection ends. The callbacks are dropped.
    pub(super) fn end_timing(&self) {
        self.timed.set(false);
        let timing = self.timing.take();
        if let Some(timing) = timing {
            self.reactor
                .guard("the drop of a delayed call", || timing.cancel());
        }
    }
}
