//! Panics of the program's own code: caught, told, and gone no further.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic carries may panic in turn when it is dropped, and what that carries, too. After so many it is
/// leaked.
const PAYLOADS_MAX: usize = 16;

/// Calls code of the program's. If it panics, returns the panic's message.
pub(crate) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    // Callers borrow nothing of ours meanwhile, so a panic leaves all of it whole.
    catch_unwind(AssertUnwindSafe(call)).map_err(into_message)
}

#[cold]
fn into_message(payload: Box<dyn Any + Send>) -> String {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned();
    discard(payload);
    message
}

/// Drops a value of the program's. A panic in that is logged.
pub(crate) fn drop_caught<T>(what: &str, value: T) {
    if let Err(message) = catch(|| drop(value)) {
        log::error!("{what} panicked: {message}");
    }
}

/// Drops what a panic carried.
#[expect(
    clippy::disallowed_methods,
    reason = "what panics at each attempt to drop it cannot be dropped"
)]
pub(crate) fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..PAYLOADS_MAX {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

#[cfg(test)]
mod tests {
    use super::{catch, drop_caught};

    /// A panic's payload whose drop panics with another one, `0` times more.
    struct Chain(usize);

    impl Drop for Chain {
        fn drop(&mut self) {
            if let Some(left) = self.0.checked_sub(1) {
                std::panic::panic_any(Chain(left));
            }
        }
    }

    #[test]
    fn a_panic_gives_its_message() {
        assert_eq!(catch(|| 5), Ok(5));
        assert_eq!(catch(|| panic!("text")), Err::<(), _>("text".to_owned()));
        let number = 7;
        assert_eq!(catch(|| panic!("{number}")), Err::<(), _>("7".to_owned()));
    }

    #[test]
    fn payloads_that_panic_when_dropped_go_no_further() {
        for length in [0, 1, 5, 1000] {
            let caught = catch(|| std::panic::panic_any(Chain(length)));
            assert_eq!(caught, Err::<(), _>("no message".to_owned()));
            drop_caught("a chain", Chain(length));
        }
    }
}
