//! The standard streams of Unix: sockets, terminals, named pipes, and what other processes share.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, fcntl_getfl, open};

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::standard::{after_ready, await_ready, child, expect_success, start};
use crate::support::terminal::Terminal;

/// Checks that calls on the description, which we share with the child, block as before.
fn expect_blocking(shared: impl AsFd) {
    let flags = fcntl_getfl(shared).expect("it is open");
    assert!(!flags.contains(OFlags::NONBLOCK), "{flags:?}");
}

/// Starts a child that echoes, on these streams.
fn echo(input: impl Into<Stdio>, output: impl Into<Stdio>) -> std::process::Child {
    start("echo", input, output)
}

#[test]
fn shared_pipes_block_as_before() {
    let (input, mut to) = std::io::pipe().unwrap();
    let (mut from, output) = std::io::pipe().unwrap();
    let child = echo(input.try_clone().unwrap(), output.try_clone().unwrap());
    await_ready(&mut from);
    expect_blocking(&input);
    expect_blocking(&output);
    to.write_all(b"!").unwrap();
    drop(to);
    expect_success(child);
    expect_blocking(&input);
    expect_blocking(&output);
    drop(output);
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"!");
}

#[test]
fn a_shared_socket_blocks_as_before() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let shared = || OwnedFd::from(theirs.try_clone().unwrap());
    let child = echo(shared(), shared());
    await_ready(&mut ours);
    expect_blocking(&theirs);
    let sent = vec![7; 1 << 20];
    let mut received = vec![0; sent.len()];
    for _ in 0..3 {
        let mut writes = ours.try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| writes.write_all(&sent).unwrap());
            ours.read_exact(&mut received).unwrap();
        });
        assert!(sent == received);
    }
    ours.shutdown(Shutdown::Write).unwrap();
    expect_success(child);
    expect_blocking(&theirs);
}

#[test]
fn the_output_of_a_socket_ends_while_input_goes_on() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let copy = theirs.try_clone().unwrap();
    let child = start("half", OwnedFd::from(copy), OwnedFd::from(theirs));
    let mut received = Vec::new();
    ours.read_to_end(&mut received).expect("it ends");
    assert!(after_ready(&received).is_empty());
    ours.write_all(b"more").expect("the child reads on");
    ours.shutdown(Shutdown::Write).unwrap();
    expect_success(child);
}

#[test]
fn a_shared_terminal_blocks_as_before_and_its_hang_up_is_the_end() {
    let [mut master, slave] = Terminal::open().unwrap().into_ends();
    let child = echo(slave.try_clone().unwrap(), slave.try_clone().unwrap());
    await_ready(&mut master);
    expect_blocking(&slave);
    master.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    master.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
    expect_blocking(&slave);
    drop(slave);
    drop(master);
    expect_success(child);
}

#[test]
fn a_named_pipe_whose_writer_has_left_ends() {
    let path = std::env::temp_dir().join(format!("tidewaiter-{}-named", std::process::id()));
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("every Unix has it").success());
    let both = open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let input = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    File::from(both).write_all(b"three").unwrap();
    let mut child = start("count", input, Stdio::piped());
    let mut received = Vec::new();
    let output = child.stdout.as_mut().unwrap();
    output.read_to_end(&mut received).expect("it is a pipe");
    assert_eq!(after_ready(&received), b"5 bytes");
    expect_success(child);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn closed_streams_are_the_null_device() {
    let direct = child("echo");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "exec \"$0\" \"$@\" <&- >&-"]);
    shell.arg(direct.get_program()).args(direct.get_args());
    for (name, value) in direct.get_envs() {
        shell.env(name, value.expect("they are set"));
    }
    let child = shell.stderr(Stdio::piped()).spawn();
    expect_success(child.expect("there is a shell"));
}

/// Whether the terminal gives out lines, and echoes what is typed.
fn is_cooked(terminal: &File) -> bool {
    let modes = tcgetattr(terminal).expect("it is open").local_modes;
    modes.contains(LocalModes::ICANON | LocalModes::ECHO)
}

/// Starts a child that plays its part on a new terminal, in its usual mode.
fn on_terminal(part: &str) -> ([File; 2], std::process::Child) {
    let ends = Terminal::open_cooked().unwrap().into_ends();
    // Checked before the start: the child may be fast.
    assert!(is_cooked(&ends[1]));
    let slave = || ends[1].try_clone().unwrap();
    let child = start(part, slave(), slave());
    (ends, child)
}

#[test]
fn a_raw_terminal_is_restored_however_the_program_ends() {
    for end in ["raw-drop", "raw-panic", "raw-exit", "raw-signal"] {
        let ([mut master, slave], child) = on_terminal(end);
        await_ready(&mut master);
        assert!(!is_cooked(&slave), "{end}");
        master.write_all(&[3]).unwrap();
        if end == "raw-signal" {
            await_ready(&mut master);
            let pid = Pid::from_child(&child);
            kill_process(pid, Signal::TERM).expect("it lives");
        }
        expect_success(child);
        assert!(is_cooked(&slave), "{end}");
    }
}

#[test]
fn a_new_size_of_the_terminal_is_told() {
    let ([mut master, _slave], child) = on_terminal("resize");
    await_ready(&mut master);
    let size = Winsize {
        ws_row: 50,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    // It is not the child's controlling terminal, so the system sends no signal.
    kill_process(Pid::from_child(&child), Signal::WINCH).expect("it lives");
    let mut said = [0; 6];
    master.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"50 120");
    expect_success(child);
}
