//! The workload with calls from another thread: first many at once, then one at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::tell;
use crate::watch::{Watch, quantile_us};

const CALLS: u64 = 1_000_000;
const SINGLE_CALLS: u64 = 10_000;
/// Pause between single calls, long enough for the loop to go to sleep again.
const PAUSE: Duration = Duration::from_micros(50);

/// A call as a boxed closure, for runtimes whose channels carry one type.
pub type Call = Box<dyn FnOnce() + Send>;

/// Sends calls into a loop.
pub trait Post: Send + 'static {
    /// Sends `call` into the loop, which then runs it.
    fn post(&mut self, call: impl FnOnce() + Send + 'static);
}

impl<F: FnMut(Call) + Send + 'static> Post for F {
    fn post(&mut self, call: impl FnOnce() + Send + 'static) {
        self(Box::new(call));
    }
}

#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
}

/// Starts the thread that sends calls by `way` and reports the result. Its last call is `stop`; then it drops `way`.
pub fn start(
    mut way: impl Post,
    stop: impl FnOnce() + Send + 'static,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let seen = Arc::new(Seen::default());
        tell::begin();
        let (rate, cpu_us) = many(&mut way, &seen);
        one_by_one(&mut way, &seen);
        let mut latencies = seen.latencies.lock().expect("no holder of the lock panics");
        tell::result(&[
            ("value", rate),
            ("cpu_us", cpu_us),
            ("p50_us", quantile_us(&mut latencies, 0.5)),
            ("p99_us", quantile_us(&mut latencies, 0.99)),
            ("p999_us", quantile_us(&mut latencies, 0.999)),
        ]);
        way.post(stop);
    })
}

/// Sends calls as fast as it can. Returns calls per second, and the CPU of both threads per call.
fn many(way: &mut impl Post, seen: &Arc<Seen>) -> (f64, f64) {
    let watch = Watch::new();
    for _ in 0..CALLS {
        let seen = Arc::clone(seen);
        way.post(move || {
            seen.calls.fetch_add(1, Ordering::Release);
        });
    }
    let (last, awaited) = mpsc::channel();
    way.post(move || last.send(()).expect("the receiver waits"));
    awaited.recv().expect("the loop runs all calls");
    assert_eq!(seen.calls.load(Ordering::Acquire), CALLS);
    let calls = CALLS as f64;
    (calls / watch.wall_us() * 1e6, watch.cpu_us() / calls)
}

/// Sends each call to a sleeping loop, and measures the time until the call runs.
fn one_by_one(way: &mut impl Post, seen: &Arc<Seen>) {
    for number in 1..=SINGLE_CALLS {
        let call_seen = Arc::clone(seen);
        let posted = Instant::now();
        way.post(move || {
            let latency = posted.elapsed();
            let mut latencies = call_seen
                .latencies
                .lock()
                .expect("no holder of the lock panics");
            latencies.push(latency);
            call_seen.calls.fetch_add(1, Ordering::Release);
        });
        while seen.calls.load(Ordering::Acquire) < CALLS + number {
            std::hint::spin_loop();
        }
        let again = Instant::now() + PAUSE;
        while Instant::now() < again {
            std::hint::spin_loop();
        }
    }
}
