//! What was typed.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::failure::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: cannot listen or connect, the connection was lost, or standard output failed
  2    the command line is wrong
  3    serve: at shutdown, children did not end by themselves within --grace
  4    connect: the other side closed before all of standard input was sent
  130  connect: ended by Ctrl-C or a signal";

const SERVE_EXAMPLES: &str = "\
Examples:
  tidewaiter serve 127.0.0.1:7000 -- cat
  tidewaiter serve '[::]:7000' --max-clients 100 --idle-timeout 5m -- ./handler --option
  tidewaiter serve localhost:7000 --metrics 127.0.0.1:9100 -- sh -c 'read name; echo hello $name'

Each connection gets a COMMAND of its own, and is its standard input and output. COMMAND finds the client's \
address in the environment: in REMOTE_ADDR and REMOTE_PORT, and in PROTO, TCPREMOTEIP, TCPREMOTEPORT, \
TCPLOCALIP and TCPLOCALPORT.

When the client ends its sending side, COMMAND's input ends. When COMMAND closes its output, the client \
receives the end of file.

A client that closes looks like one that only ends its sending side, and a reset goes unnoticed while COMMAND \
does not read the bytes before it: a COMMAND that then neither ends nor writes lives until --idle-timeout.

When the connection is lost, COMMAND has --grace to end by itself; then it is asked to end, and killed 2 \
seconds later.

When COMMAND ends, the connection ends. Processes that COMMAND left running and that still hold its output \
or standard error have 2 seconds; then they are asked to end, and 2 seconds later killed. \
On Unix, those that left COMMAND's process group are out of reach and only lose the connection. \
Those that hold neither are left alone: they are services that COMMAND started.

A client gets all of the output, however slow it is, as long as it takes some of it at least every 30 seconds. \
What it sends that COMMAND does not read any more is dropped.

Ctrl-C, SIGTERM or SIGHUP: no new connections; children have as long as --grace to finish, then they are ended. \
A second Ctrl-C or SIGTERM ends them at once. SIGHUP comes when the terminal is closed, and reloads nothing; \
started with SIGHUP ignored, as by nohup, the server takes no notice of it.

As the first process of a container, it also reaps the processes whose parent has ended.

On Unix, the limit of open files is raised as far as it goes, for COMMAND too: each connection takes five. When they, processes or memory run out, \
further connections wait.";

const CONNECT_EXAMPLES: &str = "\
Examples:
  tidewaiter connect localhost:7000
  tidewaiter connect '[::1]:7000' --timeout 5s < request > answer

Ends when the other side has sent all it will and standard input is sent. For input that is neither at its end nor \
brings anything for a second, and for a terminal, it does not wait. If the other side closes before, it says how much \
is known not to have been sent, and the exit code is 4. With --end-with-peer it does not send on, and nothing of that \
is said.";

/// A process per connection, on every OS.
#[derive(Debug, Parser)]
#[command(name = "tidewaiter", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log warnings and errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log details, too
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// The OS's interface to use: uring, poll or iocp [default: TIDEWAITER_PORT, or the best there is]
    #[arg(long, global = true, value_name = "KIND")]
    pub(crate) backend: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run COMMAND for each connection
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Join standard input and output to a connection
    #[command(after_help = CONNECT_EXAMPLES)]
    Connect(Connect),
    /// Show which completion port is used and why, and which others this system has
    Info,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where to listen: host:port or [v6]:port, on every address of the host; port 0 lets the OS choose
    pub(crate) address: String,
    /// How many commands run at once; further connections wait [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) max_clients: Option<String>,
    /// Close a connection, and end its COMMAND, after no byte moved either way for this long: 500ms, 30s, 5m,
    /// 1h; a number alone means seconds [default: never]
    #[arg(long, value_name = "DURATION")]
    pub(crate) idle_timeout: Option<String>,
    /// How long children may take to finish at shutdown, or after their client is lost
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: String,
    /// Send COMMAND's standard error to the client too, instead of to the log
    #[arg(long)]
    pub(crate) merge_stderr: bool,
    /// Let the OS gather small writes (Nagle) instead of sending each at once
    #[arg(long)]
    pub(crate) delay: bool,
    /// Serve metrics in Prometheus's text format at http://ADDRESS/metrics
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<String>,
    /// What to run, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Where to connect to: host:port or [v6]:port
    pub(crate) address: String,
    /// End when the other side has sent all it will, whatever of standard input is not sent by then
    #[arg(long)]
    pub(crate) end_with_peer: bool,
    /// How long connecting may take, looking up the name included
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) timeout: String,
}

/// Takes the command line apart.
pub(crate) fn parse() -> Result<Args, Failure> {
    Args::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::usage("no command is given: serve, connect or info (see --help)")
        }
        _ if error.use_stderr() => Failure::usage(first_paragraph(&error.to_string())),
        _ => Failure::Print(error.to_string()),
    })
}

/// The message alone, in one line: without the usage and the hints below it.
fn first_paragraph(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines = message.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ") + " (see --help)"
}
