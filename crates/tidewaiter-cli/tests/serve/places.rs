//! Places other than an IP address: UNIX sockets, named pipes, and what the process was started with.

use std::process::{Output, Stdio};

use crate::child::READY;
use crate::command_line::run;
use crate::starting::start;
use crate::support::{Server, tidewaiter};

/// Runs `tidewaiter connect` with this input to its end.
fn converse(place: &str, input: &[u8]) -> Output {
    let mut command = tidewaiter();
    command
        .args(["connect", place])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = start(&mut command).expect("the command starts");
    let mut stdin = process.stdin.take().expect("it is a pipe");
    std::thread::scope(|scope| {
        // A command that cannot connect reads nothing.
        scope.spawn(move || drop(std::io::Write::write_all(&mut stdin, input)));
        process.wait_with_output().expect("it ends")
    })
}

fn assert_echo(output: &Output, input: &[u8]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    let told = output.stdout.strip_suffix(input);
    assert!(told.is_some_and(|told| told.ends_with(READY)), "{output:?}");
}

fn failure(args: &[&str]) -> String {
    let output = run(args);
    let message = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
    message.trim_end().to_owned()
}

#[test]
fn tcp_may_be_said() {
    let server = Server::start_on("tcp:127.0.0.1:0", "echo", &[]);
    let place = format!("tcp:{}", server.address);
    assert_echo(&converse(&place, b"hello"), b"hello");
}

#[cfg(windows)]
#[test]
fn a_named_pipe_is_served_and_connected_to() {
    let place = format!("pipe:tidewaiter-test-{}", std::process::id());
    let server = Server::start_on(&place, "echo", &[]);
    assert_eq!(server.place, place);
    for _ in 0..3 {
        assert_echo(&converse(&place, b"hello"), b"hello");
    }
    let refused = failure(&["serve", "-q", &place, "--", "x"]);
    assert!(refused.contains(&place), "{refused}");
}

/// Goal: a UNIX socket is served where Windows has them; elsewhere, the command says what is missing.
#[cfg(windows)]
#[test]
fn a_unix_socket_is_served_or_said_to_be_missing() {
    const MISSING: &str = "this Windows has no UNIX sockets";
    let path = std::env::temp_dir().join(format!("tw-{}.sock", std::process::id()));
    let place = format!("unix:{}", path.display());
    // Nobody listens there yet.
    if failure(&["connect", &place]).contains(MISSING) {
        let refused = failure(&["serve", "-q", &place, "--", "x"]);
        assert!(refused.contains(MISSING), "{refused}");
        return;
    }
    let refused = failure(&["serve", "-q", &place, "--socket-mode", "660", "--", "x"]);
    assert!(refused.contains("permission bits"), "{refused}");
    let server = Server::start_on(&place, "echo", &[]);
    assert_eq!(server.place, place);
    assert_echo(&converse(&place, b"hello"), b"hello");
}

/// Goal: a kind of place that this system lacks is refused with the place and the cause.
#[test]
fn what_the_system_lacks_is_said() {
    let place = if cfg!(windows) {
        "systemd:"
    } else {
        "pipe:tidewaiter-test"
    };
    let serving = failure(&["serve", "-q", place, "--", "x"]);
    let connecting = failure(&["connect", place]);
    for message in [serving, connecting] {
        let cause = if cfg!(windows) {
            "Windows has no socket activation"
        } else {
            "does not"
        };
        assert!(
            message.contains(cause) && message.contains(place.trim_end_matches(':')),
            "{message}"
        );
    }
}

#[test]
fn a_descriptor_that_is_none_is_named() {
    for args in [
        &["serve", "-q", "fd:77", "--", "x"][..],
        &["connect", "fd:77"],
    ] {
        let message = failure(args);
        assert!(message.starts_with("tidewaiter: fd:77: "), "{message}");
    }
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

    use super::{assert_echo, converse, failure};
    use crate::shutdown::terminate;
    use crate::support::{PATIENCE, Server, field, serve, tidewaiter};

    /// A folder for one socket, which is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("tw-{}-{name}", std::process::id()));
            fs::create_dir(&folder).expect("a new folder");
            Folder(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("socket")
        }

        fn place(&self) -> String {
            format!("unix:{}", self.path().display())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // It may be gone already.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        let metadata = fs::metadata(path).expect("the file is there");
        assert!(metadata.file_type().is_socket());
        metadata.permissions().mode() & 0o777
    }

    fn ask(client: &mut (impl Read + Write), question: &[u8]) {
        client.write_all(question).expect("the server reads");
        let mut answer = Vec::new();
        while !answer.ends_with(question) {
            let mut byte = [0];
            client.read_exact(&mut byte).expect("the child answers");
            answer.push(byte[0]);
        }
    }

    #[test]
    fn a_unix_socket_is_served_and_connected_to() {
        let folder = Folder::new("serve");
        let server = Server::start_on(&folder.place(), "echo", &["--socket-mode", "640"]);
        assert_eq!(server.place, folder.place());
        assert_eq!(mode(&folder.path()), 0o640);
        let data: Vec<u8> = (0..=255).cycle().take(4 << 20).collect();
        assert_echo(&converse(&folder.place(), &data), &data);

        let refused = failure(&["serve", "-q", &folder.place(), "--", "x"]);
        assert!(refused.contains(&folder.place()), "{refused}");
        assert_echo(&converse(&folder.place(), b"still"), b"still");

        terminate(&server);
        assert_eq!(server.wait().code(), Some(0));
        assert!(!folder.path().exists(), "the server removes its socket");
        let message = failure(&["connect", &folder.place()]);
        assert!(message.contains(&folder.place()), "{message}");
    }

    #[test]
    fn the_socket_of_a_dead_server_is_replaced_and_a_file_is_not() {
        let folder = Folder::new("stale");
        // It does not listen: the child of another test may have a copy of it, until its program starts.
        let dead =
            rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        let address = SocketAddrUnix::new(folder.path()).expect("a short path");
        rustix::net::bind(&dead, &address).expect("a free path");
        drop(dead);
        assert!(folder.path().exists(), "nobody removes it");
        let server = Server::start_on(&folder.place(), "echo", &[]);
        assert_echo(&converse(&folder.place(), b"hello"), b"hello");
        terminate(&server);
        assert_eq!(server.wait().code(), Some(0));

        fs::write(folder.path(), "precious").expect("it can be written");
        let message = failure(&["serve", "-q", &folder.place(), "--", "x"]);
        assert!(message.contains(&folder.place()), "{message}");
        let text = fs::read_to_string(folder.path()).expect("it is still there");
        assert_eq!(text, "precious");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_served_and_connected_to() {
        let place = format!("unix:@tidewaiter-test-{}", std::process::id());
        let server = Server::start_on(&place, "echo", &[]);
        assert_eq!(server.place, place);
        assert_echo(&converse(&place, b"hello"), b"hello");
    }

    #[test]
    fn the_child_is_told_of_its_unix_socket() {
        let folder = Folder::new("told");
        let server = Server::start_on(&folder.place(), "environment", &[]);
        let mut client = UnixStream::connect(folder.path()).expect("the server listens");
        client.shutdown(Shutdown::Write).expect("it is open");
        let mut told = String::new();
        client.read_to_string(&mut told).expect("the child writes");
        let path = format!("UNIXLOCALPATH={}\n", folder.path().display());
        let user = format!("UNIXREMOTEEUID={}\n", rustix::process::geteuid().as_raw());
        for line in [
            "PROTO=UNIX\n",
            &path,
            &user,
            "REMOTE_ADDR=\n",
            "TCPLOCALIP=\n",
        ] {
            assert!(told.contains(line), "{told}");
        }
        let line = server.await_line("connection ended");
        assert_eq!(field(&line, "peer"), "unix:");
    }

    #[test]
    fn a_unix_socket_can_be_the_childs_own() {
        let folder = Folder::new("inetd");
        let _server = Server::start_on(&folder.place(), "echo", &["--inetd"]);
        let mut client = UnixStream::connect(folder.path()).expect("the server listens");
        ask(&mut client, b"hello");
    }

    /// A server whose standard input is a listening socket, and that has it as descriptor 3 as well.
    fn server_with(listener: OwnedFd, place: &str, options: &[&str], script: &str) -> Server {
        let mut command = Command::new("sh");
        let program = tidewaiter();
        command
            .args(["-c", &format!("exec 3<&0; {script} exec \"$@\""), "sh"])
            .arg(program.get_program());
        serve(&mut command, place, "echo", options);
        Server::run_with_input(command, Stdio::from(listener))
    }

    #[test]
    fn an_inherited_listening_socket_is_served() {
        for options in [&[][..], &["--inetd"], &["--max-clients", "1"]] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free address");
            let address = listener.local_addr().expect("it is bound");
            let server = server_with(listener.into(), "fd:3", options, "");
            assert_eq!(server.address, address);
            ask(
                &mut TcpStream::connect(address).expect("it listens"),
                b"hello",
            );
        }
    }

    #[test]
    fn the_sockets_of_a_service_manager_are_served() {
        let announce = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web;";
        for place in ["systemd:", "systemd:web"] {
            let folder = Folder::new("passed");
            let listener = UnixListener::bind(folder.path()).expect("a free path");
            let server = server_with(listener.into(), place, &[], announce);
            ask(
                &mut UnixStream::connect(folder.path()).expect("it listens"),
                b"hello",
            );
            terminate(&server);
            assert_eq!(server.wait().code(), Some(0));
            assert!(folder.path().exists(), "the file is the service manager's");
        }
    }

    #[test]
    fn an_inherited_datagram_socket_is_served() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let server = server_with(socket.into(), "fd:3", &[], "");
        assert_eq!(server.place, format!("udp:{address}"));
        let client = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        client
            .set_read_timeout(Some(PATIENCE))
            .expect("it can be set");
        client.send_to(b"hello", address).expect("it is sent");
        let (mut got, mut data) = (Vec::new(), [0; 4096]);
        while !got.ends_with(b"hello") {
            let count = client.recv(&mut data).expect("the child answers");
            got.extend_from_slice(&data[..count]);
        }
    }

    #[test]
    fn what_no_service_manager_passed_is_said() {
        let message = failure(&["serve", "-q", "systemd:", "--", "x"]);
        let expected =
            "tidewaiter: systemd: no service manager passed a socket (LISTEN_PID, LISTEN_FDS)";
        assert_eq!(message, expected);
        for (place, cause) in [
            (
                "systemd:api",
                "no socket named \"api\" was passed, but: web",
            ),
            (
                "systemd:web",
                "is neither a listening socket nor a datagram socket",
            ),
        ] {
            let (client, _other) = UnixStream::pair().expect("a pair");
            let script =
                "exec 3<&0; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$@\"";
            let output = Command::new("sh")
                .args(["-c", script, "sh"])
                .arg(tidewaiter().get_program())
                .args(["serve", "-q", place, "--", "x"])
                .stdin(Stdio::from(OwnedFd::from(client)))
                .output()
                .expect("the command starts");
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{message}");
            assert!(message.contains(cause), "{message}");
        }
    }

    #[test]
    fn an_inherited_connection_is_joined_to_the_standard_streams() {
        let server = Server::start("echo", &[]);
        for (place, announce) in [
            ("fd:3", ""),
            ("systemd:", "export LISTEN_PID=$$ LISTEN_FDS=1;"),
        ] {
            let connection = TcpStream::connect(server.address).expect("it listens");
            let script = format!("exec 3<&0; {announce} printf hello | exec \"$@\"");
            let script = match announce {
                "" => script,
                // The service is the process that the variables name.
                _ => format!("exec 3<&0 </dev/null; {announce} exec \"$@\""),
            };
            let output = Command::new("sh")
                .args(["-c", &script, "sh"])
                .arg(tidewaiter().get_program())
                .args(["connect", place])
                .stdin(Stdio::from(OwnedFd::from(connection)))
                .output()
                .expect("the command starts");
            let input: &[u8] = if announce.is_empty() { b"hello" } else { b"" };
            assert_echo(&output, input);
        }
    }

    /// Goal: a child has the connection, and nothing else of the server's.
    #[test]
    fn a_child_does_not_inherit_the_listening_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free address");
        let address = listener.local_addr().expect("it is bound");
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 3<&0; exec \"$@\"", "sh"])
            .arg(tidewaiter().get_program())
            .args([
                "serve",
                "-v",
                "fd:3",
                "--",
                "sh",
                "-c",
                "if true <&3; then echo leaked; fi 2>&1",
            ]);
        let _server = Server::run_with_input(command, Stdio::from(OwnedFd::from(listener)));
        let mut told = String::new();
        let mut client = TcpStream::connect(address).expect("it listens");
        client.read_to_string(&mut told).expect("the child writes");
        assert!(!told.contains("leaked"), "{told}");
    }
}
