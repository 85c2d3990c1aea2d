//! The variables that tell COMMAND about its connection.

use std::net::SocketAddr;

use tidewaiter::Address;
use tidewaiter::process::Command;

/// All variables of the convention (UCSPI). Inherited values would be wrong.
const NAMES: &[&str] = &[
    "PROTO",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "TCPLOCALHOST",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "TCPREMOTEHOST",
    "TCPREMOTEINFO",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "UNIXLOCALPATH",
    "UNIXREMOTEEGID",
    "UNIXREMOTEEUID",
    "UNIXREMOTEPATH",
    "UNIXREMOTEPID",
];

/// Describes the connection in COMMAND's environment.
pub(super) fn describe(command: Command, local: Option<&Address>, peer: &Address) -> Command {
    let command = NAMES.iter().fold(command, Command::env_remove);
    match peer {
        Address::Ip(peer) => describe_tcp(command, local, *peer),
        Address::Unix(peer) => {
            let command = command.env("PROTO", "UNIX");
            let paths = [
                ("UNIXREMOTEPATH", peer.as_pathname()),
                ("UNIXLOCALPATH", local.and_then(path_of)),
            ];
            paths
                .into_iter()
                .fold(command, |command, (name, path)| match path {
                    Some(path) => command.env(name, path),
                    None => command,
                })
        }
        _ => command.env("PROTO", "PIPE"),
    }
}

fn path_of(address: &Address) -> Option<&std::path::Path> {
    match address {
        Address::Unix(name) => name.as_pathname(),
        _ => None,
    }
}

fn describe_tcp(command: Command, local: Option<&Address>, peer: SocketAddr) -> Command {
    let (ip, port) = (peer.ip().to_string(), peer.port().to_string());
    let command = command
        .env("REMOTE_ADDR", &ip)
        .env("REMOTE_PORT", &port)
        .env("PROTO", if peer.is_ipv6() { "TCP6" } else { "TCP" })
        .env("TCPREMOTEIP", ip)
        .env("TCPREMOTEPORT", port);
    match local.and_then(Address::socket_addr) {
        Some(local) => command
            .env("TCPLOCALIP", local.ip().to_string())
            .env("TCPLOCALPORT", local.port().to_string()),
        None => command,
    }
}
