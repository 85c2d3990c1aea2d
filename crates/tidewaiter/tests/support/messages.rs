//! What is logged, for tests of it.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static MESSAGES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what each thread logs for it.
struct Messages;

impl log::Log for Messages {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = format!("{}: {}", record.level(), record.args());
        MESSAGES.with_borrow_mut(|messages| messages.push(text));
    }

    fn flush(&self) {}
}

/// Keeps what is logged in this process from here on.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Messages).expect("there is no other one");
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// What this thread has logged since it was last asked, each message with its level.
pub(crate) fn take() -> Vec<String> {
    MESSAGES.take()
}
