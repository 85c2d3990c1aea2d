//! Timers, and calls from another thread.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bench_common::threads::{self, Call};
use bench_common::timers::{self, Firings};
use compio::time::sleep;
use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;

pub(crate) async fn timers() -> io::Result<()> {
    let firings = Rc::new(Firings::default());
    let (ended, end) = oneshot::channel();
    let ended = Rc::new(std::cell::Cell::new(Some(ended)));
    let mut cancelled = Vec::new();
    for timer in timers::plan() {
        if timer.kept {
            let due = Instant::now() + timer.delay;
            let (firings, ended) = (Rc::clone(&firings), Rc::clone(&ended));
            let sleep = sleep(timer.delay);
            let task = compio::runtime::spawn(async move {
                sleep.await;
                if firings.fired(due)
                    && let Some(ended) = ended.take()
                {
                    // The receiver still exists: the main task of the runtime holds it.
                    let _ = ended.send(());
                }
            });
            task.detach();
        } else {
            cancelled.push(timers::arm(sleep(timer.delay)));
        }
    }
    // The tasks arm their timers when they first run.
    sleep(Duration::from_millis(1)).await;
    firings.armed();
    drop(cancelled);
    firings.cancelled();
    end.await.map_err(io::Error::other)
}

pub(crate) async fn threads() -> io::Result<()> {
    let (sender, mut receiver) = mpsc::unbounded::<Call>();
    threads::start(
        move |call| sender.unbounded_send(call).expect("the loop runs"),
        // The thread drops the sender as it exits, which ends the loop.
        || {},
    );
    while let Some(call) = receiver.next().await {
        call();
    }
    Ok(())
}
