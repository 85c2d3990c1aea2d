//! Files on a reactor: each operation goes through the port where the port performs it, and through the reactor's
//! threads elsewhere.
//!
//! An [`OpenFile`] is the file as the reactor keeps it. A [`File`] is the program's share of it: once the last share is
//! dropped, the file is closed as soon as its operations have ended.

mod blocking;
mod opening;
mod work;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::error::FileError;
use crate::os::{FileMetadata, FileOptions};
use crate::port::{
    CloseMode, Completion, Failure, FileOutcome, Handle, Operation, Outcome, Request, RequestKind,
    Token,
};
use crate::reactor::{Live, LiveKind, Reactor};
use work::Work;

/// How long a stopping reactor waits for the operations on a file before it cancels them.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// An open file: see [`Reactor::open_file`]. Clones are the same file.
///
/// Any number of operations may be under way on it. They are independent of each other: of two that overlap, either may
/// happen first. Only [appends](File::append) are made in the order of the calls. There is no common position.
///
/// No call blocks, and none calls back: each callback comes from the loop later, exactly once, unless the reactor is
/// dropped first. The memory of an operation belongs to it until then. The file is closed once all its operations have
/// ended, after [`close`](File::close) or when the last clone is dropped.
pub struct File {
    open: Rc<OpenFile>,
}

/// A file on a reactor.
struct OpenFile {
    reactor: Reactor,
    path: PathBuf,
    /// How it was opened; `None` for a file that was opened elsewhere.
    options: Option<FileOptions>,
    token: Cell<Token>,
    /// `None` until a thread has opened it.
    handle: Cell<Option<Handle>>,
    /// How many [`File`]s there are.
    shares: Cell<usize>,
    state: RefCell<State>,
}

struct State {
    stage: Stage,
    last_id: u64,
    under_way: Vec<UnderWay>,
    /// Whether an append is under way, and those that wait for its end.
    appending: bool,
    appends: VecDeque<(u64, Work)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Takes no more calls, because it is to be closed.
    Closing,
    /// Takes no more calls, because the reactor stops.
    Stopping,
    /// The port was asked to close it, or the reactor is gone.
    Closed,
}

struct UnderWay {
    id: u64,
    place: Place,
    work: Work,
}

/// Where an operation is performed.
enum Place {
    Port(Operation),
    /// On a thread, which leaves it undone if it sees in time that it is to be.
    Thread(Arc<AtomicBool>),
}

/// An operation on a file, for [cancelling](FileOperation::cancel) it. Dropping this does nothing.
///
/// ```
/// use tidewaiter::{File, FileOperation};
///
/// /// Reads the beginning of a file, unless it is cancelled before.
/// fn begin(file: &File) -> FileOperation {
///     file.read_at(0, 4096, |_, read| match read {
///         Ok(bytes) => println!("{} bytes", bytes.len()),
///         Err(error) => println!("{error}"),
///     })
/// }
/// ```
#[derive(Clone)]
pub struct FileOperation {
    file: Rc<OpenFile>,
    id: u64,
}

impl File {
    fn of(open: &Rc<OpenFile>) -> File {
        open.shares.set(open.shares.get() + 1);
        File {
            open: Rc::clone(open),
        }
    }

    /// Reads up to `len` bytes at `offset`, as many as there are. A read may be shorter than the file allows; only an
    /// empty one means that the file ends at `offset`.
    pub fn read_at(
        &self,
        offset: u64,
        len: usize,
        done: impl FnOnce(&Reactor, Result<Vec<u8>, FileError>) + 'static,
    ) -> FileOperation {
        self.read_into(offset, Vec::with_capacity(len), done)
    }

    /// As [`read_at`](File::read_at), into memory of the caller's: as many bytes as it has capacity for. What it holds
    /// is replaced.
    pub fn read_into(
        &self,
        offset: u64,
        memory: Vec<u8>,
        done: impl FnOnce(&Reactor, Result<Vec<u8>, FileError>) + 'static,
    ) -> FileOperation {
        self.open.begin(Work::Read {
            offset,
            len: memory.capacity(),
            memory,
            done: Box::new(done),
        })
    }

    /// Writes all of `data` at `offset`. If it fails midway, [`FileError::Os`] tells how many bytes are written. What
    /// is written is on the disk only after a [`sync`](File::sync).
    pub fn write_at(
        &self,
        offset: u64,
        data: impl Into<Bytes>,
        done: impl FnOnce(&Reactor, Result<(), FileError>) + 'static,
    ) -> FileOperation {
        self.open.begin(Work::write(Some(offset), data, done))
    }

    /// Writes all of `data` at the end of a file that was [opened to append](crate::FileOptions::append), after all
    /// appends that were asked for before. Nobody else's bytes come in between, unless the system splits the write.
    pub fn append(
        &self,
        data: impl Into<Bytes>,
        done: impl FnOnce(&Reactor, Result<(), FileError>) + 'static,
    ) -> FileOperation {
        self.open.begin(Work::write(None, data, done))
    }

    /// Waits until everything that was written before is on the disk (`fsync`).
    pub fn sync(
        &self,
        done: impl FnOnce(&Reactor, Result<(), FileError>) + 'static,
    ) -> FileOperation {
        self.open.begin(Work::Sync {
            data_only: false,
            done: Box::new(done),
        })
    }

    /// As [`sync`](File::sync), without such metadata as the time of the last write (`fdatasync`).
    pub fn sync_data(
        &self,
        done: impl FnOnce(&Reactor, Result<(), FileError>) + 'static,
    ) -> FileOperation {
        self.open.begin(Work::Sync {
            data_only: true,
            done: Box::new(done),
        })
    }

    /// Asks for the file's length and the like.
    pub fn metadata(
        &self,
        done: impl FnOnce(&Reactor, Result<FileMetadata, FileError>) + 'static,
    ) -> FileOperation {
        self.open.begin(Work::Metadata {
            done: Box::new(done),
        })
    }

    /// Cuts the file off at `len` bytes, or extends it with zeros.
    pub fn set_len(
        &self,
        len: u64,
        done: impl FnOnce(&Reactor, Result<(), FileError>) + 'static,
    ) -> FileOperation {
        self.open.begin(Work::SetLen {
            len,
            done: Box::new(done),
        })
    }

    /// Closes the file once the operations under way have ended. Later calls fail with [`FileError::Closed`].
    ///
    /// An error of the close itself is lost: to know that everything is written, [`sync`](File::sync) first.
    pub fn close(&self) {
        self.open.leave(Stage::Closing);
    }

    /// The path under which the file was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.open.path
    }

    /// The reactor that the file lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.open.reactor
    }

    /// The port's handle; `None` once the file is closing.
    pub(super) fn handle(&self) -> Option<Handle> {
        let is_open = self.open.state.borrow().stage == Stage::Open;
        self.open.handle.get().filter(|_| is_open)
    }
}

impl Clone for File {
    fn clone(&self) -> File {
        File::of(&self.open)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let left = self.open.shares.get() - 1;
        self.open.shares.set(left);
        if left == 0 {
            self.open.leave(Stage::Closing);
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?})", self.open.path)
    }
}

impl FileOperation {
    /// Asks for the operation to end early. Its callback still comes: with [`FileError::Cancelled`], or with the result
    /// if the operation was faster or could not be stopped any more. Does nothing once that is decided.
    pub fn cancel(&self) {
        self.file.cancel(self.id);
    }
}

impl fmt::Debug for FileOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileOperation({:?})", self.file.path)
    }
}

impl OpenFile {
    /// Starts an operation.
    fn begin(self: &Rc<Self>, work: Work) -> FileOperation {
        let mut state = self.state.borrow_mut();
        state.last_id += 1;
        let id = state.last_id;
        let refusal = match state.stage {
            Stage::Open => work.refusal(self.appends(), &self.path),
            Stage::Stopping => Some(FileError::Stopped),
            Stage::Closing | Stage::Closed => Some(FileError::Closed),
        };
        let appends = refusal.is_none() && work.appends() && !work.is_empty();
        let waits = appends && state.appending;
        state.appending |= appends;
        if waits {
            state.appends.push_back((id, work));
        } else {
            drop(state);
            match refusal {
                Some(refusal) => self.refuse(work, refusal),
                None if work.is_empty() => self.skip(work),
                None => self.start(id, work),
            }
        }
        FileOperation {
            file: Rc::clone(self),
            id,
        }
    }

    /// Whether it takes appends only; `None` if that is unknown.
    fn appends(&self) -> Option<bool> {
        self.options.as_ref().map(FileOptions::appends)
    }

    /// Has the loop report an operation that has nothing to do.
    fn skip(&self, work: Work) {
        let nothing = work.nothing();
        self.reactor
            .soon(move |reactor| work.finish(reactor, Ok(nothing)));
    }

    /// Has the loop report that an operation is not performed.
    fn refuse(&self, work: Work, refusal: FileError) {
        self.reactor
            .soon(move |reactor| work.finish(reactor, Err(refusal)));
    }

    /// Performs an operation by the port, or else on a thread.
    fn start(self: &Rc<Self>, id: u64, mut work: Work) {
        let Some(handle) = self.handle.get() else {
            return self.refuse(work, FileError::Closed);
        };
        if !self.reactor.port().performs(work.call()) {
            return self.start_on_thread(id, work);
        }
        let request = Request::File(Box::new(work.request(&self.reactor)));
        let submitted = self
            .reactor
            .port_mut()
            .submit(handle, request, self.token.get());
        match submitted {
            Ok(operation) => self.note(id, Place::Port(operation), work),
            Err(source) => {
                let call = work.call().name();
                self.finish_soon(id, work, Failure::os(call, source));
            }
        }
    }

    fn note(&self, id: u64, place: Place, work: Work) {
        let mut state = self.state.borrow_mut();
        state.under_way.push(UnderWay { id, place, work });
    }

    /// Has the loop finish an operation that the port or the threads refused.
    fn finish_soon(self: &Rc<Self>, id: u64, work: Work, failure: Failure) {
        self.note(id, Place::Thread(Arc::default()), work);
        let file = Rc::clone(self);
        self.reactor.soon(move |_| {
            if let Some(under_way) = file.take(|one| one.id == id) {
                file.ended(under_way, Err(failure));
            }
        });
    }

    fn take(&self, is_it: impl Fn(&UnderWay) -> bool) -> Option<UnderWay> {
        let mut state = self.state.borrow_mut();
        let place = state.under_way.iter().position(is_it)?;
        Some(state.under_way.swap_remove(place))
    }

    /// Handles the end of what the port or a thread has performed. To be called from the loop.
    fn ended(self: &Rc<Self>, under_way: UnderWay, result: Result<FileOutcome, Failure>) {
        let UnderWay {
            id,
            place,
            mut work,
        } = under_way;
        let (appends, opens) = (work.appends(), work.opens());
        match result {
            Ok(FileOutcome::Written { bytes }) if work.note_written(bytes) => {
                return self.start(id, work);
            }
            // A port that took over from another one leaves this to the threads.
            Err(failure) if failure.is_unsupported() && matches!(place, Place::Port(_)) => {
                if opens {
                    self.open_on_thread(work);
                } else {
                    self.start_on_thread(id, work);
                }
                return;
            }
            Ok(outcome) => work.finish(&self.reactor, Ok(outcome)),
            Err(failure) => {
                let error = self.error_of(failure, work.written());
                work.finish(&self.reactor, Err(error));
            }
        }
        if appends {
            self.next_append();
        }
        if opens {
            // There is no file.
            self.leave(Stage::Closing);
        }
        self.close_if_idle();
    }

    fn next_append(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let next = state.appends.pop_front();
        state.appending = next.is_some();
        drop(state);
        if let Some((id, work)) = next {
            self.start(id, work);
        }
    }

    fn error_of(&self, failure: Failure, written: usize) -> FileError {
        match failure {
            Failure::Cancelled if self.state.borrow().stage == Stage::Stopping => {
                FileError::Stopped
            }
            Failure::Cancelled => FileError::Cancelled,
            Failure::Os { call, source } => FileError::Os {
                path: self.path.clone(),
                call,
                written: written as u64,
                source,
            },
        }
    }

    fn cancel(self: &Rc<Self>, id: u64) {
        let mut state = self.state.borrow_mut();
        if let Some(place) = state.appends.iter().position(|(other, _)| *other == id) {
            let waiting = state.appends.remove(place);
            drop(state);
            if let Some((_, work)) = waiting {
                self.refuse(work, FileError::Cancelled);
            }
            return;
        }
        match state.under_way.iter().find(|one| one.id == id) {
            Some(UnderWay {
                place: Place::Thread(cancelled),
                ..
            }) => cancelled.store(true, Ordering::Relaxed),
            Some(UnderWay {
                place: Place::Port(operation),
                ..
            }) => {
                self.reactor.port_mut().cancel(*operation);
            }
            None => {}
        }
    }

    /// Takes no more calls, and closes the file once it has no operation.
    fn leave(&self, stage: Stage) {
        let mut state = self.state.borrow_mut();
        if state.stage == Stage::Open {
            state.stage = stage;
        }
        drop(state);
        self.close_if_idle();
    }

    fn close_if_idle(&self) {
        let mut state = self.state.borrow_mut();
        let leaves = matches!(state.stage, Stage::Closing | Stage::Stopping);
        if !leaves || !state.under_way.is_empty() || !state.appends.is_empty() {
            return;
        }
        state.stage = Stage::Closed;
        drop(state);
        let closing = self.handle.take().map(|handle| {
            let mut port = self.reactor.port_mut();
            port.close(handle, CloseMode::Graceful, self.token.get())
        });
        // Without a handle, or in a forked copy, no completion follows.
        if !matches!(closing, Some(Ok(_))) && !self.reactor.is_copied() {
            self.reactor.unregister(self.token.get());
        }
    }

    /// Cancels what is left when the reactor stops, and waits no longer for threads.
    fn give_up(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let waiting = std::mem::take(&mut state.appends);
        let is_threads = |one: &UnderWay| matches!(one.place, Place::Thread(_));
        let all = std::mem::take(&mut state.under_way).into_iter();
        let (on_threads, on_port): (Vec<_>, Vec<_>) = all.partition(is_threads);
        state.under_way = on_port;
        let on_port: Vec<u64> = state.under_way.iter().map(|one| one.id).collect();
        drop(state);
        for id in on_port {
            self.cancel(id);
        }
        let on_threads = on_threads.into_iter().map(|one| {
            if let Place::Thread(cancelled) = one.place {
                cancelled.store(true, Ordering::Relaxed);
            }
            one.work
        });
        for work in on_threads.chain(waiting.into_iter().map(|(_, work)| work)) {
            work.finish(&self.reactor, Err(FileError::Stopped));
        }
        self.close_if_idle();
    }
}

impl Live for OpenFile {
    fn kind(&self) -> LiveKind {
        LiveKind::File
    }

    fn completed(self: Rc<Self>, completion: Completion) {
        if completion.kind == RequestKind::Close {
            return self.reactor.unregister(self.token.get());
        }
        let operation = completion.operation;
        let is_it = |one: &UnderWay| matches!(one.place, Place::Port(other) if other == operation);
        let Some(under_way) = self.take(is_it) else {
            return log::error!("a completion of a file that nobody awaits: {operation:?}");
        };
        // The operation keeps the bytes, so this drops none of them for good.
        self.reactor.discard(completion.unsent);
        match completion.result {
            Ok(Outcome::FileOpened) => self.opened(under_way.work),
            Ok(Outcome::File(outcome)) => self.ended(under_way, Ok(outcome)),
            Ok(other) => log::error!("unexpected outcome for a file: {other:?}"),
            Err(failure) => self.ended(under_way, Err(failure)),
        }
    }

    fn stop(self: Rc<Self>) {
        self.leave(Stage::Stopping);
        let file = Rc::clone(&self);
        self.reactor
            .call_later(STOP_PATIENCE, move |_| file.give_up());
    }

    fn abandon(&self) -> Option<String> {
        let mut state = self.state.borrow_mut();
        state.stage = Stage::Closed;
        let under_way = std::mem::take(&mut state.under_way);
        let appends = std::mem::take(&mut state.appends);
        drop(state);
        let works = under_way.into_iter().map(|one| one.work);
        for work in works.chain(appends.into_iter().map(|(_, work)| work)) {
            self.reactor
                .drop_guarded("the drop of a callback of a file", work);
        }
        None
    }
}
