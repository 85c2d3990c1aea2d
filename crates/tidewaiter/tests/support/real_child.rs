//! Real children: this executable, started again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use tidewaiter::process::Command;

use super::roles::{READY, ROLE, Role, TEXT, told};
use super::starting;

/// The name of the test that a child runs.
const ENTRY: &str = "support::real_child::plays_its_role";

/// How long a child that nothing ends stays, so that a failed test does not leave it behind for ever.
const STAY: Duration = Duration::from_secs(300);

/// The command that starts a child with `role`.
pub(crate) fn child(role: Role) -> Command {
    Command::new(std::env::current_exe().expect("we are a program"))
        .args(["--exact", ENTRY, "--nocapture", "--test-threads=1"])
        .env(ROLE, role.to_text())
}

/// As [`child`], for the standard library to start.
pub(crate) fn plain_child(role: Role) -> std::process::Command {
    let mut command =
        std::process::Command::new(std::env::current_exe().expect("we are a program"));
    command
        .args(["--exact", ENTRY, "--nocapture", "--test-threads=1"])
        .env(ROLE, role.to_text());
    command
}

/// Runs in the child. In any other process, this test does nothing.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child ends without the report of a test"
)]
fn plays_its_role() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    // An error means that the parent ended, or broke a pipe on purpose.
    let code = play(Role::from_text(&role)).unwrap_or(1);
    std::process::exit(code);
}

fn play(role: Role) -> io::Result<i32> {
    match role {
        Role::Exit(code) => return Ok(code.into()),
        Role::Work(size) => return Ok(work(size)),
        Role::Stubborn => ignore_requests(),
        Role::Allocate(size) => return Ok(allocate(size)),
        Role::Compute => compute(),
        Role::OpenFiles => return Ok(open_files()),
        Role::Holding => return Ok(holding()),
        Role::Start => return Ok(start_another()),
        Role::Converse => return converse(),
        _ => {}
    }
    say(READY)?;
    match role {
        Role::Echo => {
            echo()?;
            Ok(0)
        }
        Role::Mute => {
            close_output();
            await_end_of_input()?;
            Ok(3)
        }
        Role::Peer => {
            tell_peer()?;
            Ok(0)
        }
        Role::Relay => {
            relay()?;
            Ok(0)
        }
        Role::Tell => {
            say(&told(|name| std::env::var_os(name)))?;
            Ok(0)
        }
        Role::LeaveEcho => {
            start(Role::Echo)?;
            Ok(5)
        }
        Role::LeaveStubborn => {
            start(Role::Stubborn)?;
            Ok(5)
        }
        Role::Flood(count) => {
            flood(count)?;
            await_end_of_input()?;
            Ok(0)
        }
        Role::KeepDeaf => {
            start(Role::Deaf)?;
            stay()
        }
        Role::Ancestor(generations) => {
            if let Some(below) = generations.checked_sub(1) {
                start(Role::Ancestor(below))?;
            }
            stay()
        }
        Role::KeepBound => keep_bound(),
        _ => stay(),
    }
}

fn say(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(bytes)?;
    output.flush()
}

fn echo() -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match io::stdin().read(&mut bytes)? {
            0 => return Ok(()),
            count => say(&bytes[..count])?,
        }
    }
}

fn flood(count: u32) -> io::Result<()> {
    static PIECE: [u8; 64 << 10] = [b'!'; 64 << 10];
    let mut left = 1024 * usize::try_from(count).expect("it fits");
    while left > 0 {
        left -= io::stderr().write(&PIECE[..left.min(PIECE.len())])?;
    }
    Ok(())
}

fn tell_peer() -> io::Result<()> {
    let mut connection = &standard_input();
    match connection.peer_addr() {
        Ok(peer) => connection.write_all(format!("{peer}\n").as_bytes())?,
        // Wine lets a process use a socket that it did not make as a file alone (WSAENOTSOCK).
        Err(error) if cfg!(windows) && error.raw_os_error() == Some(10038) => {
            say(b"untold\n")?;
            return echo();
        }
        Err(error) => return Err(error),
    }
    io::copy(&mut { connection }, &mut connection)?;
    Ok(())
}

/// Our standard input, which is a socket.
#[cfg(unix)]
fn standard_input() -> TcpStream {
    let input = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned();
    input.expect("it is open").into()
}

#[cfg(windows)]
#[expect(unsafe_code, reason = "a handle becomes a socket")]
fn standard_input() -> TcpStream {
    use std::os::windows::io::{AsRawHandle, FromRawSocket};
    // Winsock starts with the first socket that std makes.
    let _started = std::net::UdpSocket::bind("127.0.0.1:0");
    let number = io::stdin().as_raw_handle().expose_provenance();
    // SAFETY: nothing else closes it: this process exits without doing so.
    unsafe { TcpStream::from_raw_socket(number.try_into().expect("handles are words")) }
}

fn relay() -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let mut rest = match read_descriptor(9, &mut bytes)? {
            0 => return Ok(()),
            count => &bytes[..count],
        };
        while !rest.is_empty() {
            rest = &rest[write_descriptor(5, rest)?..];
        }
    }
}

fn await_end_of_input() -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a child ends without the report of a test"
)]
fn stay() -> ! {
    let start = std::time::Instant::now();
    while start.elapsed() < STAY {
        std::thread::park_timeout(STAY);
    }
    std::process::exit(1);
}

/// Writes each page of its memory several times, and computes with what it wrote. Exits with 0.
fn work(size: u8) -> i32 {
    let mut memory = vec![1_u8; usize::from(size) << 20];
    let mut sum = 0_u64;
    for round in 0..40 {
        for (at, byte) in memory.iter_mut().enumerate().step_by(64) {
            *byte = byte.wrapping_mul(31).wrapping_add(round);
            sum = sum.wrapping_add(u64::from(*byte) * at as u64);
        }
    }
    i32::from(std::hint::black_box(sum) == 1)
}

/// What a role exits with that was refused what it wanted.
const REFUSED: i32 = 9;

fn allocate(size: u8) -> i32 {
    let mut memory: Vec<u8> = Vec::new();
    let allocated = memory.try_reserve_exact(usize::from(size) << 20);
    if allocated.is_err() { REFUSED } else { 0 }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a child ends without the report of a test"
)]
fn compute() -> ! {
    let (start, mut sum) = (std::time::Instant::now(), 0_u64);
    while start.elapsed() < STAY {
        for number in 0..1_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
    }
    std::process::exit(1);
}

fn open_files() -> i32 {
    let program = std::env::current_exe().expect("we are a program");
    let opened: Vec<_> = (0..100)
        .map_while(|_| std::fs::File::open(&program).ok())
        .collect();
    i32::try_from(opened.len()).expect("it is small")
}

fn holding() -> i32 {
    let names = std::env::var(TEXT).expect("numbers are plain text");
    let mut numbers = names.split(' ').map(|name| name.parse().expect("a number"));
    let held = numbers.by_ref().filter(|number| is_open(*number)).count();
    i32::try_from(held).expect("they are few")
}

fn start_another() -> i32 {
    let Ok(mut other) = starting::start(&mut plain_child(Role::Exit(0))) else {
        return REFUSED;
    };
    let status = other.wait().expect("it is our child");
    if status.success() { 0 } else { REFUSED }
}

fn converse() -> io::Result<i32> {
    let (input, output) = match cfg!(windows) {
        true => ("CONIN$", "CONOUT$"),
        false => ("/dev/tty", "/dev/tty"),
    };
    let open = |name| File::options().read(true).write(true).open(name);
    let (input, mut output) = (open(input)?, open(output)?);
    // Each answer in one write: a pseudo-console draws between two.
    output.write_all(b"ready\n")?;
    for line in BufReader::new(input).lines() {
        let answer = match line?.trim_end() {
            "size" => {
                let [rows, columns] = terminal_size(&output)?;
                format!("{rows} rows, {columns} columns\n")
            }
            "flood" => loop {
                output.write_all(&[b'!'; 1024])?;
            },
            "stay" => {
                ignore_requests();
                output.write_all(b"staying\n")?;
                stay();
            }
            "exit" => {
                output.write_all(b"bye\n")?;
                return Ok(3);
            }
            other => format!("heard <{other}>\n"),
        };
        output.write_all(answer.as_bytes())?;
    }
    Ok(4)
}

#[cfg(unix)]
fn terminal_size(terminal: &File) -> io::Result<[u16; 2]> {
    let size = rustix::termios::tcgetwinsize(terminal)?;
    Ok([size.ws_row, size.ws_col])
}

#[cfg(windows)]
#[expect(unsafe_code, reason = "std knows no sizes of terminals")]
fn terminal_size(terminal: &File) -> io::Result<[u16; 2]> {
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::System::Console::GetConsoleScreenBufferInfo;
    let mut information = Default::default();
    // SAFETY: the handle is open, and `information` has room.
    let done =
        unsafe { GetConsoleScreenBufferInfo(terminal.as_raw_handle(), &raw mut information) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let window = information.srWindow;
    let [rows, columns] = [window.Bottom - window.Top, window.Right - window.Left];
    Ok([rows, columns].map(|last| last.unsigned_abs() + 1))
}

/// Starts another child with our own streams, and does not wait for it.
fn start(role: Role) -> io::Result<()> {
    let mut command = plain_child(role);
    command
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    starting::start(&mut command).map(drop)
}

/// Starts a child that ends with us, and stays.
fn keep_bound() -> io::Result<i32> {
    struct Ignored;
    impl tidewaiter::ProcessProtocol for Ignored {}
    use tidewaiter::process::Stdio::Inherit;
    let command = child(Role::Deaf)
        .stdin(Inherit)
        .stdout(Inherit)
        .stderr(Inherit)
        .die_with_parent(true);
    let reactor = tidewaiter::Reactor::new().map_err(io::Error::other)?;
    let started = reactor.spawn_process(&command, Ignored);
    started.map_err(io::Error::other)?;
    reactor.run().map_err(io::Error::other)?;
    Ok(1)
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "std has no way to close a standard stream")]
fn close_output() {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: nothing in this process writes to standard output any more: it exits without doing so.
    drop(unsafe { OwnedFd::from_raw_fd(1) });
}

#[cfg(windows)]
#[expect(unsafe_code, reason = "std has no way to close a standard stream")]
fn close_output() {
    use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
    let handle = io::stdout().as_raw_handle();
    // SAFETY: nothing in this process writes to standard output any more: it exits without doing so.
    drop(unsafe { OwnedHandle::from_raw_handle(handle) });
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "std has no way to ignore a signal")]
fn ignore_requests() {
    for number in [libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: no handler is installed, so no code runs at a signal.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
}

#[cfg(windows)]
#[expect(unsafe_code, reason = "std has no way to ignore console events")]
fn ignore_requests() {
    use windows_sys::Win32::System::Console::{CTRL_CLOSE_EVENT, SetConsoleCtrlHandler};

    unsafe extern "system" fn handled(event: u32) -> windows_sys::core::BOOL {
        // Once its console is closed, a process lives only until its handler returns.
        if event == CTRL_CLOSE_EVENT {
            stay();
        }
        1
    }
    // SAFETY: the handler touches nothing.
    unsafe { SetConsoleCtrlHandler(Some(handled), 1) };
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "a number becomes a file")]
fn descriptor(number: i32) -> std::mem::ManuallyDrop<std::fs::File> {
    // SAFETY: it is only read or written, which fails if it is not open, and never closed.
    std::mem::ManuallyDrop::new(unsafe { std::os::fd::FromRawFd::from_raw_fd(number) })
}

#[cfg(unix)]
fn read_descriptor(number: i32, bytes: &mut [u8]) -> io::Result<usize> {
    descriptor(number).read(bytes)
}

#[cfg(unix)]
fn write_descriptor(number: i32, bytes: &[u8]) -> io::Result<usize> {
    descriptor(number).write(bytes)
}

#[cfg(unix)]
fn is_open(number: usize) -> bool {
    let number = i32::try_from(number).expect("it is small");
    rustix::io::fcntl_getfd(&*descriptor(number)).is_ok()
}

#[cfg(windows)]
#[expect(unsafe_code, reason = "std knows no handles that are not its own")]
fn is_open(number: usize) -> bool {
    let mut flags = 0;
    let handle = std::ptr::without_provenance_mut(number);
    // SAFETY: the call only asks about a number, even if no handle has it.
    unsafe { windows_sys::Win32::Foundation::GetHandleInformation(handle, &raw mut flags) != 0 }
}

/// The C runtime, which alone knows a program's descriptors on Windows.
#[cfg(windows)]
#[expect(unsafe_code, reason = "functions of the C runtime")]
mod runtime {
    unsafe extern "C" {
        pub(super) unsafe fn _read(number: i32, bytes: *mut u8, count: u32) -> i32;
        pub(super) unsafe fn _write(number: i32, bytes: *const u8, count: u32) -> i32;
    }
}

#[cfg(windows)]
#[expect(unsafe_code, reason = "std knows no descriptors")]
fn read_descriptor(number: i32, bytes: &mut [u8]) -> io::Result<usize> {
    let room = bytes.len().try_into().expect("it is small");
    // SAFETY: there is room for that many bytes.
    let count = unsafe { runtime::_read(number, bytes.as_mut_ptr(), room) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

#[cfg(windows)]
#[expect(unsafe_code, reason = "std knows no descriptors")]
fn write_descriptor(number: i32, bytes: &[u8]) -> io::Result<usize> {
    let length = bytes.len().try_into().expect("it is small");
    // SAFETY: there are that many bytes.
    let count = unsafe { runtime::_write(number, bytes.as_ptr(), length) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
