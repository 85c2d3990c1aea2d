//! The descriptors of a child: tests with real children.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use crate::process::{
    Command, OsChild, PipeDirection, Priority, SpawnStep, Stdio, Terminal, TerminalSize, spawn,
};

/// A shell that gets the arguments as `$1` and so on, and inherits our standard error.
fn shell(script: &str) -> Command {
    Command::new("/bin/sh")
        .args(["-c", script, "sh"])
        .stdin(Stdio::Null)
        .stderr(Stdio::Inherit)
}

fn start(command: &Command) -> OsChild {
    spawn(command).expect("the shell can be started")
}

/// Reads from the pipe at `child_fd` until its end.
fn read_all(child: &mut OsChild, child_fd: u32) -> String {
    let pipe = child.take_pipe(child_fd).expect("there is such a pipe");
    rustix::io::ioctl_fionbio(&pipe, false).expect("pipes can block");
    io::read_to_string(File::from(pipe)).expect("the pipe can be read")
}

fn number(descriptor: &impl AsRawFd) -> u32 {
    descriptor.as_raw_fd().unsigned_abs()
}

fn descriptor(descriptor: &impl AsRawFd) -> Stdio {
    Stdio::Descriptor(descriptor.as_raw_fd())
}

#[test]
fn pipes_go_either_way_at_any_number() {
    let command = shell("read line <&5; echo \"$line, $line\" >&7; echo done")
        .fd(5, Stdio::PipeToChild)
        .fd(7, Stdio::Pipe);
    let mut child = start(&command);
    let ends = child
        .pipes
        .iter()
        .map(|pipe| (pipe.child_fd, pipe.direction));
    let expected = [
        (1, PipeDirection::FromChild),
        (5, PipeDirection::ToChild),
        (7, PipeDirection::FromChild),
    ];
    assert_eq!(ends.collect::<Vec<_>>(), expected);
    let mut input = File::from(child.take_pipe(5).expect("a pipe"));
    input.write_all(b"hear\n").expect("there is room");
    assert_eq!(read_all(&mut child, 7), "hear, hear\n");
    assert_eq!(read_all(&mut child, 1), "done\n");
}

#[test]
fn standard_streams_can_be_pipes_of_the_other_direction() {
    let command = shell("read line <&1; echo $line >&0")
        .stdin(Stdio::PipeFromChild)
        .stdout(Stdio::PipeToChild);
    let mut child = start(&command);
    let mut input = File::from(child.take_pipe(1).expect("a pipe"));
    input.write_all(b"backwards\n").expect("there is room");
    assert_eq!(read_all(&mut child, 0), "backwards\n");
}

#[test]
fn descriptors_of_ours_can_be_swapped() {
    let (mut first, first_writer) = io::pipe().expect("a pipe");
    let (mut second, second_writer) = io::pipe().expect("a pipe");
    let (one, two) = (number(&first_writer), number(&second_writer));
    let command = shell("echo one >/dev/fd/$1; echo two >/dev/fd/$2")
        .args([one.to_string(), two.to_string()])
        .stdout(Stdio::Null)
        .fd(one, descriptor(&second_writer))
        .fd(two, descriptor(&first_writer));
    start(&command);
    drop((first_writer, second_writer));
    let mut text = String::new();
    second.read_to_string(&mut text).expect("it can be read");
    assert_eq!(text, "one\n");
    first.read_to_string(&mut text).expect("it can be read");
    assert_eq!(text, "one\ntwo\n");
}

#[test]
fn a_descriptor_that_keeps_its_number_survives_the_start() {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let command = shell("echo kept >/dev/fd/$1")
        .arg(number(&writer).to_string())
        .stdout(Stdio::Null)
        .fd(number(&writer), descriptor(&writer));
    start(&command);
    let flags = rustix::io::fcntl_getfd(&writer).expect("it is open");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "ours changed");
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("it can be read");
    assert_eq!(text, "kept\n");
}

/// Goal: descriptors opened for the child do not collide with the child's own numbers.
/// Method: ask for pipes at all the numbers that the pipes themselves get.
#[test]
fn pipes_that_collide_with_the_childs_numbers_are_moved() {
    let probe = io::pipe().expect("a pipe");
    let first = number(&probe.0).max(10);
    drop(probe);
    let numbers = first..first + 30;
    let mut command = shell("for n; do echo $n >/dev/fd/$n; done").stdout(Stdio::Null);
    for number in numbers.clone() {
        command = command
            .arg(number.to_string())
            .fd(number, Stdio::PipeFromChild);
    }
    let mut child = start(&command);
    for number in numbers {
        assert_eq!(read_all(&mut child, number), format!("{number}\n"));
    }
}

#[test]
fn one_descriptor_can_be_given_several_times_and_standard_error_can_follow_output() {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let command = shell("for n in 1 2 3 4; do echo $n >&$n; done")
        .stdout(descriptor(&writer))
        .stderr(Stdio::SameAs(1))
        .fd(3, descriptor(&writer))
        .fd(4, Stdio::SameAs(1));
    start(&command);
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("it can be read");
    assert_eq!(text, "1\n2\n3\n4\n");
}

#[test]
fn closed_descriptors_are_closed_standard_streams_too() {
    let script = "for n in 0 1 2 3 4 5 6; do test -e /dev/fd/$n && echo $n >&4; done";
    let mut command = shell(script)
        .fd(4, Stdio::PipeFromChild)
        .fd(6, Stdio::Null)
        .fd(6, Stdio::Closed);
    for stream in 0..3 {
        command = command.fd(stream, Stdio::Closed);
    }
    assert_eq!(read_all(&mut start(&command), 4), "4\n");
}

#[test]
fn a_descriptor_that_is_not_open_or_too_high_is_named() {
    let failure = |command: &Command| {
        let error = spawn(command).expect_err("this cannot be started");
        (error.step, error.source.raw_os_error(), error.is_in_child())
    };
    let none = Some(libc::EBADF);
    let missing = shell("").fd(5, Stdio::Descriptor(9_999_999));
    assert_eq!(failure(&missing), (SpawnStep::Descriptor(5), none, false));
    let negative = shell("").fd(6, Stdio::Descriptor(-1));
    assert_eq!(failure(&negative), (SpawnStep::Descriptor(6), none, false));
    let number = u32::MAX;
    let high = shell("").fd(number, Stdio::Null);
    assert_eq!(failure(&high), (SpawnStep::Descriptor(number), none, false));
    let number = i32::MAX.unsigned_abs();
    let high = shell("").fd(number, Stdio::PipeFromChild);
    assert_eq!(failure(&high), (SpawnStep::Descriptor(number), none, false));
}

/// Reads the terminal's output until no process has it open any more.
fn read_terminal(child: &mut OsChild) -> String {
    let mut terminal = File::from(child.take_pipe(1).expect("the terminal"));
    rustix::io::ioctl_fionbio(&terminal, false).expect("terminals can block");
    let (mut text, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        match terminal.read(&mut chunk) {
            Ok(0) => break,
            Ok(bytes) => text.extend_from_slice(&chunk[..bytes]),
            // Linux reports the end as an error (EIO).
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
                break;
            }
        }
    }
    String::from_utf8(text).expect("the children write UTF-8")
}

#[test]
fn a_terminal_is_all_three_streams_and_controls_a_session() {
    let script = "test -t 0 && test -t 1 && test -t 2 && echo three; stty size; \
        : </dev/tty && echo controlled; read line; echo got $line";
    let size = TerminalSize {
        rows: 24,
        columns: 90,
    };
    let mut child = start(&shell(script).terminal(size));
    let mut input = File::from(child.take_pipe(0).expect("the terminal"));
    input.write_all(b"typed\n").expect("there is room");
    let text = read_terminal(&mut child);
    // The echo of the input appears somewhere between the others.
    for line in ["three", "24 90", "controlled", "typed", "got typed"] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
}

#[test]
fn a_terminal_echoes_what_is_typed_unless_it_is_told_not_to() {
    let typed = |terminal: Terminal| {
        let mut child = start(&shell("read line; echo got $line").terminal(terminal));
        let mut input = File::from(child.take_pipe(0).expect("the terminal"));
        input.write_all(b"typed\n").expect("there is room");
        read_terminal(&mut child)
    };
    let terminal = Terminal::new(TerminalSize::default());
    assert_eq!(typed(terminal.echo(false)), "got typed\r\n");
    assert_eq!(typed(terminal), "typed\r\ngot typed\r\n");
}

#[test]
fn a_terminal_that_is_open_already_can_be_given() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let name = name.into_string().expect("an ASCII name");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(&*name, flags, rustix::fs::Mode::empty()).expect("it is ours");
    let command = shell("tty; test -e /dev/fd/5 && echo more; ls /dev/fd/ | wc -l")
        .terminal(Terminal::of(master.as_raw_fd(), slave.as_raw_fd()))
        .fd(5, Stdio::Null);
    let mut child = start(&command);
    drop((master, slave));
    let text = read_terminal(&mut child);
    // Four, and the one that `ls` itself opens.
    assert_eq!(
        text.replace("\r\n", " ").trim_end(),
        format!("{name} more 5")
    );
}

#[test]
fn a_terminal_that_is_not_open_is_an_error() {
    let command = shell("").terminal(Terminal::of(9_999_999, 9_999_998));
    let error = spawn(&command).expect_err("there is none");
    assert_eq!(
        (error.step, error.is_in_child()),
        (SpawnStep::Terminal, false)
    );
    assert_eq!(error.source.raw_os_error(), Some(libc::EBADF));
}

#[test]
fn a_child_runs_as_another_user_or_reports_that_it_may_not() {
    let command = shell("echo $(id -u) $(id -g) $(id -G)").user(12_345, 23_456, [34_567, 34_568]);
    if rustix::process::geteuid().is_root() {
        let text = read_all(&mut start(&command), 1);
        assert_eq!(text, "12345 23456 23456 34567 34568\n");
    } else {
        let error = spawn(&command).expect_err("this is not allowed");
        assert_eq!((error.step, error.is_in_child()), (SpawnStep::Groups, true));
        assert_eq!(error.source.kind(), io::ErrorKind::PermissionDenied);
    }
    let ours = (rustix::process::geteuid(), rustix::process::getegid());
    assert_eq!(ours, (rustix::process::getuid(), rustix::process::getgid()));
    let nobody = shell("").user(u32::MAX, 0, []);
    let error = spawn(&nobody).expect_err("there is no such user");
    assert_eq!(error.step, SpawnStep::Arguments);
}

/// Method: a program opens the terminal by its name, which needs the right to.
#[test]
fn a_terminal_belongs_to_the_user_that_the_child_runs_as() {
    if rustix::process::geteuid().is_root() {
        let command = shell(": <$(tty) && echo opened").user(12_345, 23_456, []);
        let mut child = start(&command.terminal(TerminalSize::default()));
        assert_eq!(read_terminal(&mut child), "opened\r\n");
    }
}

#[test]
fn a_child_with_a_session_of_its_own_leads_session_and_group() {
    let script = "set -- $(ps -o pid= -o pgid= -o sid= -p $$); echo \"$1 $2 $3\"";
    for own_group in [true, false] {
        let mut child = start(&shell(script).own_session(true).own_group(own_group));
        let pid = child.pid;
        assert_eq!(read_all(&mut child, 1), format!("{pid} {pid} {pid}\n"));
    }
}

#[test]
fn a_child_has_the_umask_that_was_asked_for() {
    let mut child = start(&shell("umask").umask(0o027));
    assert_eq!(read_all(&mut child, 1), "0027\n");
    let mut child = start(&shell("umask").umask(0o7_000));
    assert_eq!(read_all(&mut child, 1), "0000\n");
}

#[test]
fn a_child_has_the_priority_that_was_asked_for() {
    let ours = rustix::process::getpriority_process(None).expect("it is known");
    let lower = i8::try_from(ours).expect("it is small").saturating_add(3);
    let expected = Priority::nice(lower);
    let mut child = start(&shell("nice").priority(expected));
    assert_eq!(read_all(&mut child, 1), format!("{}\n", expected.value()));
    assert_eq!(rustix::process::getpriority_process(None), Ok(ours));
}
