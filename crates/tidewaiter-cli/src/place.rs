//! Where the command listens or connects, as the command line names it.

use std::fmt;
use std::str::FromStr;

use tidewaiter::endpoint::HostPort;
use tidewaiter::port::{Activated, RawDescriptor, Resource, activated, inherited};
use tidewaiter::{Address, UnixAddress};

use crate::failure::Failure;

/// A place on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `host:port` or `tcp:host:port`.
    Tcp(HostPort),
    /// `udp:host:port`.
    Udp(HostPort),
    /// `unix:PATH` or `pipe:NAME`.
    Local(Address),
    /// `systemd:` or `systemd:NAME`: what a service manager passed, all or those of that name.
    Passed(Option<String>),
    /// `fd:N`: a descriptor, on Windows a socket, that this process was started with.
    Descriptor(RawDescriptor),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let host = |text: &str| text.parse::<HostPort>().map_err(|error| error.to_string());
        match text.split_once(':') {
            Some(("tcp", rest)) => host(rest).map(Place::Tcp),
            Some(("udp", rest)) => host(rest).map(Place::Udp),
            Some(("unix" | "pipe", _)) => match text.parse() {
                Ok(Address::Unix(address)) if address == UnixAddress::unnamed() => {
                    Err(format!("{text:?}: the path is missing"))
                }
                Ok(address) => Ok(Place::Local(address)),
                Err(error) => Err(error.to_string()),
            },
            Some(("systemd", "")) => Ok(Place::Passed(None)),
            Some(("systemd", name)) => Ok(Place::Passed(Some(name.to_owned()))),
            Some(("fd", number)) => match number.parse() {
                Ok(number) => Ok(Place::Descriptor(number)),
                Err(_) => Err(format!(
                    "{text:?}: {number:?} is not the number of a descriptor"
                )),
            },
            _ => host(text).map(Place::Tcp),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(host) => host.fmt(f),
            Place::Udp(host) => write!(f, "udp:{host}"),
            Place::Local(address) => address.fmt(f),
            Place::Passed(name) => write!(f, "systemd:{}", name.as_deref().unwrap_or_default()),
            Place::Descriptor(number) => write!(f, "fd:{number}"),
        }
    }
}

/// Takes over what the service manager passed under `name`, or all that it passed. At least one.
pub(crate) fn take_passed(name: Option<&str>) -> Result<Vec<Activated>, Failure> {
    let mut passed = activated().map_err(|error| Failure::Failed(format!("systemd: {error}")))?;
    if passed.is_empty() {
        let message = "systemd: no service manager passed a socket (LISTEN_PID, LISTEN_FDS)";
        return Err(Failure::Failed(message.to_owned()));
    }
    let Some(name) = name else { return Ok(passed) };
    let names: Vec<String> = passed.iter().map(|passed| passed.name.clone()).collect();
    passed.retain(|passed| passed.name == name);
    if passed.is_empty() {
        let names = names.join(", ");
        let message = format!("systemd: no socket named {name:?} was passed, but: {names}");
        return Err(Failure::Failed(message));
    }
    Ok(passed)
}

/// Copies a descriptor that this process was started with.
pub(crate) fn take_descriptor(number: RawDescriptor) -> Result<Resource, Failure> {
    inherited(number).map_err(|error| Failure::Failed(format!("fd:{number}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::Place;

    fn problem(text: &str) -> String {
        text.parse::<Place>().expect_err("no place")
    }

    #[test]
    fn each_kind_of_place_reads_back() {
        for text in [
            "localhost:7000",
            "[::1]:7000",
            "udp:0.0.0.0:53",
            "unix:/run/app.sock",
            "pipe:app",
            "systemd:",
            "systemd:web",
            "fd:3",
        ] {
            let place: Place = text.parse().expect("a place");
            assert_eq!(place.to_string(), text);
        }
        assert_eq!("tcp:localhost:1".parse(), "localhost:1".parse::<Place>());
        // A host may have the name of a kind.
        let host: Place = "tcp:unix:7000".parse().expect("a host");
        assert_eq!(host.to_string(), "unix:7000");
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(problem("unix:"), r#""unix:": the path is missing"#);
        assert_eq!(
            problem("fd:three"),
            r#""fd:three": "three" is not the number of a descriptor"#
        );
        for text in [
            "",
            "localhost",
            "tcp:localhost",
            "udp:",
            "pipe:",
            "unix:/a%0",
        ] {
            assert!(!problem(text).is_empty(), "{text}");
        }
    }
}
