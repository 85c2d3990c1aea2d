//! Calls from another thread, by a channel of the standard library and a waker.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use bench_common::threads::{self, Call};
use mio::{Events, Poll, Token, Waker};

/// Set by the last call.
static ENDED: AtomicBool = AtomicBool::new(false);

pub(crate) fn run() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), Token(0))?;
    let (sender, receiver) = mpsc::channel::<Call>();
    let post = move |call| {
        sender.send(call).expect("the loop runs");
        waker.wake().expect("the loop can be woken");
    };
    threads::start(post, || ENDED.store(true, Ordering::Relaxed));
    let mut events = Events::with_capacity(16);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for call in receiver.try_iter() {
            call();
        }
        if ENDED.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}
