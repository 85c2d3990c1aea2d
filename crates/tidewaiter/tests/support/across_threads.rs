//! Moves values that belong to one thread to another.

#![expect(unsafe_code, reason = "these tests do what the types forbid")]

use std::thread;

/// A value on its way to another thread. Only one thread uses it at a time.
struct AssertSend<T>(T);

// SAFETY: `on_another_thread` blocks the thread that had the value until the other has returned it, so that no
// two threads ever use its parts at once.
unsafe impl<T> Send for AssertSend<T> {}

impl<T> AssertSend<T> {
    /// A method, so that closures capture the whole value rather than its field.
    fn unpack(self) -> T {
        self.0
    }
}

/// Calls `work` with `what` on another thread, and returns the result.
#[track_caller]
pub(crate) fn on_another_thread<T, R>(what: T, work: impl FnOnce(T) -> R) -> R {
    let moved = AssertSend((what, work));
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            let (what, work) = moved.unpack();
            AssertSend(work(what))
        });
        other
            .join()
            .expect("the other thread does not panic")
            .unpack()
    })
}
