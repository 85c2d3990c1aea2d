//! Lanes that run beside others: they measure no time, and fill the pauses of lanes that wait for something.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use crate::context::{Context, has};
use crate::lanes::Lane;

/// The lanes that run beside others.
pub(crate) const NAMES: &[&str] = &[
    "builds",
    "clippy",
    "clippy-windows",
    "loom",
    "miri",
    "msrv",
    "cross",
    "peers",
    "paths",
];

/// The lane whose beginning starts them.
pub(crate) const FROM: &str = "tests";

/// Lanes that run, one after another, in processes of their own.
#[derive(Debug)]
pub(crate) struct Beside(JoinHandle<Vec<Told>>);

/// The output of a lane, or the reason why it could not be run.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) lane: &'static Lane,
    pub(crate) output: String,
}

impl Beside {
    /// Starts the lanes. They run on if this is dropped.
    pub(crate) fn start(
        context: &Context,
        lanes: Vec<&'static Lane>,
        require_all: bool,
    ) -> io::Result<Beside> {
        let folder = context.target.join("beside");
        std::fs::create_dir_all(&folder)?;
        let program = std::env::current_exe()?;
        let run = move || {
            let told = |lane: &'static Lane| Told {
                lane,
                output: run(&program, &folder, lane, require_all)
                    .unwrap_or_else(|error| format!("cannot be run: {error}\n")),
            };
            lanes.into_iter().map(told).collect()
        };
        Ok(Beside(thread::spawn(run)))
    }

    /// Waits for all of them.
    pub(crate) fn join(self) -> Vec<Told> {
        self.0.join().expect("the thread does not panic")
    }
}

/// Runs a lane to its end, with the least priority, and returns its output. A file takes it meanwhile, because a
/// process that a lane leaves behind would keep a pipe open.
fn run(program: &Path, folder: &Path, lane: &Lane, require_all: bool) -> io::Result<String> {
    let path = folder.join(format!("{}.txt", lane.name));
    let file = File::create(&path)?;
    let mut command = if has("nice") {
        let mut nice = Command::new("nice");
        nice.args(["-n", "19"]).arg(program);
        nice
    } else {
        Command::new(program)
    };
    command.args(["test", "--only", lane.name]);
    if require_all {
        command.arg("--require-all");
    }
    command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()?;
    Ok(String::from_utf8_lossy(&std::fs::read(&path)?).into_owned())
}
