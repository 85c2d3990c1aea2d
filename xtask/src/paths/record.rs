//! What the hot paths cost when it was last recorded, and how that compares.

use std::fmt::Write;

/// How much more than recorded a path may cost, in percent.
pub(super) const ALLOWED_PERCENT: f64 = 3.0;

/// What one operation of a path costs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) path: String,
    /// Per operation.
    pub(super) instructions: f64,
}

/// The costs of all paths, and what they were measured with.
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

/// What a comparison found of one path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    /// As recorded, within what is allowed; by how many percent it is more.
    Same(f64),
    /// By how many percent it costs more than recorded, which is too much.
    Dearer(f64),
    /// By how many percent it costs less, so much that the record is to be made anew.
    Cheaper(f64),
    /// There is no record of it.
    Unrecorded,
    /// The record has it, but there is no such path.
    Gone,
}

impl Finding {
    /// Whether the check fails for it.
    pub(super) fn is_wrong(&self) -> bool {
        !matches!(self, Finding::Same(_) | Finding::Cheaper(_))
    }

    fn text(&self) -> String {
        match self {
            Finding::Same(percent) => format!("{percent:+.2} %"),
            Finding::Dearer(percent) => {
                format!("{percent:+.2} %: COSTS MORE, {ALLOWED_PERCENT} % is allowed")
            }
            Finding::Cheaper(percent) => format!("{percent:+.2} %: costs less, record it"),
            Finding::Unrecorded => "NOT RECORDED".to_owned(),
            Finding::Gone => "RECORDED, but there is no such path".to_owned(),
        }
    }
}

/// A path with what was recorded of it and what is measured now.
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

    /// The same as part of a sentence, of one that is wrong.
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

/// Compares what was measured with what was recorded, but for what was left out on purpose.
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
    // Nothing is more than nothing by infinitely many percent.
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
    fn what_is_written_is_read_again() {
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
    fn more_than_three_percent_more_is_wrong_and_less_is_told() {
        assert_eq!(finding(1000.0, 1030.0), Finding::Same(3.0));
        assert!(matches!(finding(1000.0, 1030.1), Finding::Dearer(_)));
        assert_eq!(finding(1000.0, 970.0), Finding::Same(-3.0));
        assert!(matches!(finding(1000.0, 969.9), Finding::Cheaper(_)));
        assert!(finding(1000.0, 1031.0).is_wrong());
        assert!(!finding(1000.0, 1030.0).is_wrong());
        assert!(!finding(1000.0, 500.0).is_wrong());
        // A record of nothing allows nothing.
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
