//! The log: a line of `key=value` pairs for each event, on standard error.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};

struct Logfmt;

/// Sends the log to standard error, from `level` up.
pub(crate) fn start(level: LevelFilter) {
    if log::set_logger(&Logfmt).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Logfmt {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = Line(format!(
            "time={} level={}",
            now(),
            record.level().as_str().to_lowercase()
        ));
        line.pair("msg", &record.args().to_string());
        // A line never refuses a pair.
        let _ = record.key_values().visit(&mut line);
        line.0.push('\n');
        // In one piece; and if nobody reads the log, the program goes on all the same.
        let _ = io::stderr().write_all(line.0.as_bytes());
    }

    fn flush(&self) {}
}

struct Line(String);

impl Line {
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

/// The time of day in UTC, as RFC 3339 writes it.
#[expect(clippy::disallowed_methods, reason = "a log tells the time of day")]
fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format_time(since.as_secs(), since.subsec_millis())
}

fn format_time(seconds: u64, millis: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's "civil from days", for days since 1970: years begin in March, so that leap days
    // come last.
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
    use super::{Line, format_time};

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(format_time(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_time(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(format_time(1_735_689_599, 999), "2024-12-31T23:59:59.999Z");
    }

    #[test]
    fn values_are_quoted_when_they_must_be() {
        let mut line = Line(String::new());
        line.pair("a", "127.0.0.1:1");
        line.pair("b", "two words\n\u{1b}");
        line.pair("c", "");
        assert_eq!(line.0, r#" a=127.0.0.1:1 b="two words\n\u{1b}" c="""#);
    }
}
