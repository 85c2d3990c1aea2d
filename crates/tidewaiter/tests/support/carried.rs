//! Taking what belongs to one thread to another.

#![expect(unsafe_code, reason = "what is to be shown is what the types cannot")]

use std::thread;

/// Something on its way to another thread: one thread uses it at a time.
struct Carried<T>(T);

// SAFETY: `on_another_thread` blocks the thread that had it until the other has given it back, so that
// nothing that is shared between its parts is ever used by two threads at once.
unsafe impl<T> Send for Carried<T> {}

impl<T> Carried<T> {
    /// By a method, so that closures capture the whole.
    fn unpack(self) -> T {
        self.0
    }
}

/// Does `work` on another thread, and returns what it made of `what`.
#[track_caller]
pub(crate) fn on_another_thread<T, R>(what: T, work: impl FnOnce(T) -> R) -> R {
    let there = Carried((what, work));
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            let (what, work) = there.unpack();
            Carried(work(what))
        });
        other.join().expect("the other thread succeeds").unpack()
    })
}
