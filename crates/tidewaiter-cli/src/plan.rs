//! The checked form of the command line: numbers, durations and addresses instead of text.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use tidewaiter::endpoint::{HostPort, ParseHostPortError};
use tidewaiter::port::{ParsePortKindError, PortKind};
use tidewaiter::process::TerminalSize;
use tidewaiter::{Address, Reactor};

use crate::args::{Args, Command, Connect, Serve};
use crate::confine::Confinement;
use crate::failure::Failure;
use crate::place::Place;
use crate::quantity::{count, duration, octal, terminal_size};

/// A command with its checked options.
pub(crate) enum Plan {
    Serve(Box<ServePlan>),
    Connect(ConnectPlan),
    Info { port: Option<PortKind> },
}

pub(crate) struct ServePlan {
    pub(crate) port: Option<PortKind>,
    pub(crate) place: Place,
    /// The permission bits of the file of a UNIX socket.
    pub(crate) socket_mode: Option<u32>,
    pub(crate) command: Vec<OsString>,
    pub(crate) confinement: Confinement,
    pub(crate) clients_max: ClientsMax,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) streams: Streams,
    pub(crate) merge_stderr: bool,
    pub(crate) no_delay: bool,
    pub(crate) metrics: Option<HostPort>,
}

/// COMMAND's standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streams {
    /// Pipes, over which the server passes on the bytes of the connection.
    Pipes,
    /// The connection itself.
    Connection,
    /// A terminal, over which the server passes on the bytes of the connection.
    Terminal(TerminalSize),
}

/// How many clients are served at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientsMax {
    /// As many as protect the machine.
    Default,
    Number(usize),
    Unlimited,
}

pub(crate) struct ConnectPlan {
    pub(crate) port: Option<PortKind>,
    pub(crate) place: Place,
    pub(crate) timeout: Duration,
    pub(crate) end_with_peer: bool,
    pub(crate) raw: bool,
}

/// Checks the arguments, and starts the log.
pub(crate) fn plan(args: Args) -> Result<Plan, Failure> {
    let port = args.backend.as_deref().map(backend).transpose()?;
    let usual = if matches!(args.command, Command::Serve(_)) {
        log::LevelFilter::Info
    } else {
        log::LevelFilter::Warn
    };
    let level = match (args.quiet, args.verbose) {
        (true, _) => log::LevelFilter::Warn,
        (_, true) => log::LevelFilter::Debug,
        _ => usual,
    };
    crate::log::start(level)
        .map_err(|error| Failure::Failed(format!("cannot start the log's thread: {error}")))?;
    match args.command {
        Command::Serve(serve) => plan_serve(*serve, port).map(Box::new).map(Plan::Serve),
        Command::Connect(connect) => plan_connect(&connect, port).map(Plan::Connect),
        Command::Info => Ok(Plan::Info { port }),
    }
}

fn plan_serve(serve: Serve, port: Option<PortKind>) -> Result<ServePlan, Failure> {
    let clients_max = match serve.max_clients.as_deref() {
        None => ClientsMax::Default,
        Some("unlimited") => ClientsMax::Unlimited,
        Some(text) => ClientsMax::Number(count("--max-clients", text)?),
    };
    let idle_timeout = serve
        .idle_timeout
        .as_deref()
        .map(|text| duration("--idle-timeout", text))
        .transpose()?;
    if idle_timeout == Some(Duration::ZERO) {
        return Err(Failure::usage("--idle-timeout must be above 0"));
    }
    if serve.inetd && idle_timeout.is_some() {
        return Err(Failure::usage(
            "--idle-timeout: with --inetd, only COMMAND knows whether its connection is idle",
        ));
    }
    let place = place(&serve.at.address)?;
    if serve.inetd && matches!(place, Place::Udp(_)) {
        let message = format!("--inetd: {place} has no connection that COMMAND could have");
        return Err(Failure::Usage(message));
    }
    Ok(ServePlan {
        port,
        socket_mode: socket_mode(serve.at.socket_mode.as_deref(), &place)?,
        place,
        confinement: Confinement::of(&serve)?,
        command: serve.command,
        clients_max,
        idle_timeout,
        grace: duration("--grace", &serve.grace)?,
        streams: match serve.pty.as_deref() {
            Some(size) => Streams::Terminal(terminal_size("--pty", size)?),
            None if serve.inetd => Streams::Connection,
            None => Streams::Pipes,
        },
        merge_stderr: serve.merge_stderr,
        no_delay: !serve.delay,
        metrics: serve.metrics.as_deref().map(metrics_address).transpose()?,
    })
}

fn plan_connect(connect: &Connect, port: Option<PortKind>) -> Result<ConnectPlan, Failure> {
    let place = place(&connect.address)?;
    if connect.raw && matches!(place, Place::Udp(_)) {
        return Err(Failure::Usage(format!("--raw: {place} is no connection")));
    }
    Ok(ConnectPlan {
        port,
        place,
        timeout: duration("--timeout", &connect.timeout)?,
        end_with_peer: connect.end_with_peer,
        raw: connect.raw,
    })
}

/// Creates the reactor for a command.
pub(crate) fn reactor(port: Option<PortKind>) -> Result<Reactor, Failure> {
    let builder = Reactor::builder();
    let builder = match port {
        Some(kind) => builder.port(kind),
        None => builder,
    };
    builder.build().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => Failure::usage(error),
        _ => Failure::failed(error),
    })
}

fn backend(name: &str) -> Result<PortKind, Failure> {
    name.parse()
        .map_err(|problem: ParsePortKindError| Failure::Usage(format!("--backend: {problem}")))
}

fn metrics_address(text: &str) -> Result<HostPort, Failure> {
    let named = |problem: ParseHostPortError| Failure::Usage(format!("--metrics: {problem}"));
    text.parse::<HostPort>().map_err(named)
}

fn place(text: &str) -> Result<Place, Failure> {
    text.parse().map_err(Failure::Usage)
}

fn socket_mode(text: Option<&str>, place: &Place) -> Result<Option<u32>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let is_path =
        matches!(place, Place::Local(Address::Unix(name)) if name.as_pathname().is_some());
    if !is_path {
        let message = format!("--socket-mode: {place} is not the path of a UNIX socket");
        return Err(Failure::Usage(message));
    }
    octal("--socket-mode", text, 0o777).map(Some)
}
