//! What the library logs, on its way to Python.
//!
//! A record may come from any thread, and while the library's state is borrowed: no Python runs there. It
//! is kept, and delivered by the next turn of a loop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

use crate::core::Loop;

/// What is logged while this many records wait to be delivered is lost.
const KEPT_MAX: usize = 1000;

struct Kept {
    level: Level,
    target: String,
    message: String,
}

/// The records that were not yet delivered.
struct Records {
    any: AtomicBool,
    kept: Mutex<VecDeque<Kept>>,
}

static RECORDS: Records = Records {
    any: AtomicBool::new(false),
    kept: Mutex::new(VecDeque::new()),
};

impl Log for Records {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let record = Kept {
            level: record.level(),
            target: record.target().to_owned(),
            message: record.args().to_string(),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push_back(record);
            self.any.store(true, Ordering::Release);
        }
    }

    fn flush(&self) {}
}

/// From here on, records are kept.
pub(crate) fn begin() {
    // Who set another logger before has the records.
    if log::set_logger(&RECORDS).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Tells Python of the records that came since the last time.
pub(crate) fn deliver(py: Python<'_>, inside: &Loop) {
    if !RECORDS.any.swap(false, Ordering::Acquire) {
        return;
    }
    let kept = {
        let mut kept = RECORDS.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *kept)
    };
    for record in kept {
        inside.tell(py, &inside.hooks.on_log, |hook| {
            hook.call1((
                record.level.as_str(),
                record.target.as_str(),
                record.message.as_str(),
            ))
        });
    }
}
