//! The one thread that waits for all children.

use std::io;
use std::process;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;

use tidewaiter::{Reactor, Remote};

/// The thread of the process with this number. A copy that a fork makes has no such thread, and starts its own.
static THREAD: Mutex<Option<(u32, Remote)>> = Mutex::new(None);

/// The way to the thread, which is started if there is none.
pub(crate) fn remote() -> io::Result<Remote> {
    // Nothing that may panic changes the value.
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    match &*thread {
        Some((id, remote)) if *id == process::id() => Ok(remote.clone()),
        _ => {
            let remote = start()?;
            *thread = Some((process::id(), remote.clone()));
            Ok(remote)
        }
    }
}

fn start() -> io::Result<Remote> {
    let (sends, started) = mpsc::sync_channel(1);
    let name = "tidewaiter-process".to_owned();
    thread::Builder::new().name(name).spawn(move || {
        let reactor = match Reactor::builder().signals(false).build() {
            Ok(reactor) => reactor,
            Err(error) => return drop(sends.send(Err(error))),
        };
        // The other end waits for this.
        let _ = sends.send(Ok(reactor.remote()));
        if let Err(error) = reactor.run() {
            log::error!("the thread of child processes ended: {error}");
        }
    })?;
    let panicked = |_| io::Error::other("the thread of child processes panicked");
    started.recv().map_err(panicked)?
}
