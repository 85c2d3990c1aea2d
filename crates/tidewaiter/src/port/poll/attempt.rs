//! The attempt at an operation: what it uses, and what comes of it.

use std::rc::Rc;

use std::cell::{OnceCell, RefCell, RefMut};

use super::super::buffer::{Lease, Pool};
use super::super::memory::wide_pool;
use super::super::messages::{SendTray, Tray};
use super::super::options::PortOptions;
use super::super::source::Source;
use super::super::{Failure, Outcome};
use super::sigpipe::Quiet;

/// The result of an attempt.
pub(super) enum Attempt {
    /// The operation waits for readiness.
    NotReady,
    /// A completion, after which the operation continues.
    More(Outcome),
    /// The last completion.
    Last(Result<Outcome, Failure>),
}

/// The result of a call: `None` if it would have blocked.
pub(super) type Called<T> = Result<Option<T>, Failure>;

/// The port's memory pools and the state of one round, for attempts to use.
pub(super) struct Tools {
    pub(super) pools: Rc<Pools>,
    /// Set by the round's first write to a pipe.
    pub(super) quiet: Option<Quiet>,
    /// The approximate number of bytes of memory that the round has used for receiving.
    pub(super) received: usize,
}

impl Tools {
    pub(super) fn new(pools: &Rc<Pools>) -> Tools {
        Tools {
            pools: Rc::clone(pools),
            quiet: None,
            received: 0,
        }
    }
}

/// Memory to receive into.
pub(super) struct Pools {
    /// For pipes: whole pages, which is what their writers fill.
    pipe: Rc<Pool>,
    /// For connections: somewhat larger, so that a message of exactly the usual size does not fill
    /// it. A full buffer would need another call to find out that nothing follows.
    connection: Rc<Pool>,
    /// For surges.
    wide: Rc<Pool>,
    /// For datagrams; made once there are any.
    tray: OnceCell<RefCell<Tray>>,
    send_tray: OnceCell<RefCell<SendTray>>,
}

impl Pools {
    pub(super) fn new(options: &PortOptions) -> Pools {
        let (bytes, spare) = (options.receive_bytes.max(1), options.receive_buffers.into());
        Pools {
            pipe: Pool::new(bytes, spare),
            connection: Pool::new(bytes.saturating_add(bytes / 16), spare),
            wide: wide_pool(options),
            tray: OnceCell::new(),
            send_tray: OnceCell::new(),
        }
    }

    pub(super) fn tray(&self) -> RefMut<'_, Tray> {
        self.tray
            .get_or_init(|| RefCell::new(Tray::new()))
            .borrow_mut()
    }

    pub(super) fn send_tray(&self) -> RefMut<'_, SendTray> {
        let tray = self.send_tray.get_or_init(|| RefCell::new(SendTray::new()));
        tray.borrow_mut()
    }

    #[inline(always)]
    pub(super) fn lease(&self, source: &Source, wide: bool) -> Lease {
        let pool = match source {
            _ if wide => &self.wide,
            // A packet must fit.
            Source::Packets(_) => &self.wide,
            Source::Stream(_) | Source::Duplex(_) => &self.connection,
            _ => &self.pipe,
        };
        pool.lease()
    }
}
