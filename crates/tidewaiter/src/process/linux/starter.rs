//! The thread that starts the children that must not outlive this process.
//!
//! Linux sends a child its parent-death signal when the *thread* that started it ends, not the process. So these
//! children are started on a thread that never ends: one for the whole process, made for the first of them.

use std::io;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use crate::os::Origin;
use crate::process::unix::SignalsBlocked;

type Work = Box<dyn FnOnce() + Send>;

/// The thread, once it is needed.
static STARTER: Mutex<Option<Starter>> = Mutex::new(None);

struct Starter {
    /// A forked copy of this process does not have the thread.
    origin: Origin,
    requests: Sender<Work>,
}

impl Starter {
    fn new() -> io::Result<Starter> {
        let (requests, incoming) = channel::<Work>();
        let thread = std::thread::Builder::new().name("start children".to_owned());
        // The thread inherits the mask: signals are for the program's own threads.
        let blocked = SignalsBlocked::now()?;
        thread.spawn(move || incoming.into_iter().for_each(|work| work()))?;
        drop(blocked);
        Ok(Starter {
            origin: Origin::here()?,
            requests,
        })
    }
}

/// A value that is lent to the thread while its owner waits for it.
struct Lent<T>(T);

// SAFETY: `run` waits until the thread has dropped what it was lent, so only one thread uses it at a time.
unsafe impl<T> Send for Lent<T> {}

impl<T> Lent<T> {
    /// A method, so that closures capture the whole and not its field.
    fn into_inner(self) -> T {
        self.0
    }
}

/// Runs `work` on the thread, and returns its result.
///
/// # Errors
///
/// The thread cannot be started.
///
/// # Safety
///
/// It must not matter to `work` and its result which thread uses them.
pub(super) unsafe fn run<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let (results, result) = sync_channel(1);
    let lent = Lent((work, results));
    let work: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
        let (work, results): (_, SyncSender<Lent<T>>) = lent.into_inner();
        // An error would mean that the owner does not wait any more.
        let _ = results.send(Lent(work()));
    });
    // SAFETY: this function waits until the work is dropped, so nothing that it borrows ends before.
    let work = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Work>(work) };
    request(work)?;
    let ended = |_| io::Error::other("the thread that starts children has ended");
    result.recv().map(Lent::into_inner).map_err(ended)
}

/// Hands the work to the thread. If that fails, the work is dropped.
fn request(work: Work) -> io::Result<()> {
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    if starter.as_ref().is_none_or(|it| it.origin.is_elsewhere()) {
        *starter = Some(Starter::new()?);
    }
    let requests = &starter.as_ref().expect("just made").requests;
    let ended = |_| io::Error::other("the thread that starts children has ended");
    requests.send(work).map_err(ended)
}
