//! `cargo xtask paths`: counts the instructions of the hot paths by callgrind, and compares them with the record.
//!
//! The count of a program is the same in each run, even on a loaded machine. To make it comparable between machines,
//! this holds everything else that it depends on. The compiler is the oldest that we support, by its version number,
//! because `stable` changes every six weeks. The environment is empty. The C library uses the same copying routines
//! on every processor.

mod profile;
mod record;

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use crate::context::{Context, output};
use crate::install::{Tool, toolchain, tools};
use crate::machine::{oldest_rust, ring_allowed};
use crate::runner::{Step, Stop, Tally};
use record::{Cost, Line, Record, compare};

const PACKAGE: &str = "tidewaiter-paths";
const RECORD: &str = "bench/paths/instructions.csv";
const USAGE: &str = "\
usage: cargo xtask paths [--record | --profile PATH]

  counts the instructions of each hot path, and fails if one takes over 3 % more than recorded

  --record         writes a new record to bench/paths/instructions.csv
  --profile PATH   shows the functions in which a path spends its instructions
";

/// The function in which callgrind counts: see `bench/paths/src/meter.rs`.
const COUNTED: &str = "tidewaiter_paths::meter::counted*";

/// The C library has a copying routine for each generation of processors. This turns off all but the oldest, by the
/// names that old and new versions of the library know.
const ROUTINES: &str = "GLIBC_TUNABLES=glibc.cpu.hwcaps=\
    -AVX_Fast_Unaligned_Load,-AVX2,-AVX2_Usable,-AVX512F,-AVX512VL,-AVX512VL_Usable,-ERMS,-FSRM";

const VALGRIND: Tool = Tool {
    program: "valgrind",
    packages: &["valgrind"],
};

/// Runs the command.
pub(crate) fn run(context: &Context, options: &[String]) -> Result<bool, String> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let outcome = match options[..] {
        [] => check(context).map(drop),
        ["--record"] => make_record(context),
        ["--profile", name] => Program::build(context)
            .and_then(|program| profile::show(context, &program, program.find(name)?)),
        ["--help" | "-h"] => {
            print!("{USAGE}");
            return Ok(true);
        }
        _ => return Err(format!("`paths` has no such options\n\n{USAGE}")),
    };
    match outcome {
        Ok(()) => Ok(true),
        Err(Stop::Failed(reason)) => {
            println!("\n{reason}");
            Ok(false)
        }
        Err(Stop::Foreign(reason)) => Err(reason),
        Err(Stop::Missing { what, remedy }) => Err(format!("{what} (to get it: {remedy})")),
    }
}

/// Installs what the lane needs.
pub(crate) fn ready(context: &Context) -> Result<(), Stop> {
    if context.host != "x86_64-unknown-linux-gnu" {
        let what = format!("recorded for 64-bit x86 Linux, not for {}", context.host);
        return Err(Stop::Foreign(what));
    }
    tools(context, &[VALGRIND])?;
    toolchain(&oldest_rust(context)?)
}

/// Runs the lane: fails if a path costs more than allowed.
pub(crate) fn check(context: &Context) -> Result<Tally, Stop> {
    let file = context.root.join(RECORD);
    let text = std::fs::read_to_string(&file).map_err(|error| failed(RECORD, error))?;
    let recorded = Record::parse(&text).map_err(|error| failed(RECORD, error))?;
    let program = Program::build(context)?;
    let (measured, left_out) = program.measure(context)?;
    let lines = compare(&recorded, &measured.costs, &left_out);
    println!("\n{:<22} {:>9} {:>9}", "path", "recorded", "measured");
    for line in &lines {
        println!("{}", line.text());
    }
    if recorded.tools != measured.tools {
        println!("recorded with {}", recorded.tools);
        println!("measured with {}", measured.tools);
    }
    let wrong = lines.iter().filter(|line| line.finding.is_wrong());
    let wrong: Vec<String> = wrong.map(Line::complaint).collect();
    if wrong.is_empty() {
        return Ok(Tally::default());
    }
    Err(Stop::Failed(format!(
        "{}; `cargo xtask paths --profile PATH` shows where, `--record` accepts it",
        wrong.join("; ")
    )))
}

fn make_record(context: &Context) -> Result<(), Stop> {
    let program = Program::build(context)?;
    let (measured, left_out) = program.measure(context)?;
    if !left_out.is_empty() {
        let what = format!("a record needs all paths, without {}", left_out.join(", "));
        return Err(Stop::Failed(what));
    }
    let text = measured.text();
    std::fs::write(context.root.join(RECORD), &text).map_err(|error| failed(RECORD, error))?;
    println!("\n{RECORD}:\n{text}");
    Ok(())
}

fn failed(what: &str, error: impl std::fmt::Display) -> Stop {
    Stop::Failed(format!("{what}: {error}"))
}

/// A path, as the program lists it.
#[derive(Debug)]
struct Path {
    name: String,
    /// Number of operations that are counted.
    operations: f64,
    operation: String,
}

impl Path {
    fn parse(line: &str) -> Option<Path> {
        let mut parts = line.split('\t');
        Some(Path {
            name: parts.next()?.to_owned(),
            operations: parts.next()?.parse().ok()?,
            operation: parts.next()?.to_owned(),
        })
    }
}

/// The program `bench/paths`, which runs the paths.
struct Program {
    file: PathBuf,
    paths: Vec<Path>,
    /// The versions of the compiler, the C library, valgrind and the kernel.
    tools: String,
}

impl Program {
    /// Builds the program in release mode.
    fn build(context: &Context) -> Result<Program, Stop> {
        ready(context)?;
        let rust = oldest_rust(context)?;
        let target = context.target.join("paths");
        let cargo = ["run", &rust, "cargo", "build", "--release", "-p", PACKAGE];
        Step::new(context, "rustup", &cargo)
            .env("CARGO_TARGET_DIR", &target)
            .env("RUSTFLAGS", "")
            .run(context)?;
        let file = target.join("release").join(PACKAGE);
        let list = file.to_str().and_then(|file| output(file, &[]));
        let paths = list
            .as_deref()
            .and_then(|list| list.lines().map(Path::parse).collect())
            .ok_or_else(|| failed(PACKAGE, "cannot list its paths"))?;
        Ok(Program {
            file,
            paths,
            tools: tools_here(&rust),
        })
    }

    fn find(&self, name: &str) -> Result<&Path, Stop> {
        let path = self.paths.iter().find(|path| path.name == name);
        path.ok_or_else(|| {
            let names: Vec<&str> = self.paths.iter().map(|path| path.name.as_str()).collect();
            let names = names.join(", ");
            failed(name, format_args!("no such path; there are {names}"))
        })
    }

    /// Measures all paths whose port this machine has; also returns the names of the others.
    fn measure(&self, context: &Context) -> Result<(Record, Vec<String>), Stop> {
        let ring = ring_allowed();
        if let Err(Stop::Missing { what, .. }) = &ring {
            println!("left out: paths on uring, because {what}");
        }
        let possible = |path: &&Path| ring.is_ok() || !path.name.ends_with("-uring");
        let (paths, left_out): (Vec<_>, Vec<_>) = self.paths.iter().partition(possible);
        let next = AtomicUsize::new(0);
        let worker = || -> Result<Vec<Cost>, Stop> {
            let mut costs = Vec::new();
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                costs.push(self.cost(context, path)?);
            }
            Ok(costs)
        };
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
            let ended = running.into_iter().map(ScopedJoinHandle::join);
            ended.collect()
        });
        let mut costs = Vec::new();
        for outcome in outcomes {
            costs.extend(outcome.map_err(|_| failed(PACKAGE, "a worker panicked"))??);
        }
        costs.sort_by_key(|cost| self.paths.iter().position(|path| path.name == cost.path));
        let left_out = left_out.into_iter().map(|path| path.name.clone()).collect();
        let tools = self.tools.clone();
        Ok((Record { tools, costs }, left_out))
    }

    fn cost(&self, context: &Context, path: &Path) -> Result<Cost, Stop> {
        let name = path.name.clone();
        let counts = self.count(context, path)?;
        let counts = std::fs::read_to_string(&counts).map_err(|error| failed(&name, error))?;
        let instructions = total(&counts).ok_or_else(|| failed(&name, "nothing counted"))?;
        Ok(Cost {
            path: name,
            instructions: instructions / path.operations,
        })
    }

    /// Runs a path under callgrind; returns the file with the counts.
    fn count(&self, context: &Context, path: &Path) -> Result<PathBuf, Stop> {
        let counts = self.file.with_file_name(format!("{}.callgrind", path.name));
        let counts_option = format!("--callgrind-out-file={}", counts.display());
        let counted_option = format!("--toggle-collect={COUNTED}");
        // Valgrind warns in the log about system calls that it does not know. The port falls back to others then.
        let log_option = format!("--log-file={}.log", counts.display());
        // Clear the environment: children inherit it, and the instructions that copy it would count.
        let clean = ["-i", "PATH=/usr/local/bin:/usr/bin:/bin", ROUTINES];
        Step::new(context, "env", &clean)
            .args(&["valgrind", "--tool=callgrind", &log_option])
            .args(&[&counted_option, &counts_option])
            .path(&self.file)
            .args(&[&path.name])
            .run(context)?;
        Ok(counts)
    }
}

/// The versions of the tools on this machine that the counts depend on.
fn tools_here(rust: &str) -> String {
    let version = |program, arguments: &[&str]| {
        let version = output(program, arguments).unwrap_or_default();
        version.trim().replace('-', " ")
    };
    let library = version("getconf", &["GNU_LIBC_VERSION"]);
    let valgrind = version("valgrind", &["--version"]);
    let kernel = version("uname", &["-r"]);
    let kernel: Vec<&str> = kernel.split('.').take(2).collect();
    format!(
        "Rust {rust}, {library}, {valgrind}, Linux {}",
        kernel.join(".")
    )
}

/// The total that callgrind counted; `None` if it counted nothing.
fn total(counts: &str) -> Option<f64> {
    let mut lines = counts.lines();
    let total: f64 = lines
        .find_map(|line| line.strip_prefix("totals: "))?
        .parse()
        .ok()?;
    (total > 0.0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_parsed_and_must_not_be_zero() {
        let counts =
            |total| format!("events: Ir\nsummary: 12\n\nfn=(1) a\n1 12\ntotals: {total}\n");
        assert_eq!(total(&counts(12)), Some(12.0));
        assert_eq!(total(&counts(0)), None);
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn a_path_is_parsed_from_its_line() {
        let path = Path::parse("echo-64-poll\t1280\t64 bytes, sent back").expect("it is one");
        assert_eq!(
            (path.name.as_str(), path.operations),
            ("echo-64-poll", 1280.0)
        );
        assert_eq!(path.operation, "64 bytes, sent back");
        assert!(Path::parse("echo-64-poll\tmany\tbytes").is_none());
        assert!(Path::parse("").is_none());
    }
}
