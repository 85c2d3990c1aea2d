//! Collects log messages, for tests of them.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static MESSAGES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the messages that each thread logs.
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

/// Keeps the messages that this process logs from here on.
pub(crate) fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Messages).expect("there is no other one");
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// Returns the messages that this thread has logged since the last call, each with its level.
pub(crate) fn take() -> Vec<String> {
    MESSAGES.take()
}
