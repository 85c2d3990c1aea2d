//! The first line of a script, which names the interpreter that runs it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest first line that is looked at, in bytes.
const LINE_MAX: u64 = 1024;

/// Ways to read a first line: a program, and the arguments before the script. They are tried in turn.
pub(super) type Readings = Vec<(String, Vec<String>)>;

/// Reads the first line of `file`. Returns no readings if it is not a script.
///
/// # Errors
///
/// The file cannot be read.
pub(super) fn readings(file: &Path) -> io::Result<Readings> {
    let mut start = Vec::new();
    File::open(file)?.take(LINE_MAX).read_to_end(&mut start)?;
    Ok(parse(&start))
}

/// Windows has no rule for such a line. The whole line may name a program, spaces included, as for Twisted; else it is
/// read as on Unix: a program, and all the rest as one argument. A program of Unix that is not there is looked for by
/// its last name, and `env` runs what it is given.
fn parse(start: &[u8]) -> Readings {
    let Some(line) = start.strip_prefix(b"#!") else {
        return Vec::new();
    };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    let mut readings = vec![(line.to_owned(), Vec::new())];
    let (program, rest) = match line.strip_prefix('"').and_then(|line| line.split_once('"')) {
        Some(split) => split,
        None => line.split_once(char::is_whitespace).unwrap_or((line, "")),
    };
    let rest = rest.trim();
    let arguments: Vec<_> = Some(rest.to_owned())
        .into_iter()
        .filter(|rest| !rest.is_empty())
        .collect();
    readings.push((program.to_owned(), arguments.clone()));
    if let Some((directory, name)) = program.rsplit_once('/')
        && (directory.is_empty() || directory.starts_with('/'))
    {
        match name {
            "env" => readings.extend(given_to_env(rest)),
            _ => readings.push((name.to_owned(), arguments)),
        }
    }
    readings.retain(|(program, _)| !program.is_empty());
    readings
}

fn given_to_env(rest: &str) -> Option<(String, Vec<String>)> {
    let rest = rest.strip_prefix("-S").unwrap_or(rest);
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(line: &str) -> Option<(String, Vec<String>)> {
        parse(line.as_bytes()).pop()
    }

    fn reading(program: &str, arguments: &[&str]) -> (String, Vec<String>) {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        (program.to_owned(), arguments.collect())
    }

    #[test]
    fn a_file_without_such_a_line_is_no_script() {
        for start in ["", "#", "#!", "#! \t\r\nx", " #!x", "MZ"] {
            assert_eq!(last(start), None, "{start:?}");
        }
    }

    #[test]
    fn the_whole_line_comes_first() {
        let line = b"#! C:\\Program Files\\x.exe -u \r\nsecond line";
        let expected = [
            reading(r"C:\Program Files\x.exe -u", &[]),
            reading(r"C:\Program", &[r"Files\x.exe -u"]),
        ];
        assert_eq!(parse(line), expected);
        let quoted = last("#!\"C:\\Program Files\\x.exe\" -u");
        assert_eq!(quoted, Some(reading(r"C:\Program Files\x.exe", &["-u"])));
    }

    #[test]
    fn a_program_of_unix_is_looked_for_by_its_name() {
        assert_eq!(last("#!/bin/sh -e x"), Some(reading("sh", &["-e x"])));
        assert_eq!(
            last("#!/usr/bin/env python3"),
            Some(reading("python3", &[]))
        );
        assert_eq!(
            last("#!/usr/bin/env -S perl -w -T"),
            Some(reading("perl", &["-w", "-T"]))
        );
        assert_eq!(last("#!/usr/bin/env"), Some(reading("/usr/bin/env", &[])));
        assert_eq!(last("#!bin/sh"), Some(reading("bin/sh", &[])));
    }
}
