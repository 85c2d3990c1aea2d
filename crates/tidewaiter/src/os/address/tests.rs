use super::{Address, PipeName, UnixAddress};
use proptest::prelude::any;
use proptest::{prop_assert, prop_assert_eq, proptest};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};

fn parsed(text: &str) -> Address {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?} is an address: {error}"))
}

/// The reason for which a text is no address.
fn refusal(text: &str) -> String {
    let error = text.parse::<Address>().expect_err("no address").to_string();
    let opening = format!("invalid address {text:?}: ");
    error
        .strip_prefix(&opening)
        .expect("it quotes the text")
        .to_owned()
}

#[test]
fn an_address_is_as_small_as_one_of_the_standard_library() {
    assert_eq!(size_of::<Address>(), size_of::<SocketAddr>());
    assert_eq!(size_of::<Option<Address>>(), size_of::<SocketAddr>());
}

#[test]
fn ip_addresses_convert_both_ways() {
    let ip = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    for address in [
        Address::from(ip),
        (Ipv4Addr::LOCALHOST, 80).into(),
        ([127, 0, 0, 1], 80).into(),
    ] {
        assert_eq!(address, Address::Ip(ip));
        assert_eq!(address.socket_addr(), Some(ip));
        assert_eq!(address.to_string(), "127.0.0.1:80");
        assert_eq!(format!("{address:?}"), "127.0.0.1:80");
        let listed: Vec<SocketAddr> = address.to_socket_addrs().expect("an IP address").collect();
        assert_eq!(listed, [ip]);
    }
    assert_eq!(parsed("127.0.0.1:80"), ip.into());
    assert_eq!(parsed("[::1]:80"), (Ipv6Addr::LOCALHOST, 80).into());
    let scoped = SocketAddrV6::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 80, 0, 2);
    assert_eq!(parsed("[fe80::1%2]:80"), SocketAddr::from(scoped).into());
}

#[test]
fn other_addresses_have_no_socket_addr() {
    for text in ["unix:/run/app.sock", "unix:", "pipe:app"] {
        let address = parsed(text);
        assert_eq!(address.socket_addr(), None);
        let error = address.to_socket_addrs().expect_err("no IP address");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), format!("{text} is not an IP address"));
    }
}

#[test]
fn unix_addresses_have_a_path_or_no_name() {
    let path = UnixAddress::from_pathname("/run/app.sock").expect("a good path");
    assert_eq!(path.as_pathname(), Some("/run/app.sock".as_ref()));
    assert_eq!((path.as_abstract_name(), path.is_unnamed()), (None, false));
    assert_eq!(parsed("unix:/run/app.sock"), path.into());

    let unnamed = UnixAddress::unnamed();
    assert_eq!(
        (unnamed.as_pathname(), unnamed.as_abstract_name()),
        (None, None)
    );
    assert!(unnamed.is_unnamed());
    assert_eq!(parsed("unix:"), unnamed.into());
}

#[test]
fn a_text_is_one_line_and_tells_the_kinds_apart() {
    for (path, text) in [
        ("relative/app.sock", "unix:relative/app.sock"),
        ("@app", "unix:%40app"),
        ("/a@b", "unix:/a@b"),
        ("/100%", "unix:/100%25"),
        ("/two\nlines", "unix:/two%0Alines"),
        ("/a b/ü", "unix:/a b/ü"),
    ] {
        let address = Address::from(UnixAddress::from_pathname(path).expect("a good path"));
        assert_eq!(address.to_string(), text);
        assert_eq!(parsed(text), address);
    }
    assert_eq!(parsed("unix:/%61%c3%bc"), parsed("unix:/aü"));
}

#[test]
fn paths_that_no_socket_can_have_are_refused() {
    let refused = |path: &str| {
        let error = UnixAddress::from_pathname(path).expect_err("a bad path");
        error.to_string()
    };
    assert_eq!(refused(""), r#"invalid address "": the path is empty"#);
    assert_eq!(
        refused("a\0b"),
        r#"invalid address "a\0b": the path contains a NUL"#
    );
    assert_eq!(refusal("unix:/a%00b"), "the path contains a NUL");
    let longest = super::unix::NAME_BYTES_MAX;
    assert!(UnixAddress::from_pathname("x".repeat(longest)).is_ok());
    let long = format!("unix:{}", "x".repeat(longest + 1));
    assert_eq!(
        refusal(&long),
        format!("too long: {} bytes, of at most {longest}", longest + 1)
    );
}

#[test]
fn a_percent_sign_begins_a_byte() {
    for text in [
        "unix:/50%",
        "unix:/50%2",
        "unix:/50%+1",
        "unix:/50% off",
        "pipe:%zz",
    ] {
        assert_eq!(
            refusal(text),
            "two hexadecimal digits must follow `%` (`%25` stands for `%` itself)"
        );
    }
}

#[test]
fn pipes_have_full_names() {
    let local = PipeName::local("app").expect("a good name");
    assert_eq!(local.as_str(), r"\\.\pipe\app");
    assert_eq!(local.to_string(), "pipe:app");
    for text in ["pipe:app", r"pipe:\\.\pipe\app", r"pipe:\\.\PIPE\app"] {
        assert_eq!(parsed(text), local.clone().into());
    }
    let remote = PipeName::new(r"\\host\pipe\a\b").expect("a good name");
    assert_eq!(remote.to_string(), r"pipe:\\host\pipe\a\b");
    assert_eq!(parsed(r"pipe:\\host\pipe\a\b"), remote.into());
}

#[test]
fn names_that_no_pipe_can_have_are_refused() {
    for name in [
        "app",
        r"\\.\app",
        r"\\.\pipes\app",
        r"\\\pipe\app",
        r"\\.\pipe",
        r"//./pipe/app",
        r"\\..\pipe\app",
    ] {
        let error = PipeName::new(name).expect_err("no full name").to_string();
        assert!(
            error.ends_with(r"a pipe's full name is \\.\pipe\NAME or \\HOST\pipe\NAME"),
            "{error}"
        );
    }
    for name in [
        "",
        r"\app",
        r"app\",
        r"a\\b",
        r"..\PhysicalDrive0",
        "a/../b",
        ".",
    ] {
        let error = PipeName::local(name).expect_err("no name").to_string();
        assert!(error.contains("no part of a pipe's name"), "{error}");
    }
    assert_eq!(refusal("pipe:a%00b"), "the name of the pipe contains a NUL");
    assert_eq!(refusal("pipe:%FF"), "the name of the pipe must be Unicode");
    assert!(PipeName::local("x".repeat(247)).is_ok());
    let long = format!("pipe:{}", "x".repeat(248));
    assert_eq!(refusal(&long), "too long: 257 UTF-16 units, of at most 256");
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "",
        "localhost:80",
        "127.0.0.1",
        "::1:80",
        "unix",
        "Unix:/a",
        " 127.0.0.1:80",
        "tcp:127.0.0.1:80",
    ] {
        assert!(
            refusal(text).starts_with("expected an IP address and port"),
            "{text}"
        );
    }
}

proptest! {
    #[test]
    fn the_text_of_an_ip_address_reads_back(ip in any::<std::net::IpAddr>(), port in any::<u16>()) {
        let address = Address::from((ip, port));
        prop_assert_eq!(parsed(&address.to_string()), address);
    }

    #[test]
    fn the_text_of_a_path_reads_back(path in "[^\0]{1,25}") {
        let address = Address::from(UnixAddress::from_pathname(path)?);
        let text = address.to_string();
        prop_assert!(!text.contains(char::is_control));
        prop_assert_eq!(parsed(&text), address);
    }

    #[test]
    fn the_text_of_a_pipe_reads_back(host in r"[^\\/\x00]{1,9}", name in r"[^\\/\x00.]{1,25}(\\[^\\/\x00.]{1,9})?") {
        let address = Address::from(PipeName::new(format!(r"\\x{host}\pipe\{name}"))?);
        let text = address.to_string();
        prop_assert!(!text.contains(char::is_control));
        prop_assert_eq!(parsed(&text), address);
        let address = Address::from(PipeName::local(name)?);
        prop_assert_eq!(parsed(&address.to_string()), address);
    }

    #[test]
    fn reading_never_panics(text in "((unix|pipe):)?.*") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(parsed(&address.to_string()), address);
        }
    }
}
