//! Passes the library's log records to Python.
//!
//! The library may log on any thread, and while its state is borrowed, so no Python code may run then. Records are
//! queued, and the next turn of a loop delivers them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

use crate::core::hooks::Hooks;

/// While this many records are queued, further ones are dropped.
const QUEUED_MAX: usize = 1000;

struct QueuedRecord {
    level: Level,
    target: String,
    message: String,
}

/// The queue of records, as a logger.
struct Records {
    any: AtomicBool,
    queued: Mutex<VecDeque<QueuedRecord>>,
}

static RECORDS: Records = Records {
    any: AtomicBool::new(false),
    queued: Mutex::new(VecDeque::new()),
};

impl Log for Records {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let record = QueuedRecord {
            level: record.level(),
            target: record.target().to_owned(),
            message: record.args().to_string(),
        };
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        if queued.len() < QUEUED_MAX {
            queued.push_back(record);
            self.any.store(true, Ordering::Release);
        }
    }

    fn flush(&self) {}
}

/// Installs the queue as the process's logger.
pub(crate) fn begin() {
    // If the program has set a logger before, that one keeps getting the records.
    if log::set_logger(&RECORDS).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Passes the queued records to Python.
pub(super) fn deliver(py: Python<'_>, hooks: &Hooks) {
    if !RECORDS.any.swap(false, Ordering::Acquire) {
        return;
    }
    let queued = {
        let mut queued = RECORDS
            .queued
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *queued)
    };
    for record in queued {
        hooks.log(py, record.level.as_str(), &record.target, &record.message);
    }
}
