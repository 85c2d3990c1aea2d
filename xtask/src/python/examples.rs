//! The Python examples. Each is a program that ends by itself, and says where it runs in a comment.

use crate::context::Context;
use crate::runner::{Step, Stop, Tally};

const FOLDER: &str = "examples/python";

/// What the comment starts with; the names of systems follow.
const COMMENT: &str = "# Runs on: ";

/// Runs those that are for `system`, by its name in Rust, with what `command` makes of their path.
pub(super) fn run(
    context: &Context,
    system: &str,
    command: impl Fn(&str) -> Step,
) -> Result<Tally, Stop> {
    let mut tally = Tally::default();
    for name in names(context)? {
        let example = format!("{FOLDER}/{name}");
        let text = std::fs::read_to_string(context.root.join(&example))
            .map_err(|error| Stop::Failed(format!("cannot read {example}: {error}")))?;
        if systems(&text)
            .ok_or_else(|| Stop::Failed(format!("{example} has no line `{COMMENT}…`")))?
            .any(|name| name.eq_ignore_ascii_case(system))
        {
            command(&example).run(context)?;
            tally.passed += 1;
        }
    }
    Ok(tally)
}

fn names(context: &Context) -> Result<Vec<String>, Stop> {
    let entries = std::fs::read_dir(context.root.join(FOLDER))
        .map_err(|error| Stop::Failed(format!("cannot list {FOLDER}: {error}")))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".py"))
        .collect();
    names.sort();
    Ok(names)
}

/// The systems that the comment names.
fn systems(text: &str) -> Option<impl Iterator<Item = &str>> {
    let line = text.lines().find_map(|line| line.strip_prefix(COMMENT))?;
    Some(
        line.split(',')
            .map(|name| name.trim().trim_end_matches('.')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_says_where_it_runs() {
        let text = "#!/usr/bin/env python\n# Runs on: Linux, macOS, Windows.\nprint(1)\n";
        let found: Vec<&str> = systems(text).expect("it says so").collect();
        assert_eq!(found, ["Linux", "macOS", "Windows"]);
        assert!(systems("print(1)\n").is_none());
    }
}
