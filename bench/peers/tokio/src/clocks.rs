//! Timers, and calls from another thread.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bench_common::threads::{self, Call};
use bench_common::timers::{self, Firings};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

pub(crate) async fn timers() -> io::Result<()> {
    let firings = Arc::new(Firings::default());
    let ended = Arc::new(Notify::new());
    let mut cancelled = Vec::new();
    for timer in timers::plan() {
        if timer.kept {
            let due = Instant::now() + timer.delay;
            let (firings, ended) = (Arc::clone(&firings), Arc::clone(&ended));
            let sleep = sleep(timer.delay);
            tokio::spawn(async move {
                sleep.await;
                if firings.fired(due) {
                    ended.notify_one();
                }
            });
        } else {
            cancelled.push(timers::arm(sleep(timer.delay)));
        }
    }
    // The tasks arm their timers when they first run.
    tokio::task::yield_now().await;
    firings.armed();
    drop(cancelled);
    firings.cancelled();
    ended.notified().await;
    Ok(())
}

pub(crate) async fn threads() -> io::Result<()> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Call>();
    threads::start(
        move |call| assert!(sender.send(call).is_ok(), "the loop runs"),
        // The thread drops the sender as it exits, which ends the loop.
        || {},
    );
    while let Some(call) = receiver.recv().await {
        call();
    }
    Ok(())
}
