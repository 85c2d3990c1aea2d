//! The log: a line of `key=value` pairs for each event, on standard error.
//!
//! A dedicated thread writes the log, so that a slow or stuck reader of standard error does not block the loop.
//! Memory for unwritten lines is bounded: the log drops further lines, and then logs how many it dropped.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};

/// Limit of bytes that wait to be written.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// At exit, the program waits at most this long for the log to be written.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

static LOG: Logfmt = Logfmt {
    pending: Mutex::new(Pending::new()),
    filled: Condvar::new(),
    written: Condvar::new(),
};

struct Logfmt {
    pending: Mutex<Pending>,
    filled: Condvar,
    written: Condvar,
}

/// Lines that are not written yet.
struct Pending {
    lines: String,
    dropped: u64,
    /// The thread is writing lines that it has already taken from here.
    writing: bool,
}

/// Starts to log events of `level` and above.
pub(crate) fn start(level: LevelFilter) -> io::Result<()> {
    let writer = thread::Builder::new().name("log".to_owned());
    writer.spawn(|| LOG.write_for_ever())?;
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

/// Waits until all lines are written, for at most [`FINISH_LIMIT`].
pub(crate) fn finish() {
    let waits = |pending: &mut Pending| pending.writing || !pending.lines.is_empty();
    // On a timeout nobody reads the log, and the rest is lost.
    drop(
        LOG.written
            .wait_timeout_while(LOG.pending(), FINISH_LIMIT, waits),
    );
}

impl Logfmt {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self) {
        loop {
            let empty = |pending: &mut Pending| pending.lines.is_empty();
            let waited = self.filled.wait_while(self.pending(), empty);
            let lines = waited.unwrap_or_else(PoisonError::into_inner).take();
            // The program works on without a log if standard error is closed.
            let _ = io::stderr().write_all(lines.as_bytes());
            self.pending().writing = false;
            self.written.notify_all();
        }
    }
}

impl Pending {
    const fn new() -> Pending {
        Pending {
            lines: String::new(),
            dropped: 0,
            writing: false,
        }
    }

    fn push(&mut self, line: &str) {
        if self.lines.len() + line.len() > PENDING_BYTES_MAX {
            self.dropped += 1;
        } else {
            self.lines.push_str(line);
        }
    }

    fn take(&mut self) -> String {
        self.writing = true;
        let mut lines = mem::take(&mut self.lines);
        let dropped = mem::take(&mut self.dropped);
        if dropped > 0 {
            let mut line = Line::new(
                "warn",
                "the log is not read fast enough: lines were dropped",
            );
            line.pair("dropped", &dropped.to_string());
            lines.push_str(&line.end());
        }
        lines
    }
}

impl Log for Logfmt {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = record.level().as_str().to_lowercase();
        let mut line = Line::new(&level, &record.args().to_string());
        // `Line` accepts every pair.
        let _ = record.key_values().visit(&mut line);
        self.pending().push(&line.end());
        self.filled.notify_one();
    }

    fn flush(&self) {}
}

struct Line(String);

impl Line {
    fn new(level: &str, message: &str) -> Line {
        let mut line = Line(format!("time={} level={level}", now()));
        line.pair("msg", message);
        line
    }

    fn end(mut self) -> String {
        self.0.push('\n');
        self.0
    }

    fn pair(&mut self, key: &str, value: &str) {
        let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '=';
        let bare = !value.is_empty() && value.chars().all(plain);
        // Writing to a string cannot fail.
        let _ = if bare {
            write!(self.0, " {key}={value}")
        } else {
            write!(self.0, " {key}={value:?}")
        };
    }
}

impl VisitSource<'_> for Line {
    fn visit_pair(&mut self, key: Key<'_>, value: Value<'_>) -> Result<(), kv::Error> {
        self.pair(key.as_str(), &value.to_string());
        Ok(())
    }
}

/// The time of day in UTC, in the format of RFC 3339.
#[expect(clippy::disallowed_methods, reason = "log lines carry the time of day")]
fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format_time(since.as_secs(), since.subsec_millis())
}

fn format_time(seconds: u64, millis: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's "civil from days" algorithm, for days since 1970. Its years begin in March, so that a leap
    // day is the last day of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::{Line, PENDING_BYTES_MAX, Pending, format_time};

    #[test]
    fn lines_beyond_the_limit_are_dropped_and_counted() {
        let mut pending = Pending::new();
        for _ in 0..3 {
            pending.push(&"x".repeat(PENDING_BYTES_MAX / 2));
        }
        pending.push("y");
        let lines = pending.take();
        assert!(lines.starts_with(&"x".repeat(PENDING_BYTES_MAX)));
        assert!(lines.ends_with(" dropped=2\n"));
        pending.push("z\n");
        assert_eq!(pending.take(), "z\n");
    }

    #[test]
    fn times_are_formatted_as_calendar_dates() {
        assert_eq!(format_time(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_time(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(format_time(1_735_689_599, 999), "2024-12-31T23:59:59.999Z");
    }

    #[test]
    fn values_with_spaces_or_control_characters_are_quoted() {
        let mut line = Line(String::new());
        line.pair("a", "127.0.0.1:1");
        line.pair("b", "two words\n\u{1b}");
        line.pair("c", "");
        assert_eq!(line.0, r#" a=127.0.0.1:1 b="two words\n\u{1b}" c="""#);
    }
}
