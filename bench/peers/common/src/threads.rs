//! Calls that another thread brings into the loop: many at once, then one at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::tell;
use crate::watch::{Watch, quantile_us};

const CALLS: u64 = 1_000_000;
const SINGLE_CALLS: u64 = 10_000;
/// Long enough for an idle loop to wait again.
const PAUSE: Duration = Duration::from_micros(50);

/// What is brought into the loop, where closures of any kind have to be made one.
pub type Call = Box<dyn FnOnce() + Send>;

/// The way into a loop.
pub trait Post: Send + 'static {
    /// Brings `call` into the loop.
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

/// Starts the thread. The last call is `stop`, when the result is told; `way` is dropped then.
pub fn start(
    mut way: impl Post,
    stop: impl FnOnce() + Send + 'static,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let seen = Arc::new(Seen::default());
        tell::begin();
        let (rate, cpu_us) = many(&mut way, &seen);
        one_by_one(&mut way, &seen);
        let mut latencies = seen.latencies.lock().expect("nobody panics in here");
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

/// Posts as fast as it can; calls per second, and the CPU of both threads per call.
fn many(way: &mut impl Post, seen: &Arc<Seen>) -> (f64, f64) {
    let watch = Watch::new();
    for _ in 0..CALLS {
        let seen = Arc::clone(seen);
        way.post(move || {
            seen.calls.fetch_add(1, Ordering::Release);
        });
    }
    let (last, awaited) = mpsc::channel();
    way.post(move || last.send(()).expect("it is awaited"));
    awaited.recv().expect("calls run in their order");
    assert_eq!(seen.calls.load(Ordering::Acquire), CALLS);
    let calls = CALLS as f64;
    (calls / watch.wall_us() * 1e6, watch.cpu_us() / calls)
}

/// Posts to a loop that waits, and notes how long each call takes to begin.
fn one_by_one(way: &mut impl Post, seen: &Arc<Seen>) {
    for number in 1..=SINGLE_CALLS {
        let call_seen = Arc::clone(seen);
        let posted = Instant::now();
        way.post(move || {
            let latency = posted.elapsed();
            let mut latencies = call_seen.latencies.lock().expect("nobody panics in here");
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
