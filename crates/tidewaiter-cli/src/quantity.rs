//! Numbers with units, as options have them.

use std::time::Duration;

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

#[cfg(test)]
mod tests {
    use super::duration;
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
}
