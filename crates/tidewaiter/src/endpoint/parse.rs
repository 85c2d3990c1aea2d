//! Addresses as people write them: `host:port`.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// A host and a port, written `host:port`, or `[address]:port` for an IPv6 address.
///
/// The host is a name or an IP address; parsing looks nothing up. An IPv6 address may end in `%` and the name
/// or number of an interface. The host cannot be left out: listen on all interfaces with `0.0.0.0:7000` or
/// `[::]:7000`.
///
/// ```
/// use tidewaiter::endpoint::HostPort;
///
/// let address: HostPort = "[::1]:7000".parse()?;
/// assert_eq!((address.host.as_str(), address.port), ("::1", 7000));
/// assert_eq!(address.to_string(), "[::1]:7000");
/// # Ok::<(), tidewaiter::endpoint::ParseHostPortError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port. To listen on port 0 lets the OS choose one.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is not a [`HostPort`]. The message is one line that quotes the text.
///
/// ```
/// use tidewaiter::endpoint::HostPort;
///
/// let error = "::1:80".parse::<HostPort>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "invalid address \"::1:80\": an IPv6 address needs brackets, as in [::1]:7000"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseHostPortError {
    input: String,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    EmptyHost,
    HostCharacter(char),
    BareIpv6,
    BracketNotClosed,
    NotIpv6,
    AfterBracket,
    MissingPort,
    PortNotNumber,
    PortRange,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Problem::EmptyHost => {
                "the host is missing (all interfaces are 0.0.0.0:PORT or [::]:PORT)"
            }
            Problem::HostCharacter(character) => {
                return write!(f, "a host cannot contain {character:?}");
            }
            Problem::BareIpv6 => "an IPv6 address needs brackets, as in [::1]:7000",
            Problem::BracketNotClosed => "the bracket is not closed",
            Problem::NotIpv6 => "the text in brackets is not an IPv6 address",
            Problem::AfterBracket => "a colon and the port must follow the bracket",
            Problem::MissingPort => "the port is missing, as in localhost:7000",
            Problem::PortNotNumber => "the port is not a number",
            Problem::PortRange => "the port is out of range (0 to 65535)",
        };
        f.write_str(text)
    }
}

impl fmt::Display for ParseHostPortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid address {:?}: {}", self.input, self.problem)
    }
}

impl std::error::Error for ParseHostPortError {}

impl From<ParseHostPortError> for io::Error {
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), with the error as the inner one.
    fn from(error: ParseHostPortError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

impl FromStr for HostPort {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<HostPort, ParseHostPortError> {
        parse(text).map_err(|problem| ParseHostPortError {
            input: text.to_owned(),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<HostPort, Problem> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => split_bracketed(rest)?,
        None => split_plain(text)?,
    };
    Ok(HostPort {
        host: host.to_owned(),
        port: parse_port(port)?,
    })
}

/// Splits the text after an opening bracket into the address and the port.
fn split_bracketed(rest: &str) -> Result<(&str, &str), Problem> {
    let (host, after) = rest.split_once(']').ok_or(Problem::BracketNotClosed)?;
    let (address, scope) = match host.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (host, None),
    };
    if address.parse::<Ipv6Addr>().is_err() || scope == Some("") {
        return Err(Problem::NotIpv6);
    }
    check_characters(host)?;
    match after.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if after.is_empty() => Err(Problem::MissingPort),
        None => Err(Problem::AfterBracket),
    }
}

fn split_plain(text: &str) -> Result<(&str, &str), Problem> {
    // Checked before the colons are counted: a URL has several colons, but is no IPv6 address.
    check_characters(text)?;
    let (host, port) = text.rsplit_once(':').ok_or(Problem::MissingPort)?;
    if host.contains(':') || text.parse::<Ipv6Addr>().is_ok() {
        return Err(Problem::BareIpv6);
    }
    if host.is_empty() {
        return Err(Problem::EmptyHost);
    }
    Ok((host, port))
}

/// Refuses characters that no host name contains; otherwise a typing error would show only after a look-up.
fn check_characters(host: &str) -> Result<(), Problem> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '[' | ']');
    match host.chars().find(|&character| bad(character)) {
        Some(character) => Err(Problem::HostCharacter(character)),
        None => Ok(()),
    }
}

fn parse_port(port: &str) -> Result<u16, Problem> {
    if port.is_empty() {
        return Err(Problem::MissingPort);
    }
    // `u16::from_str` alone would accept a sign, and would not tell the two errors apart.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::PortNotNumber);
    }
    port.parse().map_err(|_| Problem::PortRange)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::HostPort;
    use proptest::prelude::{Strategy, any, prop_oneof};
    use proptest::{prop_assert, prop_assert_eq, proptest};
    use std::net::Ipv6Addr;

    fn parsed(text: &str) -> (String, u16) {
        let address: HostPort = text.parse().unwrap();
        (address.host, address.port)
    }

    #[test]
    fn hosts_and_ports_are_parsed() {
        for (text, host, port) in [
            ("localhost:7000", "localhost", 7000),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("[::1]:65535", "::1", 65535),
            ("[fe80::1%eth0]:00080", "fe80::1%eth0", 80),
            ("bücher.example:80", "bücher.example", 80),
        ] {
            assert_eq!(parsed(text), (host.to_owned(), port), "{text}");
        }
    }

    #[test]
    fn errors_quote_the_text_and_name_what_is_wrong() {
        for (text, reason) in [
            ("", "the port is missing"),
            ("localhost", "the port is missing"),
            ("localhost:", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("[::1]:", "the port is missing"),
            (":7000", "the host is missing"),
            ("localhost:70000", "out of range"),
            ("localhost:http", "not a number"),
            ("localhost:+80", "not a number"),
            ("localhost:-1", "not a number"),
            ("::1", "needs brackets"),
            ("::1:7000", "needs brackets"),
            ("[::1:7000", "not closed"),
            ("[localhost]:7000", "not an IPv6 address"),
            ("[127.0.0.1]:7000", "not an IPv6 address"),
            ("[fe80::1%]:7000", "not an IPv6 address"),
            ("[::1]7000", "follow the bracket"),
            ("http://localhost:7000", "cannot contain '/'"),
            ("local host:7000", "cannot contain ' '"),
            ("local\nhost:7000", "cannot contain '\\n'"),
        ] {
            let message = text.parse::<HostPort>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text:?}: {message}");
            assert!(message.contains(&format!("{text:?}")), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    fn hosts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z0-9._-]{1,20}",
            any::<[u8; 4]>().prop_map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            any::<[u16; 8]>().prop_map(|parts| Ipv6Addr::from(parts).to_string()),
            (any::<[u16; 8]>(), "[a-z0-9]{1,8}")
                .prop_map(|(parts, scope)| format!("{}%{scope}", Ipv6Addr::from(parts))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_parsed_back(host in hosts(), port in any::<u16>()) {
            let address = HostPort { host, port };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn any_text_is_either_refused_in_one_line_or_survives_the_way_back(
            text in r"[\[\]:%a-f0-9. ]{0,12}|\PC{0,12}"
        ) {
            match text.parse::<HostPort>() {
                Ok(address) => prop_assert_eq!(address.to_string().parse(), Ok(address)),
                Err(error) => prop_assert!(error.to_string().lines().count() == 1),
            }
        }
    }
}
