//! Code that both floors share: a simple heap of deadlines, and a simple queue of calls. Each floor provides the wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::threads::{self, Call};
use crate::timers::{self, Firings};

/// Deadlines, the earliest first.
struct Deadlines {
    started: Instant,
    /// Pairs of the deadline, in nanoseconds since the start, and the number of the timer.
    heap: BinaryHeap<Reverse<(u64, u32)>>,
    /// Whether each timer is cancelled. Cancelled timers stay in the heap until they are more than half of it.
    cancelled: Vec<bool>,
    cancelled_in_heap: usize,
}

impl Deadlines {
    fn new() -> Deadlines {
        Deadlines {
            started: Instant::now(),
            heap: BinaryHeap::new(),
            cancelled: Vec::new(),
            cancelled_in_heap: 0,
        }
    }

    fn arm(&mut self, delay: Duration) -> u32 {
        let number = u32::try_from(self.cancelled.len()).expect("there are a million");
        self.cancelled.push(false);
        let due = nanoseconds(self.started.elapsed() + delay);
        self.heap.push(Reverse((due, number)));
        number
    }

    fn cancel(&mut self, number: u32) {
        self.cancelled[number as usize] = true;
        self.cancelled_in_heap += 1;
        if self.cancelled_in_heap * 2 > self.heap.len() {
            let cancelled = &self.cancelled;
            self.heap
                .retain(|Reverse((_, number))| !cancelled[*number as usize]);
            self.cancelled_in_heap = 0;
        }
    }

    /// Removes the earliest deadline if it is due.
    fn pop(&mut self, now: u64) -> Option<Instant> {
        loop {
            let Reverse((due, number)) = *self.heap.peek()?;
            if due > now {
                return None;
            }
            self.heap.pop();
            if !self.cancelled[number as usize] {
                return Some(self.started + Duration::from_nanos(due));
            }
            self.cancelled_in_heap -= 1;
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("it is some seconds")
}

/// Runs the workload with timers. `wait` blocks for at most the given time.
///
/// # Errors
///
/// Those of `wait`.
pub fn timers(mut wait: impl FnMut(Duration) -> io::Result<()>) -> io::Result<()> {
    let firings = Firings::default();
    let mut deadlines = Deadlines::new();
    let mut unkept = Vec::new();
    for timer in timers::plan() {
        let number = deadlines.arm(timer.delay);
        if !timer.kept {
            unkept.push(number);
        }
    }
    firings.armed();
    for number in unkept {
        deadlines.cancel(number);
    }
    firings.cancelled();
    loop {
        let now = nanoseconds(deadlines.started.elapsed());
        while let Some(due) = deadlines.pop(now) {
            if firings.fired(due) {
                return Ok(());
            }
        }
        if let Some(Reverse((due, _))) = deadlines.heap.peek() {
            wait(Duration::from_nanos(due - now))?;
        }
    }
}

/// Runs the workload with calls from another thread. That thread calls `wake` when the queue was empty, to end `wait`.
///
/// # Errors
///
/// Those of `wait`.
pub fn threads(
    wake: impl Fn() + Send + 'static,
    mut wait: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let queue = Arc::new(Mutex::new(Vec::<Call>::new()));
    let posted = Arc::clone(&queue);
    let post = move |call| {
        let mut queue = posted.lock().expect("no holder of the lock panics");
        queue.push(call);
        let first = queue.len() == 1;
        drop(queue);
        if first {
            wake();
        }
    };
    let ended = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&ended);
    threads::start(post, move || stop.store(true, Ordering::Relaxed));
    let mut calls = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        wait()?;
        std::mem::swap(
            &mut calls,
            &mut *queue.lock().expect("no holder of the lock panics"),
        );
        for call in calls.drain(..) {
            call();
        }
    }
    Ok(())
}
