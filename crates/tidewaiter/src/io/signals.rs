//! Signals that ask the process to end, as futures await them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::waiting::Waiting;
use crate::port::ShutdownSignal;
use crate::reactor::{AwaitsSignals, Reactor};

/// Waits for Ctrl-C: SIGINT on Unix, the console event on Windows.
///
/// While the future lives, from its first poll on, Ctrl-C neither stops the reactor nor reaches
/// [`Reactor::on_signal`]. The next one does: so that a user who is not patient presses it again.
///
/// ```no_run
/// let reactor = tidewaiter::Reactor::new()?;
/// reactor.block_on(async {
///     tidewaiter::io::ctrl_c(&reactor).await;
///     println!("saving everything before the end");
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn ctrl_c(reactor: &Reactor) {
    let mut signals = Signals::new(reactor, [ShutdownSignal::Interrupt]);
    signals.recv().await;
}

/// Signals of some kinds, one after the other. While this lives, those kinds neither stop the reactor nor reach
/// [`Reactor::on_signal`]. Several of these get each signal all.
///
/// Signals are noticed while the reactor runs, and unless [`ReactorBuilder::signals`](crate::ReactorBuilder::signals) was
/// set to false. A simulated reactor has none.
///
/// ```no_run
/// use tidewaiter::io::Signals;
/// use tidewaiter::port::ShutdownSignal;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let mut signals = Signals::new(&reactor, [ShutdownSignal::Hangup, ShutdownSignal::Terminate]);
/// reactor.block_on(async {
///     while signals.recv().await == ShutdownSignal::Hangup {
///         println!("reading the configuration again");
///     }
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "signal")]
pub struct Signals {
    inbox: Rc<Inbox>,
}

impl Signals {
    /// Takes signals of these kinds from here on.
    pub fn new(reactor: &Reactor, kinds: impl IntoIterator<Item = ShutdownSignal>) -> Signals {
        let inbox = Rc::new(Inbox {
            kinds: kinds.into_iter().collect(),
            arrived: RefCell::default(),
            waiting: Waiting::default(),
        });
        let weak = Rc::downgrade(&inbox);
        reactor.ask_first(weak);
        Signals { inbox }
    }

    /// Waits for the next signal. Several of one kind that were not taken count as one. Dropping the future loses none.
    pub async fn recv(&mut self) -> ShutdownSignal {
        poll_fn(
            |context| match self.inbox.arrived.borrow_mut().pop_front() {
                Some(signal) => Poll::Ready(signal),
                None => self.inbox.waiting.wait(context),
            },
        )
        .await
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signals").field(&self.inbox.kinds).finish()
    }
}

struct Inbox {
    kinds: Vec<ShutdownSignal>,
    arrived: RefCell<VecDeque<ShutdownSignal>>,
    waiting: Waiting,
}

impl AwaitsSignals for Inbox {
    fn take(&self, signal: ShutdownSignal) -> bool {
        if !self.kinds.contains(&signal) {
            return false;
        }
        let mut arrived = self.arrived.borrow_mut();
        if !arrived.contains(&signal) {
            arrived.push_back(signal);
        }
        drop(arrived);
        self.waiting.wake();
        true
    }
}
