//! Watches of directories for changes.

use std::fmt;
use std::io;
use std::rc::Rc;

use super::watched::Watched;
use super::{Live, Reactor};
use crate::port::{Change, Completion, DirectoryOptions, Failure, Outcome};

type OnChange = dyn FnMut(&DirectoryWatch, Change);

/// The watch of a directory: see [`Reactor::watch_directory`].
///
/// Clones refer to the same watch. The reactor owns it: dropping them does not stop it.
#[derive(Clone)]
pub struct DirectoryWatch {
    watched: Rc<WatchedDirectory>,
}

struct WatchedDirectory(Watched<OnChange>);

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
        let watched = Rc::new(WatchedDirectory(Watched::new(self, Box::new(callback))));
        let live = Rc::clone(&watched) as Rc<dyn Live>;
        let begun = (watched.0).begin(live, |port, token| port.watch_directory(options, token));
        begun.map_err(io::Error::other)??;
        Ok(DirectoryWatch { watched })
    }
}

impl DirectoryWatch {
    /// Stops the watch at once: no further call is made. Does nothing if the watch has ended.
    pub fn stop(&self) {
        self.watched.0.end();
    }

    /// Whether the watch has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.watched.0.is_ended()
    }

    /// The reactor that this watch lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.watched.0.reactor
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
    fn changed(self: &Rc<Self>, changes: Vec<Change>) {
        let watch = DirectoryWatch {
            watched: Rc::clone(self),
        };
        for change in changes {
            let is_end = matches!(change, Change::Ended(_));
            if is_end {
                self.0.note_ended();
            } else if watch.is_stopped() {
                return;
            }
            self.0.call(|callback| callback(&watch, change));
        }
    }
}

impl Live for WatchedDirectory {
    fn completed(self: Rc<Self>, completion: Completion) {
        if !completion.more {
            self.0.unregister();
        }
        match completion.result {
            _ if self.0.is_ended() => {}
            Ok(Outcome::Changed(changes)) => self.changed(changes),
            Err(Failure::Cancelled) => {}
            other => log::error!("unexpected completion of a watch: {other:?}"),
        }
        if !completion.more {
            self.0.drop_callback();
        }
    }

    fn stop(self: Rc<Self>) {
        self.0.end();
    }

    fn abandon(&self) -> Option<String> {
        self.0.abandon();
        None
    }
}
