//! A readiness port that replaces another port and takes over everything, under the same keys.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use super::super::event::Event;
use super::super::file_sending::FileSending;
use super::super::foreign::Foreign;
use super::super::options::PortOptions;
use super::super::source::Source;
use super::super::table::{Key, Table};
use super::super::waker::Waker;
use super::super::{Completion, Operation, Request, Token};
use super::entry::{Direction, Entry};
use super::pending::{Pending, Work};
use super::selector::Selector;
use super::watch::{FOREIGN, NO_PLACE};
use super::{Driver, Place, PollPort, RequestKind, control, prepare};

/// The state that another port hands over. The OS must hold none of it.
pub(in super::super) struct Estate {
    pub(in super::super) handles: Table<Source>,
    pub(in super::super) operations: Table<Inherited>,
    pub(in super::super) foreign: Foreign,
    /// Completions to deliver.
    pub(in super::super) due: VecDeque<Completion>,
    pub(in super::super) stale: u64,
}

/// An operation to continue.
pub(in super::super) struct Inherited {
    pub(in super::super) handle: Key,
    pub(in super::super) token: Token,
    pub(in super::super) work: Legacy,
}

pub(in super::super) enum Legacy {
    /// Start or restart the request.
    Request(Request),
    /// Go on sending a file.
    SendFile(Box<FileSending>),
    /// Finish a connect that the OS has begun.
    Connecting,
    /// Continue a watch of a descriptor that the program owns.
    Watch,
}

/// A readiness port about to take over. Every step that can fail comes before `take_over`.
pub(in super::super) struct Successor {
    port: PollPort,
    /// Whether the selector watches each handle, in the order of the handles.
    watched: Vec<bool>,
}

impl Successor {
    /// Creates a port whose waits `waker` ends through `event`.
    pub(in super::super) fn new(
        options: &PortOptions,
        reason: String,
        event: Event,
        waker: Waker,
    ) -> io::Result<Successor> {
        let selector = Selector::with(event)?;
        Ok(Successor {
            port: PollPort::over(options, reason, selector, waker),
            watched: Vec::new(),
        })
    }

    /// Watches the next handle; `descriptor` is `None` for one that is always ready.
    pub(in super::super) fn watch(
        &mut self,
        key: Key,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let watched = match descriptor {
            Some(descriptor) => {
                // Calls on a connection do not block in any case, and others may share it.
                if rustix::net::getpeername(descriptor).is_err() {
                    control::unblock(descriptor)?;
                }
                self.port.selector.add(descriptor, key)?
            }
            None => false,
        };
        self.watched.push(watched);
        Ok(())
    }

    /// Watches the set of descriptors that the program owns.
    pub(in super::super) fn watch_foreign(&mut self, foreign: &Foreign) -> io::Result<()> {
        let set = foreign.descriptor();
        set.map_or(Ok(()), |set| self.port.selector.add_level(set, FOREIGN))
    }

    /// Takes everything over.
    pub(in super::super) fn take_over(self, estate: Estate) -> Box<dyn Driver> {
        let Successor { mut port, watched } = self;
        let mut watched = watched.into_iter();
        port.handles = estate.handles.map(|_, source| {
            // The source was opened or adopted before, so the OS refuses nothing now.
            let short_is_all = prepare(&source).unwrap_or(false);
            let mut entry = Entry::new(source, short_is_all);
            entry.watched = watched.next().unwrap_or(false);
            entry
        });
        port.operations = estate
            .operations
            .map(|key, inherited| port.go_on_with(key, inherited));
        port.foreign = estate.foreign;
        port.closing = count(&estate.due, |one| one.kind == RequestKind::Close);
        port.inherited = count(&estate.due, |one| !one.more);
        port.finished = estate.due;
        port.stale = estate.stale;
        Box::new(port)
    }
}

fn count(due: &VecDeque<Completion>, is_one: impl Fn(&Completion) -> bool) -> usize {
    due.iter().filter(|completion| is_one(completion)).count()
}

impl PollPort {
    fn go_on_with(&mut self, key: Key, inherited: Inherited) -> Place {
        let Inherited {
            handle,
            token,
            work,
        } = inherited;
        let operation = Operation(key);
        let (direction, pending) = match work {
            Legacy::Request(request) => {
                let direction = Direction::of(&request);
                let source = self.handles.get(handle).map(|entry| entry.source.kind());
                let source = source.expect("a handle outlives its operations");
                let work = Work::of(request, source);
                let pending = Pending {
                    operation,
                    token,
                    work,
                };
                (direction, pending)
            }
            Legacy::SendFile(sending) => {
                let work = Work::SendFile(sending);
                let pending = Pending {
                    operation,
                    token,
                    work,
                };
                (Direction::Output, pending)
            }
            Legacy::Connecting => {
                let work = Work::Connecting;
                let pending = Pending {
                    operation,
                    token,
                    work,
                };
                (Direction::Output, pending)
            }
            Legacy::Watch => return NO_PLACE,
        };
        let entry = self.handles.get_mut(handle);
        let entry = entry.expect("a handle outlives its operations");
        entry.start(direction, pending);
        match direction {
            Direction::Output => self.fresh.push_back(handle),
            Direction::Input | Direction::HangUp => self.queue_if_ready(handle),
        }
        Place {
            handle,
            direction: Some(direction),
        }
    }
}
