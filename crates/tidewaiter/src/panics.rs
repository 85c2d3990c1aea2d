//! Catches panics in the program's own code, so that they do not unwind through ours.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic's payload may panic when it is dropped, and so may the payload of that panic. We leak the payload
/// after this many.
const PAYLOADS_MAX: usize = 16;

/// Calls the program's code. If it panics, returns the panic's message.
pub(crate) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, String> {
    // The callers hold no borrow of our state during the call, so a panic leaves our state consistent.
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

/// Drops a value that the program owns. If the drop panics, logs the panic.
pub(crate) fn drop_caught<T>(what: &str, value: T) {
    if let Err(message) = catch(|| drop(value)) {
        log::error!("{what} panicked: {message}");
    }
}

/// Drops a panic's payload.
#[expect(
    clippy::disallowed_methods,
    reason = "a payload that panics on every drop can only be leaked"
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

    /// A panic's payload whose drop panics with another `Chain`; the field says how many more times.
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

    fn check_chain(length: usize) {
        let caught = catch(|| std::panic::panic_any(Chain(length)));
        assert_eq!(caught, Err::<(), _>("no message".to_owned()));
        drop_caught("a chain", Chain(length));
    }

    #[test]
    fn payloads_that_panic_when_dropped_go_no_further() {
        for length in [0, 1, 5] {
            check_chain(length);
        }
    }

    #[test]
    fn a_payload_that_panics_whenever_it_is_dropped_is_leaked() {
        check_chain(1000);
    }
}
