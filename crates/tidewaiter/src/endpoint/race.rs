//! temp
use std::{io, net::SocketAddr, time::{Duration, Instant}};
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AttemptId(usize);
pub(crate) enum Step { Connect(SocketAddr, AttemptId), WaitUntil(Instant), Wait, Failed { address: SocketAddr, error: io::Error } }
pub(crate) struct Race { list: Vec<SocketAddr>, next: usize, err: Option<(SocketAddr, io::Error)>, busy: bool }
impl Race {
    pub(crate) fn new(list: Vec<SocketAddr>, _d: Duration) -> Race { Race { list, next: 0, err: None, busy: false } }
    pub(crate) fn next(&mut self, _now: Instant) -> Step {
        if self.busy { return Step::Wait; }
        if self.next < self.list.len() { self.next += 1; self.busy = true; return Step::Connect(self.list[self.next-1], AttemptId(self.next-1)); }
        let (address, error) = self.err.take().unwrap(); Step::Failed { address, error }
    }
    pub(crate) fn failed(&mut self, id: AttemptId, error: io::Error, _now: Instant) { self.busy = false; self.err = Some((self.list[id.0], error)); }
}
