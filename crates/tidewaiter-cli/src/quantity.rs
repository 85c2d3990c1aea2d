//! Numbers with units, as options have them.

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
    let (number, unit) = number(option, text, wrong)?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let seconds = number.checked_mul(seconds).map(Duration::from_secs);
    seconds.ok_or_else(|| too_large(option, text))
}

/// Parses a number of bytes with a unit; without a unit it means bytes.
pub(crate) fn size(option: &str, text: &str) -> Result<u64, Failure> {
    let wrong = || {
        Failure::Usage(format!(
            "{option} {text:?} is not a size such as 512M or 2G"
        ))
    };
    let (number, unit) = number(option, text, wrong)?;
    let unit: u64 = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(wrong()),
    };
    match number.checked_mul(unit) {
        Some(0) => Err(wrong()),
        bytes => bytes.ok_or_else(|| too_large(option, text)),
    }
}

/// Splits a text into its number and its unit.
fn number<'a>(
    option: &str,
    text: &'a str,
    wrong: impl FnOnce() -> Failure,
) -> Result<(u64, &'a str), Failure> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    match number.parse() {
        Ok(number) => Ok((number, unit)),
        Err(_) if number.is_empty() => Err(wrong()),
        Err(_) => Err(too_large(option, text)),
    }
}

fn too_large(option: &str, text: &str) -> Failure {
    Failure::Usage(format!("{option} {text:?} is too large"))
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
pub(crate) fn count<N: TryFrom<u64>>(option: &str, text: &str) -> Result<N, Failure> {
    let wrong = || Failure::Usage(format!("{option} {text:?} is not a number above 0"));
    match number(option, text, wrong)? {
        (0, _) => Err(wrong()),
        (number, "") => N::try_from(number).map_err(|_| too_large(option, text)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, count, duration, size, terminal_size};
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

    #[test]
    fn a_number_that_is_too_large_is_called_so() {
        const NINES: &str = "99999999999999999999";
        for refused in [
            duration("-x", NINES).err(),
            duration("-x", "18446744073709551615h").err(),
            size("-x", NINES).err(),
            size("-x", "99999999999G").err(),
            count::<u64>("-x", NINES).err(),
            count::<u32>("-x", "4294967296").err(),
        ] {
            let Some(Failure::Usage(reason)) = refused else {
                panic!("it is too large");
            };
            assert!(reason.ends_with("is too large"), "{reason}");
        }
    }
}
