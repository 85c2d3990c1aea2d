//! Pipes between two children.

use std::any::Any;
use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A pipe between two children, which we neither read nor write: the `|` of a shell.
/// [`Reactor::spawn_pipeline`](crate::Reactor::spawn_pipeline) starts children that are connected by such pipes.
///
/// The OS makes the pipe when the first of the two children is started, whichever that is. Each end is for one child:
/// a second one is refused with [`InvalidInput`](io::ErrorKind::InvalidInput). Let other descriptors of the same child
/// follow with [`Stdio::SameAs`](super::Stdio::SameAs).
///
/// No end stays open in our process by accident, so that the reader sees the end of the file once the writer has ended,
/// and the writer learns that the reader has: an end is closed as soon as its child has it, even if the command is kept,
/// and otherwise when this value and all commands with that end are dropped. While a command that was never started is
/// kept, so is its end, and the other child waits for it. A child that cannot be started leaves its end for another
/// attempt, unless the attempt failed at [`SpawnStep::Adopt`](super::SpawnStep::Adopt), after the child had the end.
///
/// On Windows, a process that another thread starts by other means while the child is being started gets the end, too,
/// and keeps it open, as [`Command`](super::Command) says. Both children must be started by real ports, or in the same
/// simulation.
///
/// ```
/// use tidewaiter::process::{Command, SharedPipe};
///
/// let pipe = SharedPipe::new();
/// let sorted = Command::new("sort").arg("names.txt").stdout(pipe.writer());
/// let counted = Command::new("uniq").arg("-c").stdin(pipe.reader());
/// ```
#[derive(Clone, Debug)]
pub struct SharedPipe {
    reader: SharedPipeEnd,
    writer: SharedPipeEnd,
}

impl SharedPipe {
    /// A pipe that is not yet open.
    #[must_use]
    pub fn new() -> SharedPipe {
        let ends = Arc::default();
        let end = |which| {
            let ends = Arc::clone(&ends);
            SharedPipeEnd(Arc::new(Holder { ends, which }))
        };
        SharedPipe {
            reader: end(Which::Reader),
            writer: end(Which::Writer),
        }
    }

    /// The end that a child reads.
    #[must_use]
    pub fn reader(&self) -> SharedPipeEnd {
        self.reader.clone()
    }

    /// The end that a child writes to.
    #[must_use]
    pub fn writer(&self) -> SharedPipeEnd {
        self.writer.clone()
    }
}

impl Default for SharedPipe {
    fn default() -> SharedPipe {
        SharedPipe::new()
    }
}

/// One end of a [`SharedPipe`], for one child. Clones are the same end.
///
/// ```
/// use tidewaiter::process::{Command, SharedPipe, SharedPipeEnd};
///
/// let pipe = SharedPipe::new();
/// let end: SharedPipeEnd = pipe.writer();
/// let first = Command::new("ls").stdout(end);
/// let second = Command::new("sort").stdin(pipe.reader());
/// # let _ = (first, second);
/// ```
#[derive(Clone)]
pub struct SharedPipeEnd(Arc<Holder>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Reader,
    Writer,
}

/// Closes its end once nothing refers to it any more.
struct Holder {
    ends: Arc<Mutex<[End; 2]>>,
    which: Which,
}

/// An end, as far as our process has to do with it.
#[derive(Default)]
enum End {
    /// The pipe is not yet open.
    #[default]
    Unopened,
    /// Open, for the child that is to have it: what the OS or the simulation has of it.
    Open(Box<dyn Any + Send>),
    /// A child is being started with it, or has it.
    Taken,
    /// No child will have it.
    Dropped,
}

fn lock(ends: &Mutex<[End; 2]>) -> MutexGuard<'_, [End; 2]> {
    ends.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Holder {
    fn replace(&self, end: End) -> End {
        mem::replace(&mut lock(&self.ends)[self.which as usize], end)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.replace(End::Dropped));
    }
}

impl SharedPipeEnd {
    /// Whether this is the end that a child reads.
    pub(crate) fn is_reader(&self) -> bool {
        self.0.which == Which::Reader
    }

    /// Takes the end to give it to a child. Unless the pipe is open, opens it by `open`, which returns the reader and
    /// the writer.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a child has it, or if the pipe is open as something else than an `E`; and the errors of `open`.
    pub(crate) fn take<E: Any + Send>(
        &self,
        open: impl FnOnce() -> io::Result<[E; 2]>,
    ) -> io::Result<TakenEnd<E>> {
        let mut ends = lock(&self.0.ends);
        let (mine, other) = match (self.0.which, &mut *ends) {
            (Which::Reader, [reader, writer]) => (reader, writer),
            (Which::Writer, [reader, writer]) => (writer, reader),
        };
        let taken = match mem::replace(mine, End::Taken) {
            End::Unopened => match open() {
                Ok([reader, writer]) => {
                    let (taken, others) = match self.0.which {
                        Which::Reader => (reader, writer),
                        Which::Writer => (writer, reader),
                    };
                    // Otherwise, no child will have it.
                    if matches!(other, End::Unopened) {
                        *other = End::Open(Box::new(others));
                    }
                    taken
                }
                Err(error) => {
                    *mine = End::Unopened;
                    return Err(error);
                }
            },
            End::Open(end) => match end.downcast() {
                Ok(end) => *end,
                Err(end) => {
                    *mine = End::Open(end);
                    return Err(elsewhere());
                }
            },
            End::Taken | End::Dropped => {
                let message = "another child has this end of the shared pipe";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        };
        drop(ends);
        Ok(TakenEnd {
            end: Some(taken),
            source: self.clone(),
        })
    }
}

/// The error of an end whose other end was given to a child in another simulation, or in a simulation or not.
pub(crate) fn elsewhere() -> io::Error {
    let message = "the other end of the shared pipe is in another simulation or in none";
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

impl PartialEq for SharedPipeEnd {
    fn eq(&self, other: &SharedPipeEnd) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedPipeEnd {}

impl fmt::Debug for SharedPipeEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedPipeEnd({:?})", self.0.which)
    }
}

/// An end while a child is being started with it. Unless it is [given](TakenEnd::given), another child can have it.
#[derive(Debug)]
pub(crate) struct TakenEnd<E: Any + Send> {
    end: Option<E>,
    source: SharedPipeEnd,
}

impl<E: Any + Send> TakenEnd<E> {
    pub(crate) fn end(&self) -> &E {
        self.end.as_ref().expect("it is there until it is given")
    }

    /// Closes it in our process: the child has it.
    pub(crate) fn given(mut self) {
        self.end = None;
    }
}

impl<E: Any + Send> Drop for TakenEnd<E> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            self.source.0.replace(End::Open(Box::new(end)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An end of a pipe that is open for as long as this is referred to twice.
    type Fake = Arc<&'static str>;

    fn opened() -> ([Fake; 2], impl Fn() -> io::Result<[Fake; 2]>) {
        let pair = [Arc::new("reader"), Arc::new("writer")];
        let copy = pair.clone();
        (pair, move || Ok(copy.clone()))
    }

    fn is_open(end: &Fake) -> bool {
        // Beside the two of `opened`.
        Arc::strong_count(end) > 2
    }

    #[test]
    fn an_end_is_closed_once_its_child_has_it_or_none_can_have_it() {
        for drops_first in [false, true] {
            let ([reader, writer], open) = opened();
            let pipe = SharedPipe::new();
            let mut kept = Some(pipe.reader());
            let given = pipe.writer();
            drop(pipe);
            if drops_first {
                kept = None;
            }
            let taken = given.take(&open).expect("it is free");
            assert_eq!(**taken.end(), "writer");
            assert!(is_open(&writer));
            taken.given();
            assert!(!is_open(&writer), "the child alone has it");
            assert_eq!(is_open(&reader), kept.is_some());
            drop(kept);
            assert!(!is_open(&reader), "nobody can have it");
        }
    }

    #[test]
    fn an_end_is_for_one_child_that_starts() {
        let ([reader, _], open) = opened();
        let pipe = SharedPipe::new();
        let end = pipe.reader();
        let failed = end
            .clone()
            .take(|| Err::<[Fake; 2], _>(io::ErrorKind::OutOfMemory.into()));
        assert_eq!(
            failed.expect_err("no memory").kind(),
            io::ErrorKind::OutOfMemory
        );
        let taken = end.take(&open).expect("it is free");
        let refused = end.take(&open).expect_err("it is taken");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        drop(taken);
        assert!(is_open(&reader), "it was given back");
        let elsewhere = end
            .take(|| Ok([1, 2]))
            .expect_err("it is open as another thing");
        assert_eq!(elsewhere.kind(), io::ErrorKind::InvalidInput);
        end.take(&open).expect("it was given back").given();
        end.take(&open).expect_err("a child has it");
    }
}
