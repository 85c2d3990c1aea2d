//! Tells of changes of the terminal's size.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::port::Interest;
use crate::process::own::Resizes;
use crate::process::{OwnTerminal, TerminalSize};
use crate::reactor::{DelayedCall, Reactor, Watch};

/// How often the size is compared where the system has no signal of its change.
const PERIOD: Duration = Duration::from_millis(250);

type OnResize = dyn FnMut(&Reactor, TerminalSize);

/// A watch for changes of the terminal's size: see [`Reactor::on_resize`]. Dropping it ends the watch.
///
/// ```
/// use tidewaiter::process::OwnTerminal;
/// use tidewaiter::{Reactor, ResizeWatch};
///
/// /// Draws anew whenever the terminal's size changes, as long as the result lives.
/// fn watch(reactor: &Reactor, terminal: OwnTerminal) -> std::io::Result<ResizeWatch> {
///     reactor.on_resize(terminal, |_, size| println!("{} × {}", size.columns, size.rows))
/// }
/// ```
#[must_use = "dropping it ends the watch"]
pub struct ResizeWatch {
    resizing: Rc<Resizing>,
}

struct Resizing {
    terminal: OwnTerminal,
    known: Cell<Option<TerminalSize>>,
    callback: RefCell<Box<OnResize>>,
    watch: RefCell<Option<Watch>>,
    next: RefCell<Option<DelayedCall>>,
    /// Dropped last: the watch is of its descriptor.
    signals: Option<Resizes>,
}

impl Reactor {
    /// Calls `callback` from the loop with each new size of this process's terminal. On Unix, SIGWINCH tells of the
    /// change; other handlers of the signal are called as well. On Windows, the reactor looks four times a second.
    ///
    /// # Errors
    ///
    /// The OS's error; on Unix [`Unsupported`](io::ErrorKind::Unsupported) in a simulation.
    pub fn on_resize(
        &self,
        terminal: OwnTerminal,
        callback: impl FnMut(&Reactor, TerminalSize) + 'static,
    ) -> io::Result<ResizeWatch> {
        let resizing = Rc::new(Resizing {
            known: Cell::new(terminal.size().ok()),
            terminal,
            callback: RefCell::new(Box::new(callback)),
            watch: RefCell::new(None),
            next: RefCell::new(None),
            signals: Resizes::listen()?,
        });
        match &resizing.signals {
            Some(signals) => {
                let resized = Rc::downgrade(&resizing);
                let watch =
                    self.watch(signals.descriptor(), Interest::READABLE, move |watch, _| {
                        if let Some(resizing) = resized.upgrade() {
                            resizing.look(watch.reactor());
                        }
                    });
                let watch = watch.map_err(io::Error::other)?;
                resizing.watch.replace(Some(watch));
            }
            None => resizing.look_later(self),
        }
        Ok(ResizeWatch { resizing })
    }
}

impl Resizing {
    fn look(&self, reactor: &Reactor) {
        if let Some(signals) = &self.signals {
            signals.take();
        }
        let Ok(size) = self.terminal.size() else {
            return;
        };
        if self.known.replace(Some(size)) != Some(size) {
            (self.callback.borrow_mut())(reactor, size);
        }
    }

    fn look_later(self: &Rc<Self>, reactor: &Reactor) {
        let resizing = Rc::downgrade(self);
        let next = reactor.call_later(PERIOD, move |reactor| {
            if let Some(resizing) = resizing.upgrade() {
                resizing.look_later(reactor);
                resizing.look(reactor);
            }
        });
        self.next.replace(Some(next));
    }
}

impl Drop for ResizeWatch {
    fn drop(&mut self) {
        if let Some(watch) = self.resizing.watch.take() {
            watch.stop();
        }
        if let Some(next) = self.resizing.next.take() {
            next.cancel();
        }
    }
}

impl fmt::Debug for ResizeWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.resizing.known.get();
        f.debug_struct("ResizeWatch")
            .field("size", &size)
            .finish_non_exhaustive()
    }
}
