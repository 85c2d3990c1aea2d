//! Waits for a hang-up: the end of a connection in both directions, or of a pipe's reader.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::super::source::Source;
use super::super::{Failure, Outcome};
use super::attempt::Attempt;
use super::entry::Entry;

/// A timeout of zero: polls without waiting.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

pub(super) fn attempt(entry: &mut Entry) -> Attempt {
    let mut asked = [PollFd::new(&entry.source, PollFlags::empty())];
    // An earlier report may date from before the socket was connected, so poll again.
    match poll(&mut asked, Some(&NOW)) {
        Ok(0) => {
            entry.hung_up = false;
            return Attempt::NotReady;
        }
        Ok(_) => {}
        Err(Errno::INTR | Errno::AGAIN) => return Attempt::NotReady,
        Err(error) => return Attempt::Last(Err(Failure::os("poll", error.into()))),
    }
    let error = match &entry.source {
        Source::Stream(socket) | Source::Duplex(socket) => socket.take_error(),
        _ => Ok(None),
    };
    Attempt::Last(match error {
        Ok(None) => Ok(Outcome::HungUp),
        Ok(Some(error)) | Err(error) => Err(Failure::os("poll", error)),
    })
}
