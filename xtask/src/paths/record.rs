//! The recorded costs of the hot paths, and the comparison with new measurements.

use std::fmt::Write;

/// A path may cost this much more than recorded, in percent.
pub(super) const ALLOWED_PERCENT: f64 = 3.0;

/// The cost of one operation of a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) path: String,
    /// Instructions per operation.
    pub(super) instructions: f64,
}

/// The costs of all paths, and the tools that measured them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) tools: String,
    pub(super) costs: Vec<Cost>,
}

const TOOLS: &str = "# Made by `cargo xtask paths --record` with ";
const COLUMNS: &str = "path,instructions per operation";

impl Record {
    pub(super) fn parse(text: &str) -> Result<Record, String> {
        let mut lines = text.lines();
        let tools = lines.next().and_then(|line| line.strip_prefix(TOOLS));
        let tools = tools.ok_or_else(|| format!("does not begin with `{TOOLS}`"))?;
        if lines.next() != Some(COLUMNS) {
            return Err(format!("line 2 is not `{COLUMNS}`"));
        }
        let costs = lines.map(|line| {
            let (path, instructions) = line.split_once(',')?;
            let path = path.to_owned();
            let instructions = instructions.parse().ok()?;
            Some(Cost { path, instructions })
        });
        let costs: Option<Vec<Cost>> = costs.collect();
        Ok(Record {
            tools: tools.to_owned(),
            costs: costs.ok_or("a line is not a path, a comma and a number")?,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{TOOLS}{}\n{COLUMNS}\n", self.tools);
        for Cost { path, instructions } in &self.costs {
            writeln!(text, "{path},{instructions:.1}").expect("memory takes it");
        }
        text
    }

    fn cost(&self, path: &str) -> Option<f64> {
        let cost = self.costs.iter().find(|cost| cost.path == path);
        cost.map(|cost| cost.instructions)
    }
}

/// The result of comparing one path. The numbers are the change in percent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    /// The change is within the limit.
    Same(f64),
    /// The path costs more than allowed.
    Dearer(f64),
    /// The path costs so much less that a new record is due.
    Cheaper(f64),
    /// The record does not have the path.
    Unrecorded,
    /// The record has a path that no longer exists.
    Gone,
}

impl Finding {
    /// Whether this makes the check fail.
    pub(super) fn is_wrong(&self) -> bool {
        !matches!(self, Finding::Same(_) | Finding::Cheaper(_))
    }

    fn text(&self) -> String {
        match self {
            Finding::Same(percent) => format!("{percent:+.2} %"),
            Finding::Dearer(percent) => {
                format!("{percent:+.2} %: COSTS MORE, {ALLOWED_PERCENT} % is allowed")
            }
            Finding::Cheaper(percent) => format!("{percent:+.2} %: costs less, update the record"),
            Finding::Unrecorded => "NOT RECORDED".to_owned(),
            Finding::Gone => "RECORDED, but the path does not exist".to_owned(),
        }
    }
}

/// A path with its recorded and its measured cost.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) path: String,
    pub(super) recorded: Option<f64>,
    pub(super) measured: Option<f64>,
    pub(super) finding: Finding,
}

impl Line {
    pub(super) fn text(&self) -> String {
        let figure = |figure: Option<f64>| figure.map_or("-".to_owned(), |f| format!("{f:.1}"));
        let (recorded, measured) = (figure(self.recorded), figure(self.measured));
        let finding = self.finding.text();
        format!("{:<22} {recorded:>9} {measured:>9}  {finding}", self.path)
    }

    /// A failed comparison as part of a sentence.
    pub(super) fn complaint(&self) -> String {
        let path = &self.path;
        match (&self.finding, self.recorded, self.measured) {
            (Finding::Dearer(percent), Some(recorded), Some(measured)) => {
                format!("{path} {percent:+.2} % ({measured:.1} instead of {recorded:.1})")
            }
            (finding, ..) => format!("{path} {}", finding.text()),
        }
    }
}

/// Compares measured with recorded costs, ignoring paths that were left out on purpose.
pub(super) fn compare(recorded: &Record, measured: &[Cost], left_out: &[String]) -> Vec<Line> {
    let mut lines: Vec<Line> = measured
        .iter()
        .map(|cost| {
            let recorded = recorded.cost(&cost.path);
            Line {
                path: cost.path.clone(),
                recorded,
                measured: Some(cost.instructions),
                finding: judge(recorded, cost.instructions),
            }
        })
        .collect();
    let is_known =
        |path: &String| left_out.contains(path) || measured.iter().any(|cost| cost.path == *path);
    let gone = recorded.costs.iter().filter(|cost| !is_known(&cost.path));
    lines.extend(gone.map(|cost| Line {
        path: cost.path.clone(),
        recorded: Some(cost.instructions),
        measured: None,
        finding: Finding::Gone,
    }));
    lines
}

fn judge(recorded: Option<f64>, measured: f64) -> Finding {
    let Some(recorded) = recorded else {
        return Finding::Unrecorded;
    };
    // A recorded cost of 0 gives infinity or NaN, and both are too much.
    let percent = (measured - recorded) / recorded * 100.0;
    if percent.is_nan() || percent > ALLOWED_PERCENT {
        Finding::Dearer(percent)
    } else if percent < -ALLOWED_PERCENT {
        Finding::Cheaper(percent)
    } else {
        Finding::Same(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(path: &str, instructions: f64) -> Cost {
        let path = path.to_owned();
        Cost { path, instructions }
    }

    fn record(costs: &[Cost]) -> Record {
        Record {
            tools: "Rust 1.0".to_owned(),
            costs: costs.to_vec(),
        }
    }

    fn finding(recorded: f64, measured: f64) -> Finding {
        let lines = compare(&record(&[cost("a", recorded)]), &[cost("a", measured)], &[]);
        lines.into_iter().next().expect("there is one").finding
    }

    #[test]
    fn a_written_record_parses_to_the_same_record() {
        let written = record(&[cost("echo", 1234.5), cost("churn", 7.0)]);
        assert_eq!(Record::parse(&written.text()), Ok(written));
        for text in ["", "a,1\n", "# by hand\npath,instructions per operation\n"] {
            assert!(Record::parse(text).is_err(), "{text:?}");
        }
        let text = record(&[]).text();
        assert!(Record::parse(&format!("{text}echo\n")).is_err());
        assert!(Record::parse(&format!("{text}echo,many\n")).is_err());
    }

    #[test]
    fn more_than_three_percent_more_is_wrong_and_less_is_reported() {
        assert_eq!(finding(1000.0, 1030.0), Finding::Same(3.0));
        assert!(matches!(finding(1000.0, 1030.1), Finding::Dearer(_)));
        assert_eq!(finding(1000.0, 970.0), Finding::Same(-3.0));
        assert!(matches!(finding(1000.0, 969.9), Finding::Cheaper(_)));
        assert!(finding(1000.0, 1031.0).is_wrong());
        assert!(!finding(1000.0, 1030.0).is_wrong());
        assert!(!finding(1000.0, 500.0).is_wrong());
        // A recorded cost of 0 allows no cost at all.
        assert!(finding(0.0, 0.0).is_wrong());
        assert!(finding(0.0, 1.0).is_wrong());
    }

    #[test]
    fn a_path_without_a_record_and_a_record_without_a_path_are_wrong() {
        let recorded = record(&[cost("old", 1.0), cost("elsewhere", 1.0)]);
        let lines = compare(&recorded, &[cost("new", 1.0)], &["elsewhere".to_owned()]);
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.path.as_str(), &line.finding))
            .collect();
        assert_eq!(
            found,
            [("new", &Finding::Unrecorded), ("old", &Finding::Gone)]
        );
        assert!(lines.iter().all(|line| line.finding.is_wrong()));
    }

    #[test]
    fn a_line_names_path_record_measurement_and_percentage() {
        let lines = compare(
            &record(&[cost("echo", 1000.0)]),
            &[cost("echo", 1100.0)],
            &[],
        );
        for text in [lines[0].text(), lines[0].complaint()] {
            for part in ["echo", "1000.0", "1100.0", "+10.00 %"] {
                assert!(text.contains(part), "{text}");
            }
        }
    }
}
