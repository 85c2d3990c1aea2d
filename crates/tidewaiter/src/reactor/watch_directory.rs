//! Watches of directories for changes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;

use super::{Live, Reactor};
use crate::port::{Change, Completion, DirectoryOptions, Failure, Operation, Outcome, Token};

type OnChange = Box<dyn FnMut(&DirectoryWatch, Change)>;

/// The watch of a directory: see [`Reactor::watch_directory`].
///
/// Clones refer to the same watch. The reactor owns it: dropping them does not stop it.
#[derive(Clone)]
pub struct DirectoryWatch {
    watched: Rc<WatchedDirectory>,
}

struct WatchedDirectory {
    reactor: Reactor,
    token: Cell<Token>,
    /// The port's operation; `None` once ended.
    operation: Cell<Option<Operation>>,
    /// Borrowed during the call. Only the loop calls it, so calls do not nest.
    callback: RefCell<OnChange>,
}

impl Reactor {
    /// Watches a directory, or a whole tree: `callback` is called for each [`Change`], in their order. Linux and Windows.
    ///
    /// The watch lasts until [`DirectoryWatch::stop`], until the callback panics, until the reactor stops, or until
    /// [`Change::Ended`], which is the last call then.
    ///
    /// The OS may merge changes of the same kind to the same file. Changes that it had to drop are told as
    /// [`Change::Overflowed`].
    ///
    /// ```no_run
    /// use tidewaiter::Reactor;
    /// use tidewaiter::port::{Change, DirectoryOptions};
    ///
    /// let reactor = Reactor::new()?;
    /// let inbox = DirectoryOptions::new("inbox");
    /// reactor.watch_directory(&inbox, |_, change| {
    ///     if let Change::Created(path) = change {
    ///         println!("{} has arrived", path.display());
    ///     }
    /// })?;
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Port::watch_directory`](crate::port::Port::watch_directory), and an error if the reactor has stopped.
    pub fn watch_directory(
        &self,
        options: &DirectoryOptions,
        callback: impl FnMut(&DirectoryWatch, Change) + 'static,
    ) -> io::Result<DirectoryWatch> {
        let watched = Rc::new(WatchedDirectory {
            reactor: self.clone(),
            token: Cell::new(Token::default()),
            operation: Cell::new(None),
            callback: RefCell::new(Box::new(callback)),
        });
        let token = self.register(Rc::clone(&watched) as Rc<dyn Live>);
        let token = token.map_err(io::Error::other)?;
        watched.token.set(token);
        let begun = self.port_mut().watch_directory(options, token);
        match begun {
            Ok(operation) => watched.operation.set(Some(operation)),
            Err(error) => {
                self.unregister(token);
                return Err(error);
            }
        }
        Ok(DirectoryWatch { watched })
    }
}

impl DirectoryWatch {
    /// Stops the watch at once: no further call is made. Does nothing if the watch has ended.
    pub fn stop(&self) {
        self.watched.end();
    }

    /// Whether the watch has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.watched.operation.get().is_none()
    }

    /// The reactor that this watch lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.watched.reactor
    }
}

impl fmt::Debug for DirectoryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryWatch")
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}

impl WatchedDirectory {
    fn end(&self) {
        if let Some(operation) = self.operation.take() {
            self.reactor.port_mut().cancel(operation);
        }
    }

    fn changed(self: &Rc<Self>, changes: Vec<Change>) {
        let watch = DirectoryWatch {
            watched: Rc::clone(self),
        };
        for change in changes {
            let is_end = matches!(change, Change::Ended(_));
            if is_end {
                self.operation.set(None);
            } else if watch.is_stopped() {
                return;
            }
            let called = self.reactor.guard("the callback of a watch", || {
                (self.callback.borrow_mut())(&watch, change);
            });
            if called.is_none() {
                self.end();
            }
        }
    }

    /// Drops the callback and all that it owns, even if the program keeps the watch.
    fn drop_callback(&self) {
        let callback = self.callback.replace(Box::new(|_, _| {}));
        self.reactor
            .drop_guarded("the drop of a watch's callback", callback);
    }
}

impl Live for WatchedDirectory {
    fn completed(self: Rc<Self>, completion: Completion) {
        if !completion.more {
            self.reactor.unregister(self.token.get());
        }
        match completion.result {
            _ if self.operation.get().is_none() => {}
            Ok(Outcome::Changed(changes)) => self.changed(changes),
            Err(Failure::Cancelled) => {}
            other => log::error!("unexpected completion of a watch: {other:?}"),
        }
        if !completion.more {
            self.drop_callback();
        }
    }

    fn stop(self: Rc<Self>) {
        self.end();
    }

    fn abandon(&self) -> Option<String> {
        self.operation.set(None);
        self.drop_callback();
        None
    }
}
