use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn wakes() -> (Arc<Count>, Waker) {
    let count = Arc::<Count>::default();
    (Arc::clone(&count), Waker::from(count))
}

#[test]
fn receiving_pauses_once_at_much_and_goes_on_when_it_is_taken() {
    let (shared, much) = (Shared::default(), vec![b'x'; RECEIVED_MAX]);
    assert!(!shared.received(b"little"));
    assert!(shared.received(&much));
    assert!(!shared.received(b"more"), "it is paused already");
    let mut memory = Vec::new();
    let resumes = shared.0.wait(|state| state.take(&mut memory));
    assert_eq!((resumes, memory.len()), (true, much.len() + 10));
    memory.clear();
    assert!(!shared.received(b"again"));
    let resumes = shared.0.wait(|state| state.take(&mut memory));
    assert_eq!((resumes, &memory[..]), (false, &b"again"[..]));
}

#[test]
fn a_pipe_that_waits_keeps_little_memory() {
    let (shared, mut memory) = (Shared::default(), vec![0; SPARE_MAX + 1]);
    shared.received(&memory);
    memory.clear();
    assert!(shared.0.wait(|state| state.take(&mut memory).map(|_| true)));
    memory.clear();
    let (_, waker) = wakes();
    let context = Context::from_waker(&waker);
    let waits = shared.0.poll(&context, |state| state.take(&mut memory));
    assert!(waits.is_pending());
    let kept = shared.0.look(|state| state.received.capacity());
    assert_eq!((memory.capacity(), kept), (0, 0));
}

#[test]
fn gathered_bytes_pause_nothing_and_wake_nobody_before_the_end() {
    let (shared, much) = (Shared::default(), vec![b'x'; RECEIVED_MAX]);
    shared.0.change(|state| state.gathers = true);
    let (count, waker) = wakes();
    let context = Context::from_waker(&waker);
    assert!(shared.0.poll(&context, State::take_all).is_pending());
    assert!(!shared.received(&much));
    assert!(!shared.received(&much));
    assert_eq!(count.get(), 0);
    shared.close(&Reason::Done);
    assert_eq!(count.get(), 1);
    let Poll::Ready(all) = shared.0.poll(&context, State::take_all) else {
        panic!("the pipe has ended");
    };
    assert_eq!(all.len(), 2 * much.len());
}

#[test]
fn all_that_wait_are_woken_once_for_a_change() {
    let shared = Shared::default();
    let waiting = [wakes(), wakes(), wakes()];
    for (_, waker) in &waiting {
        let context = Context::from_waker(waker);
        for _ in 0..2 {
            let mut memory = Vec::new();
            let waits = shared.0.poll(&context, |state| state.take(&mut memory));
            assert!(waits.is_pending());
        }
    }
    shared.received(b"some");
    shared.received(b"more");
    assert_eq!(waiting.map(|(count, _)| count.get()), [1, 1, 1]);
}
