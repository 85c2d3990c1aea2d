//! `cargo xtask test`: runs the lanes one after another, some beside others, and prints a summary.

use std::time::{Duration, Instant};

use crate::beside::{self, Beside, Told};
use crate::context::Context;
use crate::lanes::{LANES, Lane, Need};
use crate::runner::{Stop, Tally};

/// The heading of the table, with the empty line before it.
const SUMMARY: &str = "\n==== summary\n";

/// The options of `test`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) install: bool,
    require_all: bool,
    list: bool,
    only: Vec<String>,
}

impl Options {
    pub(crate) fn everything() -> Options {
        Options {
            require_all: true,
            ..Options::default()
        }
    }

    pub(crate) fn parse(words: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--require-all" => options.require_all = true,
                "--list" => options.list = true,
                "--install" => options.install = true,
                "--only" => {
                    let names = words.next().ok_or("--only needs the names of lanes")?;
                    options.only.extend(names.split(',').map(str::to_owned));
                }
                other => return Err(format!("`test` has no option `{other}`")),
            }
        }
        match options
            .only
            .iter()
            .find(|name| LANES.iter().all(|lane| lane.name != **name))
        {
            Some(name) => Err(format!("unknown lane `{name}`: see --list")),
            None => Ok(options),
        }
    }

    fn selected(&self) -> impl Iterator<Item = &'static Lane> {
        LANES
            .iter()
            .filter(|lane| self.only.iter().any(|name| name == lane.name) || self.only.is_empty())
    }
}

/// Runs the selected lanes; returns whether none has failed.
pub(crate) fn run(context: &Context, options: &Options) -> Result<bool, String> {
    if options.list {
        for lane in options.selected() {
            println!(
                "{:<15} {:<9} {}",
                lane.name,
                format!("{:?}", lane.need),
                lane.what
            );
        }
        return Ok(true);
    }
    let has_company = options.selected().any(|lane| lane.name == beside::FROM);
    let (mut besides, others): (Vec<_>, Vec<_>) = options
        .selected()
        .partition(|lane| has_company && beside::NAMES.contains(&lane.name));
    let mut running = None;
    let mut lines = Vec::new();
    for lane in others {
        if lane.name == beside::FROM {
            let started = Beside::start(context, std::mem::take(&mut besides), options.require_all);
            running = Some(started.map_err(|error| format!("lanes beside others: {error}"))?);
        }
        println!("\n==== {}: {}", lane.name, lane.what);
        let started = Instant::now();
        let outcome = (lane.run)(context);
        let line = Line::new(lane, outcome, started.elapsed(), options.require_all);
        println!("==== {}", line.text());
        lines.push(line);
    }
    for told in running.map(Beside::join).into_iter().flatten() {
        print!("{}", told.output.split(SUMMARY).next().unwrap_or_default());
        lines.push(Line::of(&told));
    }
    Ok(sum_up(&lines))
}

/// The outcome of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    NotRun,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::NotRun => "NOT RUN",
        }
    }
}

/// The line for one lane in the summary.
#[derive(Debug)]
struct Line {
    name: &'static str,
    verdict: Verdict,
    took: Duration,
    remark: String,
}

impl Line {
    fn new(lane: &Lane, outcome: Result<Tally, Stop>, took: Duration, require_all: bool) -> Line {
        let (verdict, remark) = match outcome {
            Ok(tally) => (Verdict::Passed, tests(tally)),
            Err(Stop::Failed(reason)) => (Verdict::Failed, reason),
            Err(Stop::Foreign(reason)) => (Verdict::NotRun, reason),
            Err(Stop::Missing { what, remedy }) => {
                let remark = format!("{what} (to get it: {remedy})");
                if require_all && lane.need == Need::Required {
                    (Verdict::Failed, format!("required, but {remark}"))
                } else {
                    (Verdict::NotRun, remark)
                }
            }
        };
        Line {
            name: lane.name,
            verdict,
            took,
            remark,
        }
    }

    /// Reads the line with which a lane in a process of its own ended. Without one, the lane has failed.
    fn of(told: &Told) -> Line {
        let failed = || Line {
            name: told.lane.name,
            verdict: Verdict::Failed,
            took: Duration::ZERO,
            remark: "it printed no result".to_owned(),
        };
        let text = told.output.split(SUMMARY).nth(1);
        let text = text.and_then(|text| text.strip_prefix(told.lane.name));
        let text = text.map(|text| text.split("\n\n").next().unwrap_or(text).trim());
        text.and_then(|text| Line::read(told.lane.name, text))
            .unwrap_or_else(failed)
    }

    /// Reads what `text` writes after the name.
    fn read(name: &'static str, text: &str) -> Option<Line> {
        let verdicts = [Verdict::Passed, Verdict::Failed, Verdict::NotRun];
        let (verdict, rest) = verdicts
            .into_iter()
            .find_map(|verdict| Some((verdict, text.strip_prefix(verdict.word())?)))?;
        let (seconds, remark) = rest.trim_start().split_once(" s")?;
        Some(Line {
            name,
            verdict,
            took: Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
            remark: remark.trim().to_owned(),
        })
    }

    fn text(&self) -> String {
        let verdict = self.verdict.word();
        let seconds = self.took.as_secs_f64();
        format!(
            "{:<15} {verdict:<8} {seconds:>6.1} s  {}",
            self.name, self.remark
        )
        .trim_end()
        .to_owned()
    }
}

fn tests(tally: Tally) -> String {
    let counts = [
        (tally.passed, "tests"),
        (tally.ignored, "ignored"),
        (tally.flaky, "passed when run again"),
    ];
    let told: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    told.join(", ")
}

/// Prints the table, and as the last line the totals, which programs can parse.
fn sum_up(lines: &[Line]) -> bool {
    print!("{SUMMARY}");
    for line in lines {
        println!("{}", line.text());
    }
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let failed = count(Verdict::Failed);
    println!(
        "\n{} passed, {failed} failed, {} skipped",
        count(Verdict::Passed),
        count(Verdict::NotRun)
    );
    failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str) -> &'static Lane {
        LANES
            .iter()
            .find(|lane| lane.name == name)
            .expect("a lane of this name")
    }

    fn verdict(name: &str, stop: Stop, require_all: bool) -> Verdict {
        Line::new(lane(name), Err(stop), Duration::ZERO, require_all).verdict
    }

    #[test]
    fn a_missing_tool_fails_a_required_lane_only_with_require_all() {
        let missing = || Stop::missing("no tool", "get it");
        assert_eq!(verdict("windows", missing(), true), Verdict::Failed);
        assert_eq!(verdict("windows", missing(), false), Verdict::NotRun);
        assert_eq!(verdict("miri", missing(), true), Verdict::NotRun);
    }

    #[test]
    fn a_failure_always_fails_a_lane_and_a_foreign_lane_never_fails() {
        assert_eq!(
            verdict("miri", Stop::Failed(String::new()), false),
            Verdict::Failed
        );
        assert_eq!(
            verdict("uring", Stop::Foreign(String::new()), true),
            Verdict::NotRun
        );
    }

    #[test]
    fn one_failed_lane_fails_the_summary() {
        let line = |verdict| Line {
            name: "fmt",
            verdict,
            took: Duration::ZERO,
            remark: String::new(),
        };
        assert!(sum_up(&[line(Verdict::Passed), line(Verdict::NotRun)]));
        assert!(!sum_up(&[line(Verdict::Passed), line(Verdict::Failed)]));
    }

    #[test]
    fn the_summary_counts_tests_by_what_came_of_them() {
        let mut tally = Tally::default();
        assert_eq!(tests(tally), "");
        tally.passed = 3;
        assert_eq!(tests(tally), "3 tests");
        (tally.ignored, tally.flaky) = (2, 1);
        assert_eq!(tests(tally), "3 tests, 2 ignored, 1 passed when run again");
    }

    #[test]
    fn a_lane_in_a_process_of_its_own_is_read_as_it_was_written() {
        let name = "miri";
        for (verdict, remark) in [
            (Verdict::Passed, "74 tests"),
            (
                Verdict::Failed,
                "`cargo miri`: exit code 1\n    port::fails\n      | left: 1",
            ),
            (Verdict::NotRun, ""),
        ] {
            let took = Duration::from_millis(7100);
            let line = Line {
                name,
                verdict,
                took,
                remark: remark.to_owned(),
            };
            let output = format!(
                "much\n\n==== summary\n{}\n\n1 passed, 0 failed\n",
                line.text()
            );
            let read = Line::of(&Told {
                lane: lane(name),
                output,
            });
            assert_eq!(
                (read.verdict, read.took, read.remark),
                (verdict, took, line.remark)
            );
        }
    }

    #[test]
    fn a_lane_in_a_process_of_its_own_that_says_nothing_has_failed() {
        for output in [
            "",
            "\n==== summary\n",
            "\n==== summary\nmiri            passed  \n\n",
        ] {
            let line = Line::of(&Told {
                lane: lane("miri"),
                output: output.to_owned(),
            });
            assert_eq!(line.verdict, Verdict::Failed, "{output:?}");
        }
    }

    #[test]
    fn options_must_name_known_lanes() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let options = Options::parse(&words("--require-all --only fmt,tidy")).expect("it is valid");
        assert_eq!(
            options.selected().map(|lane| lane.name).collect::<Vec<_>>(),
            ["fmt", "tidy"]
        );
        assert!(Options::parse(&words("--only nothing")).is_err());
        assert!(Options::parse(&words("--only")).is_err());
        assert!(Options::parse(&words("--fast")).is_err());
    }
}
