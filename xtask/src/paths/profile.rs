//! Shows in which functions and files a path spends its instructions.

use std::collections::HashMap;

use super::{Path, Program, failed};
use crate::context::{Context, output};
use crate::runner::Stop;

/// Number of lines in each table.
const LINES: usize = 20;

/// The cost of a function, or of the part of it that was inlined from one file.
#[derive(Debug)]
struct Part {
    instructions: u64,
    file: String,
    function: String,
}

/// Prints the functions and files that take most of a path's instructions.
pub(super) fn show(context: &Context, program: &Program, path: &Path) -> Result<(), Stop> {
    let counts = program.count(context, path)?;
    let report = |option| {
        let counts = counts.to_str()?;
        let options = [option, "--auto=no", "--threshold=100", counts];
        let report = output("callgrind_annotate", &options)?;
        Some(report.lines().filter_map(Part::parse).collect::<Vec<_>>())
    };
    let missing = || failed("callgrind_annotate", "it fails, or is not installed");
    let own = report("--inclusive=no").ok_or_else(missing)?;
    let whole = report("--inclusive=yes").ok_or_else(missing)?;
    let total = own.iter().map(|part| part.instructions).sum();
    println!("\n{}: {}", path.name, path.operation);
    let table = |title: &str, sums: Vec<(&str, u64)>| {
        println!("\ninstructions per operation, {title}");
        for (name, instructions) in sums.into_iter().take(LINES) {
            let instructions = f64::from(u32::try_from(instructions).unwrap_or(u32::MAX));
            println!("{:>10.1}  {name}", instructions / path.operations);
        }
    };
    table("by function, with its callees", calls(&whole, total));
    let sums = ranked(&own, |part| &part.function, |sum, more| sum + more);
    table("by function, without its callees", sums);
    let sums = ranked(&own, |part| &part.file, |sum, more| sum + more);
    table("by file", sums);
    Ok(())
}

impl Part {
    /// Parses a line such as `1,234 ( 5.67%)  folder/file.rs:function [program]`; `None` for any other line.
    fn parse(line: &str) -> Option<Part> {
        let (count, place) = line.trim_start().split_once(" (")?;
        let instructions = count.replace(',', "").parse().ok()?;
        let (_, place) = place.split_once("%)")?;
        let place = place.trim().split(" [").next()?;
        let (file, function) = place.split_once(':')?;
        // Keep the file name and the folder that contains it.
        let folder = file.rmatch_indices('/').nth(1);
        Some(Part {
            instructions,
            file: file[folder.map_or(0, |(at, _)| at + 1)..].to_owned(),
            function: function.to_owned(),
        })
    }
}

/// Costs of functions including their callees, without the functions that contain the whole count.
fn calls(parts: &[Part], total: u64) -> Vec<(&str, u64)> {
    // A function has a part for each file that is inlined into it. The largest part is the function as a whole.
    let mut calls = ranked(parts, |part| &part.function, u64::max);
    calls.retain(|(function, instructions)| {
        *instructions < total && !function.starts_with("tidewaiter_paths::")
    });
    calls
}

/// Combines parts of the same name by `add`; the largest comes first.
fn ranked(
    parts: &[Part],
    name: impl Fn(&Part) -> &str,
    add: impl Fn(u64, u64) -> u64,
) -> Vec<(&str, u64)> {
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for part in parts {
        let sum = sums.entry(name(part)).or_default();
        *sum = add(*sum, part.instructions);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Ir            file:function
1,300 (100.0%)  PROGRAM TOTALS
1,000 (76.92%)  a/src/reactor/turn.rs:tidewaiter::turn [paths]
  200 (15.38%)  a/src/reactor/mod.rs:tidewaiter::wait [paths]
  100 ( 7.69%)  a/src/reactor/mod.rs:tidewaiter::turn [paths]
";

    fn parts() -> Vec<Part> {
        REPORT.lines().filter_map(Part::parse).collect()
    }

    #[test]
    fn headings_and_totals_are_skipped() {
        assert_eq!(parts().len(), 3);
    }

    #[test]
    fn inlined_parts_are_summed_by_function_and_by_file() {
        let parts = parts();
        let functions = ranked(&parts, |part| &part.function, |sum, more| sum + more);
        assert_eq!(
            functions,
            [("tidewaiter::turn", 1100), ("tidewaiter::wait", 200)]
        );
        let files = ranked(&parts, |part| &part.file, |sum, more| sum + more);
        assert_eq!(files, [("reactor/turn.rs", 1000), ("reactor/mod.rs", 300)]);
    }

    #[test]
    fn functions_around_the_counted_one_are_left_out() {
        assert_eq!(calls(&parts(), 1000), [("tidewaiter::wait", 200)]);
    }
}
