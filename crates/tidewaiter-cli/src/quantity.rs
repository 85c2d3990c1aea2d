//! Numbers with units, as options have them.

use std::str::FromStr;
use std::time::Duration;

use tidewaiter::process::TerminalSize;

use crate::failure::Failure;

/// Parses a number with a unit; without a unit it means seconds.
pub(crate) fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    let wrong = || {
        Failure::Usage(format!(
            "{option} {text:?} is not a duration such as 30s, 5m or 500ms"
        ))
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// Parses a number of bytes with a unit; without a unit it means bytes.
pub(crate) fn size(option: &str, text: &str) -> Result<u64, Failure> {
    let wrong = || {
        Failure::Usage(format!(
            "{option} {text:?} is not a size such as 512M or 2G"
        ))
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(wrong)
}

/// Parses the columns and rows of a terminal.
pub(crate) fn terminal_size(option: &str, text: &str) -> Result<TerminalSize, Failure> {
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    let numbers = text.split_once('x');
    let numbers = numbers.and_then(|(columns, rows)| Some((number(columns)?, number(rows)?)));
    match numbers {
        Some((columns, rows)) => Ok(TerminalSize { rows, columns }),
        None => Err(Failure::Usage(format!(
            "{option} {text:?} is not a size such as 80x24"
        ))),
    }
}

/// Parses an octal number, such as the permissions of a file.
pub(crate) fn octal(option: &str, text: &str, most: u32) -> Result<u32, Failure> {
    let number = u32::from_str_radix(text, 8).ok();
    let number = number.filter(|number| *number <= most && !text.starts_with('+'));
    number.ok_or_else(|| {
        Failure::Usage(format!(
            "{option} {text:?} is not an octal number such as 660, of at most {most:o}"
        ))
    })
}

/// Parses a number of things: at least one.
pub(crate) fn count<N: FromStr + Default + PartialOrd>(
    option: &str,
    text: &str,
) -> Result<N, Failure> {
    let number = text.parse().ok().filter(|number| *number > N::default());
    number.ok_or_else(|| Failure::Usage(format!("{option} {text:?} is not a number above 0")))
}

#[cfg(test)]
mod tests {
    use super::{count, duration, size, terminal_size};
    use std::time::Duration;

    #[test]
    fn durations_are_whole_numbers_with_an_optional_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("7", 7_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(
                duration("--grace", text).unwrap(),
                Duration::from_millis(millis),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "-1s",
            "1.5s",
            "3 s",
            "10d",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration("--grace", text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_whole_numbers_with_an_optional_unit() {
        for (text, bytes) in [("7", 7), ("2K", 2048), ("3M", 3 << 20), ("1G", 1 << 30)] {
            assert_eq!(size("--limit-memory", text).ok(), Some(bytes), "{text}");
        }
        for text in ["", "M", "0", "1.5G", "-1", "1T", "99999999999G", "1 M"] {
            assert!(size("--limit-memory", text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_size_of_a_terminal_is_columns_and_rows() {
        let size = terminal_size("--pty", "132x43").expect("a size");
        assert_eq!((size.columns, size.rows), (132, 43));
        for text in [
            "", "80", "80x", "x24", "0x24", "80x0", "80x24x1", "80x70000",
        ] {
            assert!(terminal_size("--pty", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_count_is_a_whole_number_above_zero() {
        assert_eq!(count::<u32>("--max-clients", "7").ok(), Some(7));
        for text in ["", "0", "-1", "1.5", "4294967296"] {
            assert!(count::<u32>("--max-clients", text).is_err(), "{text}");
        }
    }
}
