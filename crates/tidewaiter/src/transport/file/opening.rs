//! Opening files, and taking over files that are open.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::close_unawaited;
use super::blocking::failure;
use super::work::Work;
use super::{File, FileOperation, OpenFile, Place, Stage, State};
use crate::error::{Error, FileError};
use crate::os::{FileOptions, OsFile, file};
use crate::port::{Failure, FileCall, FileToOpen, Handle, Request, Resource, Token};
use crate::reactor::{Live, Reactor};

/// The only operation on a file that is being opened.
const OPENING: u64 = 0;

impl Reactor {
    /// Opens the file at `path`, and calls `done` with it.
    ///
    /// A directory can be opened to read on Unix, but not read. Opening a named pipe may take until it has another end:
    /// use [`FileOperation::cancel`] to wait no longer.
    ///
    /// Through io_uring, everything on files goes through the port. On Windows, reads and writes do; the rest, and
    /// everything on other systems, is done on up to 8 threads that the reactor keeps for files.
    ///
    /// ```
    /// use tidewaiter::{FileOptions, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.open_file("Cargo.toml", FileOptions::new(), |reactor, file| {
    ///     let reactor = reactor.clone();
    ///     match file {
    ///         Ok(file) => {
    ///             file.read_at(0, 100, move |_, bytes| {
    ///                 println!("it begins with {:?}", bytes);
    ///                 reactor.stop();
    ///             });
    ///         }
    ///         Err(error) => panic!("{error}"), // names the path
    ///     }
    /// });
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_file(
        &self,
        path: impl Into<PathBuf>,
        options: FileOptions,
        done: impl FnOnce(&Reactor, Result<File, FileError>) + 'static,
    ) -> FileOperation {
        let open = OpenFile::new(self, path.into(), Some(options));
        let work = Work::Open {
            done: Box::new(done),
        };
        let operation = FileOperation {
            file: Rc::clone(&open),
            id: OPENING,
        };
        match open.register() {
            Ok(()) => open.open(work),
            Err(_) => {
                open.state.borrow_mut().stage = Stage::Closed;
                open.refuse(work, FileError::Stopped);
            }
        }
        operation
    }

    /// Takes over a file that is open. `path` names it in errors. On Windows it must have been opened for overlapped
    /// I/O, and belongs to this reactor for good.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`], and [`Error::AdoptFile`] with the OS's reason if the port does not take the file: it is closed
    /// then.
    pub fn adopt_file(&self, file: std::fs::File, path: impl Into<PathBuf>) -> Result<File, Error> {
        let open = OpenFile::new(self, path.into(), None);
        open.register()?;
        match open.adopt(OsFile::new(file)) {
            Ok(handle) => {
                open.handle.set(Some(handle));
                Ok(File::of(&open))
            }
            Err(source) => {
                open.leave(Stage::Closing);
                Err(Error::AdoptFile {
                    path: open.path.clone(),
                    source,
                })
            }
        }
    }
}

impl OpenFile {
    fn new(reactor: &Reactor, path: PathBuf, options: Option<FileOptions>) -> Rc<OpenFile> {
        Rc::new(OpenFile {
            reactor: reactor.clone(),
            path,
            options,
            token: Cell::new(Token::default()),
            handle: Cell::new(None),
            shares: Cell::new(0),
            state: RefCell::new(State {
                stage: Stage::Open,
                last_id: OPENING,
                under_way: Vec::new(),
                appending: false,
                appends: VecDeque::new(),
            }),
        })
    }

    fn register(self: &Rc<Self>) -> Result<(), Error> {
        let token = self.reactor.register(Rc::clone(self) as Rc<dyn Live>)?;
        self.token.set(token);
        Ok(())
    }

    /// Opens the file by the port, or else on a thread.
    fn open(self: &Rc<Self>, work: Work) {
        if !self.reactor.port().performs(FileCall::Open) {
            return self.open_on_thread(work);
        }
        let mut port = self.reactor.port_mut();
        let submitted = port.unopened_file().and_then(|handle| {
            self.handle.set(Some(handle));
            let (path, options) = self.to_open();
            let request = Request::OpenFile(Box::new(FileToOpen { path, options }));
            port.submit(handle, request, self.token.get())
        });
        drop(port);
        match submitted {
            Ok(operation) => self.note(OPENING, Place::Port(operation), work),
            Err(source) => {
                let failure = Failure::os(FileCall::Open.name(), source);
                self.finish_soon(OPENING, work, failure);
            }
        }
    }

    fn to_open(&self) -> (PathBuf, FileOptions) {
        (self.path.clone(), self.options.clone().unwrap_or_default())
    }

    /// Opens the file on a thread.
    pub(super) fn open_on_thread(self: &Rc<Self>, work: Work) {
        if let Some(unopened) = self.handle.take() {
            close_unawaited(&self.reactor, unopened);
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let is_cancelled = Arc::clone(&cancelled);
        self.note(OPENING, Place::Thread(cancelled), work);
        let file = Rc::clone(self);
        let (path, options) = self.to_open();
        self.reactor.defer_to_file_thread(
            move || {
                let wanted = !is_cancelled.load(Ordering::Relaxed);
                wanted.then(|| file::open(&path, &options))
            },
            move |_, result| {
                let Some(under_way) = file.take(|one| one.id == OPENING) else {
                    return;
                };
                let adopted = failure(FileCall::Open, result).and_then(|os_file| {
                    let adopted = file.adopt(os_file);
                    adopted.map_err(|source| Failure::os("adopt", source))
                });
                match adopted {
                    Ok(handle) => {
                        file.handle.set(Some(handle));
                        file.opened(under_way.work);
                    }
                    Err(failure) => file.ended(under_way, Err(failure)),
                }
            },
        );
    }

    fn adopt(&self, file: OsFile) -> std::io::Result<Handle> {
        self.reactor.port_mut().adopt(Resource::File(file))
    }

    /// Passes the open file to the program, which closes it by dropping it.
    pub(super) fn opened(self: &Rc<Self>, work: Work) {
        let file = File::of(self);
        match work {
            Work::Open { done } => {
                self.reactor
                    .guard("the callback of a file", || done(&self.reactor, Ok(file)));
            }
            _ => log::error!("a file was opened twice"),
        }
        self.close_if_idle();
    }
}
