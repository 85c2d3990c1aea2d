//! Waits for a hang-up: the end of a connection in both directions, or of a pipe's reader.

use io_uring::{squeue, types};

use super::super::table::Table;
use super::super::{Failure, Outcome};
use super::entry::Entry;
use super::next::{Next, errno, failed};
use super::pending::{Pending, Work};
use super::ring::{Cqe, poll_repeatedly};

/// The kernel always polls for the peer's end-of-file too, so once the peer has ended, a single
/// poll would complete at once, over and over. A multishot poll reports changes only.
pub(super) fn start(descriptor: types::Fd) -> squeue::Entry {
    poll_repeatedly(descriptor, 0)
}

pub(super) fn finish(pending: &mut Pending, handles: &Table<Entry>, cqe: Cqe) -> Next {
    let Work::HangUp { seen } = &mut pending.work else {
        unreachable!("only waits for hang-ups are finished here");
    };
    let hang_up = i32::from(libc::POLLHUP | libc::POLLERR);
    *seen |= errno(cqe).is_none() && cqe.result & hang_up != 0;
    match (*seen, cqe.more(), errno(cqe)) {
        (_, true, _) => Next::GoOn(None),
        (false, false, Some(errno)) => failed(pending, errno),
        (false, false, None) => Next::Again(None),
        (true, false, _) => {
            let entry = handles
                .get(pending.handle)
                .expect("a handle outlives its operations");
            Next::End(hung_up(entry.socket().ok()))
        }
    }
}

/// Returns how a connection has ended: by a reset, or in order.
fn hung_up(socket: Option<&socket2::Socket>) -> Result<Outcome, Failure> {
    match socket.map_or(Ok(None), socket2::Socket::take_error) {
        Ok(None) => Ok(Outcome::HungUp),
        Ok(Some(error)) | Err(error) => Err(Failure::os("poll", error)),
    }
}
