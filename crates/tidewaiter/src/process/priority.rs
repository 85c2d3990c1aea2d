//! How much of the CPU a child gets while others want it.

/// How much of the CPU a child gets while others want it, as a nice value of Unix: from −20, the most, to 19, the
/// least. Windows has a class for each range of values.
///
/// | nice value | constant | class of Windows |
/// |---|---|---|
/// | 19 | [`IDLE`](Priority::IDLE) | `IDLE_PRIORITY_CLASS` |
/// | 10 to 18 | [`BELOW_NORMAL`](Priority::BELOW_NORMAL) (10) | `BELOW_NORMAL_PRIORITY_CLASS` |
/// | 0 to 9 | [`NORMAL`](Priority::NORMAL) (0) | `NORMAL_PRIORITY_CLASS` |
/// | −7 to −1 | [`ABOVE_NORMAL`](Priority::ABOVE_NORMAL) (−7) | `ABOVE_NORMAL_PRIORITY_CLASS` |
/// | −20 to −8 | [`HIGH`](Priority::HIGH) (−14) | `HIGH_PRIORITY_CLASS` |
///
/// The class of Windows for programs in real time is not given to any child, because such a program can keep the
/// whole system from running.
///
/// ```
/// use tidewaiter::process::{Command, Priority};
///
/// let command = Command::new("backup").priority(Priority::BELOW_NORMAL);
/// # let _ = command;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(i8);

impl Priority {
    /// Runs only while nobody else wants the CPU, or almost so.
    pub const IDLE: Priority = Priority(19);
    /// Less than other programs.
    pub const BELOW_NORMAL: Priority = Priority(10);
    /// As other programs.
    pub const NORMAL: Priority = Priority(0);
    /// More than other programs.
    pub const ABOVE_NORMAL: Priority = Priority(-7);
    /// Much more than other programs.
    pub const HIGH: Priority = Priority(-14);

    /// The priority of a nice value; values out of range mean the nearest one.
    #[must_use]
    pub const fn nice(value: i8) -> Priority {
        match value {
            ..-20 => Priority(-20),
            20.. => Priority(19),
            _ => Priority(value),
        }
    }

    /// Returns the nice value.
    #[must_use]
    pub const fn value(self) -> i8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Priority;

    #[test]
    fn values_out_of_range_mean_the_nearest() {
        for (given, kept) in [(i8::MIN, -20), (-20, -20), (3, 3), (19, 19), (i8::MAX, 19)] {
            assert_eq!(Priority::nice(given).value(), kept);
        }
    }
}
