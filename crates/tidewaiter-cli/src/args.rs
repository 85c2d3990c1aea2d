//! The command line: its options and its help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::failure::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: cannot listen or connect, the connection was lost, or standard output failed
  2    the command line is wrong
  3    serve: at shutdown, children were still running after --grace and had to be killed
  4    connect: the other side closed before all of standard input was sent
  130  connect: ended by Ctrl-C or a signal";

const SERVE_EXAMPLES: &str = "\
Examples:
  tidewaiter serve 127.0.0.1:7000 -- cat
  tidewaiter serve '[::]:7000' --max-clients 100 --idle-timeout 5m -- ./handler --option
  tidewaiter serve 0.0.0.0:873 --inetd -- rsync --daemon
  tidewaiter serve udp:0.0.0.0:7000 --idle-timeout 10s -- ./answer
  tidewaiter serve unix:/run/app.sock --socket-mode 660 -- ./handler
  tidewaiter serve localhost:7000 --metrics 127.0.0.1:9100 -- sh -c 'read name; echo hello $name'

Each connection gets its own COMMAND, whose standard input and output lead to the client. The environment of \
COMMAND has the client's address in REMOTE_ADDR and REMOTE_PORT, and in PROTO, TCPREMOTEIP, TCPREMOTEPORT, \
TCPLOCALIP and TCPLOCALPORT. On a UNIX socket, PROTO is UNIX, UNIXLOCALPATH is the path, and UNIXREMOTEPID, \
UNIXREMOTEEUID and UNIXREMOTEEGID are the client's process, user and group. On a named pipe, PROTO is PIPE, and PIPEREMOTEPID the client's process.

The file of a UNIX socket is made with its permissions, replaces that of a server that has died, and is removed at \
the end. A second server on the same path is refused. Only users of this machine can connect to a named pipe.

On UDP, each peer that sends something gets its own COMMAND: what it sends arrives at COMMAND's standard input, without \
bounds between datagrams, and each piece that COMMAND writes at once goes back as a datagram. PROTO is UDP, and the \
variables begin with UDP. When no byte has moved for --idle-timeout, or the peer is unreachable, COMMAND reads the end \
of its input and has --grace to exit. Datagrams are dropped while --max-clients run, and while COMMAND does not read.

With --inetd, the connection itself is COMMAND's standard input and output, for programs that ask for their peer. \
The server neither sees nor counts its bytes, so that --idle-timeout is refused. It does not notice that the client \
is lost: COMMAND does. When COMMAND exits, the server asks the processes that it left running to exit, too, and kills \
them at most 2 seconds later: any of them may hold the connection. --merge-stderr makes the connection COMMAND's \
standard error, too. On Windows, COMMAND can use the connection as a file and as a socket, but its operations \
wait for each other.

With --pty, COMMAND's standard streams are a terminal, which is also its controlling terminal. What the client sends \
arrives as if typed there: the terminal echoes it and keeps it until the end of the line, unless COMMAND asks for \
something else, and Ctrl-C interrupts. When the client shuts down its sending side, the server types the character \
that ends the input (Ctrl-D; on Windows Ctrl-Z and Enter), after an unfinished line twice, and again each second for \
whatever reads next. Programs that read single keys take it for a key. When the connection is lost, the terminal hangs up (SIGHUP); it is also hung up \
when the server asks COMMAND to exit. Standard error is part of the terminal. The variable TERM is the server's own: \
set another by --env TERM=NAME. On Windows the terminal writes control sequences, and newer versions first ask the \
client what kind of terminal it is, and wait up to 3 seconds for an answer.

When the client shuts down its sending side, COMMAND reads the end of its input. When COMMAND closes its output, \
the client reads the end of file.

The server cannot tell a client that closes from one that only shuts down its sending side. If COMMAND then neither \
writes nor exits, it runs until --idle-timeout.

When the connection is lost, COMMAND has --grace to exit. Then the server asks it to exit, and kills it 2 \
seconds later.

When COMMAND exits, the connection ends. Processes that COMMAND left running, and that still hold its output \
or standard error, have 2 seconds. Then the server asks them to exit, and kills them 2 seconds later. \
On Unix, it does not find all that left COMMAND's process group: on Linux, not those with a session of their own and \
an ended parent, as daemons have; on other systems, none. They only lose the connection. \
The server leaves alone processes that hold neither stream: they are services that COMMAND started. The log names those \
that it may not kill.

A slow client gets all of the output as long as it takes some of it at least every 30 seconds. The server drops \
data that the client sends after COMMAND has stopped reading.

On Ctrl-C, SIGTERM or SIGHUP, the server stops accepting. Children have --grace to finish; then the server ends \
them. A second Ctrl-C or SIGTERM ends them at once. SIGHUP does not reload anything. A server that was started with \
SIGHUP ignored, as by nohup, keeps ignoring it.

As the first process of a container, the server also reaps orphaned processes.

On Unix, the server raises its limit of open files to the maximum; COMMAND inherits that limit. Each connection \
needs up to five descriptors. When descriptors, processes or memory run out, new connections wait.";

const CONNECT_EXAMPLES: &str = "\
Examples:
  tidewaiter connect localhost:7000
  tidewaiter connect '[::1]:7000' --timeout 5s < request > answer
  tidewaiter connect --raw localhost:7000
  tidewaiter connect unix:/run/app.sock
  echo ping | tidewaiter connect udp:localhost:7000

The command ends when the other side has ended its output and all of standard input is sent. After the other side \
has ended its output, the command stops waiting for input that stays silent for a second, or that is a terminal. If the \
other side closes before everything is sent, the command reports how many bytes are missing at least, and exits with \
code 4. With --end-with-peer, it stops sending when the other side ends its output, and reports nothing missing.

A named pipe cannot be ended in one direction: when standard input has ended, the command ends once nothing has come for a \
second.

With udp:, what is read at once from standard input goes out as one datagram. The command ends when standard input has \
ended and no datagram has come for a second, or with code 1 when the other side refuses datagrams.";

/// A process per connection, on every OS.
#[derive(Debug, Parser)]
#[command(name = "tidewaiter", version, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log only warnings and errors
    #[arg(
        long,
        short,
        global = true,
        display_order = 100,
        conflicts_with = "verbose"
    )]
    pub(crate) quiet: bool,
    /// Also log details
    #[arg(long, short, global = true, display_order = 101)]
    pub(crate) verbose: bool,
    /// Use this interface of the OS: uring, poll or iocp [default: TIDEWAITER_PORT, or the best available]
    #[arg(long, global = true, display_order = 102, value_name = "KIND")]
    pub(crate) backend: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run COMMAND for each connection
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<Serve>),
    /// Connect, and join standard input and output to the connection
    #[command(after_help = CONNECT_EXAMPLES)]
    Connect(Connect),
    /// Show which completion port this system uses and why, and which others are available
    Info,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) at: ServedPlace,
    /// Run at most N commands at once; further connections wait. `unlimited`: as many as the system carries
    /// [default: 1000, or fewer if the limits on open files or processes carry fewer; the log says so]
    #[arg(long, value_name = "N")]
    pub(crate) max_clients: Option<String>,
    /// Close a connection, and end its COMMAND, when no byte has moved in either direction for this long: 500ms,
    /// 30s, 5m, 1h; a number alone means seconds [default: never; UDP: 60s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) idle_timeout: Option<String>,
    /// Time that children have to finish at shutdown, or after they lose their client
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: String,
    /// Send COMMAND's standard error to the client instead of to the log
    #[arg(long)]
    pub(crate) merge_stderr: bool,
    /// Make the connection itself COMMAND's standard input and output, as inetd does, for programs that ask for their
    /// peer or set options of their socket: rsync --daemon, git daemon --inetd, sshd -i. The server does not see the
    /// bytes then
    #[arg(long)]
    pub(crate) inetd: bool,
    /// Give each COMMAND a terminal of its own, of 80 columns and 24 rows or of this size. Unix, and Windows 10
    #[arg(
        long,
        value_name = "COLUMNSxROWS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "80x24",
        conflicts_with = "inetd"
    )]
    pub(crate) pty: Option<String>,
    /// Let the OS combine small writes (Nagle's algorithm) instead of sending each at once
    #[arg(long)]
    pub(crate) delay: bool,
    /// Serve metrics in the Prometheus text format at http://ADDRESS/metrics
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<String>,
    /// Directory that COMMAND starts in
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) chdir: Option<PathBuf>,
    /// Set a variable in COMMAND's environment; can be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Start COMMAND with the variables of the connection and of --env only. PATH, too, is empty then
    #[arg(long)]
    pub(crate) clear_env: bool,
    /// Run COMMAND as this user, given by name or number, with the user's groups, HOME, USER and LOGNAME. Unix, as root
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Run COMMAND as this group, given by name or number [default: the user's own]
    #[arg(long, value_name = "GROUP", requires = "user")]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Program to run, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Where to listen.
#[derive(Debug, clap::Args)]
pub(crate) struct ServedPlace {
    /// Where to listen: HOST:PORT or [V6]:PORT (a host name means all of its addresses; with port 0, the OS chooses
    /// a port), also written tcp:HOST:PORT; udp:HOST:PORT; unix:PATH, or unix:@NAME on Linux; pipe:NAME on Windows; systemd: or
    /// systemd:NAME for the sockets that a service manager passes; fd:N for an inherited listening or datagram socket
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,
    /// Permissions of the file of a UNIX socket, in octal: 660 lets its owner and group connect
    /// [default: those of the umask]
    #[arg(long, value_name = "MODE")]
    pub(crate) socket_mode: Option<String>,
}

/// Limits on COMMAND.
#[derive(Debug, clap::Args)]
pub(crate) struct Limits {
    /// Memory of COMMAND: 64K, 512M, 2G; a number alone means bytes. Unix: the address space of each process.
    /// Windows: all its processes together [default: no limit]
    #[arg(long, value_name = "SIZE")]
    pub(crate) limit_memory: Option<String>,
    /// CPU time of COMMAND, after which it is ended. Unix: of each process. Windows: all its processes together
    /// [default: no limit]
    #[arg(long, value_name = "DURATION")]
    pub(crate) limit_cpu: Option<String>,
    /// Number of processes at once, COMMAND included. Unix: all that its user has on this machine, for all clients
    /// together; root is not limited. Windows: those of one COMMAND [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) limit_processes: Option<String>,
    /// Open files of each process of COMMAND, connections and pipes included. Unix [default: the maximum that the
    /// server may have]
    #[arg(long, value_name = "N")]
    pub(crate) limit_open_files: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Where to connect to: HOST:PORT or [V6]:PORT, also written tcp:HOST:PORT; udp:HOST:PORT; unix:PATH, or unix:@NAME on Linux;
    /// pipe:NAME on Windows; systemd: or fd:N for a connection that this process was started with
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,
    /// End when the other side ends its output, even if standard input is not sent completely
    #[arg(long)]
    pub(crate) end_with_peer: bool,
    /// Send each key at once and as it is, Ctrl-C included: for a terminal on the other side. Ctrl-] ends the command
    #[arg(long)]
    pub(crate) raw: bool,
    /// Time limit for the name lookup and the connection attempts together
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) timeout: String,
}

/// Parses the command line.
pub(crate) fn parse() -> Result<Args, Failure> {
    Args::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Failure::usage("a command is required: serve, connect or info (see --help)")
        }
        _ if error.use_stderr() => Failure::usage(first_paragraph(&error.to_string())),
        _ => Failure::Print(error.to_string()),
    })
}

/// Clap's message in one line, without the usage and the hints below it.
fn first_paragraph(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let lines = message.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ") + " (see --help)"
}
