//! The variables that tell COMMAND about its connection.

use std::net::SocketAddr;

use tidewaiter::Address;
use tidewaiter::port::PeerCredentials;
use tidewaiter::process::Command;

/// All variables of the convention (UCSPI). Inherited values would be wrong.
const NAMES: &[&str] = &[
    "PIPEREMOTEPID",
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
    "UDPLOCALIP",
    "UDPLOCALPORT",
    "UDPREMOTEIP",
    "UDPREMOTEPORT",
    "UNIXLOCALPATH",
    "UNIXREMOTEEGID",
    "UNIXREMOTEEUID",
    "UNIXREMOTEPATH",
    "UNIXREMOTEPID",
];

/// Tells which process and user are at the other end, as far as the system says.
pub(super) fn identify(command: Command, kind: &Address, peer: PeerCredentials) -> Command {
    let process = match kind {
        Address::Pipe(_) => "PIPEREMOTEPID",
        _ => "UNIXREMOTEPID",
    };
    let numbers = [
        (process, peer.process),
        ("UNIXREMOTEEUID", peer.user),
        ("UNIXREMOTEEGID", peer.group),
    ];
    numbers
        .into_iter()
        .filter_map(|(name, number)| Some((name, number?.to_string())))
        .fold(command, |command, (name, number)| command.env(name, number))
}

/// Describes the connection, or the peer of a UDP socket, in COMMAND's environment.
pub(super) fn describe(
    command: Command,
    local: Option<&Address>,
    peer: &Address,
    is_udp: bool,
) -> Command {
    let command = NAMES.iter().fold(command, Command::env_remove);
    match peer {
        Address::Ip(peer) => {
            let protocol = if is_udp { "UDP" } else { "TCP" };
            describe_ip(command, protocol, local, *peer)
        }
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

fn describe_ip(
    command: Command,
    protocol: &str,
    local: Option<&Address>,
    peer: SocketAddr,
) -> Command {
    let name = |of| format!("{protocol}{of}");
    let (ip, port) = (peer.ip().to_string(), peer.port().to_string());
    let command = command
        .env("REMOTE_ADDR", &ip)
        .env("REMOTE_PORT", &port)
        .env("PROTO", name(if peer.is_ipv6() { "6" } else { "" }))
        .env(name("REMOTEIP"), ip)
        .env(name("REMOTEPORT"), port);
    match local.and_then(Address::socket_addr) {
        Some(local) => command
            .env(name("LOCALIP"), local.ip().to_string())
            .env(name("LOCALPORT"), local.port().to_string()),
        None => command,
    }
}
