//! The program's own standard streams as a transport. Each test starts this executable again, with standard streams of
//! a kind, to play one of the [parts].

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tidewaiter::process::OwnTerminal;
use tidewaiter::{Protocol, Reactor, Reason, Transport};

use crate::promises::support::{Log, Script, reactor, run_clean};
use crate::support::starting;

/// Tells the child its part.
const PART: &str = "TIDEWAITER_TEST_STANDARD";
/// The first bytes that a child writes through its transport.
const READY: &[u8] = b"\n<the child is ready>\n";
/// More than pipes and the memory of a transport hold.
const MUCH: usize = 64 << 20;
/// How long a child's reader is silent.
const SILENCE: Duration = Duration::from_millis(300);
/// Longer than anything takes; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The parts that children play. Each returns the exit code.
mod parts {
    use super::*;

    pub(super) fn play(part: &str) -> i32 {
        match part {
            "echo" => echo(),
            "tasks" => tasks(),
            "input" => input(),
            "half" => half(),
            "flood" => flood(),
            "leave" => leave(),
            "count" => count(),
            "abort" => abort(),
            "unread" => unread(),
            "resize" => resize(),
            raw => raw_until(raw),
        }
    }

    /// Runs a protocol on the standard streams until the reactor stops. Returns 0 if nothing was left.
    fn on_standard_streams(reactor: &Reactor, protocol: impl Protocol + 'static) -> i32 {
        let opened = reactor.standard_io(protocol);
        opened.expect("there are standard streams");
        run_clean(reactor);
        0
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is a callback")]
    fn expect_done(transport: &Transport, reason: Reason) {
        assert!(reason.is_done(), "{reason}");
        assert_eq!(transport.unsent(), 0);
        transport.reactor().stop();
    }

    /// Sends back what arrives.
    fn echo() -> i32 {
        let script = Script::new()
            .made(|transport| {
                transport.write(READY);
                transport.pause_while_congested();
            })
            .data(Transport::write)
            .lost(expect_done);
        on_standard_streams(&reactor(), script)
    }

    /// Sends back what arrives, by a future.
    fn tasks() -> i32 {
        let reactor = reactor();
        let copied = reactor.block_on(async {
            let mut stdio = tidewaiter::io::stdio(&reactor)?;
            stdio.write_all(READY).await?;
            loop {
                let chunk = stdio.read_chunk().await?;
                if chunk.is_empty() {
                    return stdio.shutdown().await;
                }
                stdio.write_all(&chunk).await?;
            }
        });
        copied.expect("it runs").expect("the streams work");
        0
    }

    /// Reads standard input alone, to its end or to a `q`, and then prints how much that was.
    fn input() -> i32 {
        let reactor = reactor();
        let read = reactor.block_on(async {
            let mut input = tidewaiter::io::stdin(&reactor)?;
            std::io::stdout().write_all(READY)?;
            let mut read = Vec::new();
            while !read.ends_with(b"q") {
                let chunk = input.read_chunk().await?;
                if chunk.is_empty() {
                    break;
                }
                read.extend_from_slice(&chunk);
            }
            drop(input);
            while reactor.metrics().living.transports > 0 {
                tidewaiter::yield_now().await;
            }
            Ok::<usize, std::io::Error>(read.len())
        });
        let read = read.expect("it runs").expect("the stream works");
        writeln!(std::io::stdout(), "{read} bytes").expect("it is still ours");
        0
    }

    /// Ends its output, and then reads to the end.
    fn half() -> i32 {
        let log = Log::default();
        let (ended, read) = (log.clone(), log.clone());
        let script = Script::new()
            .made(|transport| {
                transport.write(READY);
                transport.lose_write_connection();
            })
            .write_lost(move |_| ended.add("written"))
            .data(move |_, data| read.add(String::from_utf8_lossy(data)))
            .lost(expect_done);
        on_standard_streams(&reactor(), script);
        assert_eq!(log.take(), ["written", "more"]);
        0
    }

    /// Writes much to a reader that is silent once it has sent something. Returns 0 if that kept the reactor from nothing.
    fn flood() -> i32 {
        let reactor = reactor();
        let script = Script::new()
            .made(|transport| {
                transport.write(READY);
                transport.write_bytes(vec![b'x'; MUCH]);
            })
            .data(|transport, _| {
                let turns = |reactor: &Reactor| reactor.metrics().turns;
                transport.reactor().call_later(SILENCE / 3, move |reactor| {
                    let before = turns(reactor);
                    reactor.call_later(SILENCE, move |reactor| {
                        let between = turns(reactor) - before;
                        assert!(between <= 3, "{between} turns while nobody read");
                        writeln!(std::io::stderr(), "silent").expect("it is read");
                    });
                });
                transport.lose_connection();
            })
            .lost(expect_done);
        on_standard_streams(&reactor, script)
    }

    /// Ends although nothing arrives.
    fn leave() -> i32 {
        let script = Script::new()
            .made(|transport| {
                transport.write(READY);
                transport
                    .reactor()
                    .call_later(Duration::from_millis(20), Reactor::stop);
            })
            .lost(|_, reason| assert!(matches!(reason, Reason::Stopped), "{reason}"));
        on_standard_streams(&reactor(), script)
    }

    /// Counts what arrives, and writes the number.
    fn count() -> i32 {
        let count = Rc::new(std::cell::Cell::new(0));
        let counting = Rc::clone(&count);
        let script = Script::new()
            .made(|transport| transport.write(READY))
            .data(move |_, data| counting.set(counting.get() + data.len()))
            .read_lost(move |transport| {
                transport.write(format!("{} bytes", count.get()).as_bytes());
                transport.lose_connection();
            })
            .lost(expect_done);
        on_standard_streams(&reactor(), script)
    }

    /// Says the new size of the terminal, once it changes.
    fn resize() -> i32 {
        let reactor = reactor();
        let terminal = || OwnTerminal::find().expect("there is a terminal");
        let watch = reactor.on_resize(terminal(), move |reactor, size| {
            assert_eq!(terminal().size().expect("it has a size"), size);
            say(format!("{} {}\n", size.rows, size.columns).as_bytes());
            reactor.stop();
        });
        let watch = watch.expect("it can be watched");
        reactor.call_when_running(|_| say(READY));
        run_clean(&reactor);
        drop(watch);
        0
    }

    /// Makes the terminal raw, and then ends in the way that the part names.
    #[expect(clippy::disallowed_methods, reason = "an exit is what is tested")]
    fn raw_until(end: &str) -> i32 {
        let terminal = OwnTerminal::find().expect("there is a terminal");
        let raw = terminal.make_raw().expect("it can be made raw");
        let again = terminal.make_raw().expect_err("it is raw");
        assert_eq!(again.kind(), std::io::ErrorKind::ResourceBusy);
        say(READY);
        let mut byte = [0];
        std::io::stdin().read_exact(&mut byte).expect("a key");
        assert_eq!(byte, [3], "Ctrl-C is a key");
        match end {
            "raw-drop" => drop(raw),
            "raw-panic" => {
                let result = std::panic::catch_unwind(move || {
                    let _raw = raw;
                    panic!("the terminal is raw");
                });
                assert!(result.is_err());
                std::mem::forget(terminal);
            }
            "raw-exit" => std::process::exit(0),
            "raw-signal" => {
                let reactor = crate::open(Reactor::builder());
                reactor.call_when_running(|_| say(READY));
                let end = reactor.run().expect("it runs");
                assert!(matches!(end, tidewaiter::RunEnd::Signal(_)), "{end:?}");
            }
            _ => panic!("no such part: {end}"),
        }
        0
    }

    fn say(text: &[u8]) {
        let mut output = std::io::stdout();
        output.write_all(text).expect("somebody reads");
        output.flush().expect("somebody reads");
    }

    /// Answers when nobody reads answers any more.
    fn unread() -> i32 {
        let script = Script::new()
            .made(|transport| transport.write(READY))
            .data(Transport::write)
            .lost(|transport, reason| {
                assert!(matches!(reason, Reason::Reset(_)), "{reason}");
                transport.reactor().stop();
            });
        on_standard_streams(&reactor(), script)
    }

    /// Aborts while nobody reads what it wrote.
    fn abort() -> i32 {
        let script = Script::new()
            .made(|transport| {
                transport.write_bytes(vec![b'x'; MUCH]);
                let aborted = transport.clone();
                transport
                    .reactor()
                    .call_later(Duration::from_millis(20), move |_| {
                        aborted.abort_connection();
                    });
            })
            .lost(|transport, reason| {
                assert!(matches!(reason, Reason::Aborted), "{reason}");
                assert!(transport.unsent() > 0);
                transport.reactor().stop();
            });
        on_standard_streams(&reactor(), script)
    }
}

/// Runs in the child. In any other process, this test does nothing.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child ends without the report of a test"
)]
fn plays_its_part() {
    if let Ok(part) = std::env::var(PART) {
        std::process::exit(parts::play(&part));
    }
}

pub(crate) fn child(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("we are a program"));
    command
        .args(["--exact", "standard::plays_its_part", "--nocapture"])
        .arg("--test-threads=1")
        .env(PART, part);
    command
}

/// Starts a child with a pipe as its standard error.
pub(crate) fn start(part: &str, input: impl Into<Stdio>, output: impl Into<Stdio>) -> Child {
    let mut command = child(part);
    command.stdin(input).stdout(output).stderr(Stdio::piped());
    starting::start(&mut command).expect("it can be run again")
}

/// Waits for the child's end, for a limited time, and checks that it succeeded.
pub(crate) fn expect_success(mut child: Child) {
    let mut error = child.stderr.take();
    let (ended, has_ended) = mpsc::channel();
    let pid = child.id();
    thread::spawn(move || {
        let mut text = String::new();
        if let Some(error) = &mut error {
            // What is no text is no message.
            let _ = error.read_to_string(&mut text);
        }
        let _ = ended.send((child.wait(), text));
    });
    let (status, text) = has_ended
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("child {pid} does not end"));
    let status = status.expect("it is our child");
    assert!(status.success(), "{status}: {text}");
}

/// Removes what the test harness writes before the child is ready.
pub(crate) fn after_ready(output: &[u8]) -> &[u8] {
    let at = output.windows(READY.len()).position(|part| part == READY);
    let at = at.unwrap_or_else(|| panic!("not ready: {}", String::from_utf8_lossy(output)));
    &output[at + READY.len()..]
}

pub(crate) fn await_ready(output: &mut impl Read) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(READY) {
        assert_eq!(
            output.read(&mut byte).expect("it can be read"),
            1,
            "{seen:?}"
        );
        // A terminal in its usual mode adds these.
        if byte != *b"\r" {
            seen.push(byte[0]);
        }
    }
}

/// Bytes whose order shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

fn temporary(name: &str) -> (std::path::PathBuf, File) {
    let path = std::env::temp_dir().join(format!("tidewaiter-{}-{name}", std::process::id()));
    let options = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path);
    (
        path,
        options.expect("the folder for temporary files can be written"),
    )
}

#[test]
fn pipes_carry_all_bytes_both_ways() {
    for part in ["echo", "tasks"] {
        carry_all_bytes(part);
    }
}

fn carry_all_bytes(part: &str) {
    let mut child = start(part, Stdio::piped(), Stdio::piped());
    let data: Vec<u8> = pattern(MUCH / 16);
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let sent = data.clone();
    let writer = thread::spawn(move || input.write_all(&sent));
    let mut received = Vec::new();
    output.read_to_end(&mut received).expect("it is a pipe");
    writer.join().unwrap().expect("the child reads all of it");
    assert!(after_ready(&received) == data);
    expect_success(child);
}

#[test]
fn output_ends_while_input_goes_on() {
    let mut child = start("half", Stdio::piped(), Stdio::piped());
    let mut received = Vec::new();
    let output = child.stdout.as_mut().unwrap();
    output.read_to_end(&mut received).expect("it ends");
    assert!(after_ready(&received).is_empty());
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"more").expect("the child reads on");
    drop(input);
    expect_success(child);
}

/// Goal: a program that reads standard input by the loop prints as any other, while the input is open and afterwards.
#[test]
fn input_alone_leaves_the_output_to_the_program() {
    for (sent, ends) in [("some bytes", true), ("enough q", false)] {
        let mut child = start("input", Stdio::piped(), Stdio::piped());
        let mut input = child.stdin.take().unwrap();
        input.write_all(sent.as_bytes()).expect("the child reads");
        let input = (!ends).then_some(input);
        let mut received = Vec::new();
        let output = child.stdout.as_mut().unwrap();
        output.read_to_end(&mut received).expect("it is a pipe");
        let printed = format!("{} bytes\n", sent.len());
        assert_eq!(after_ready(&received), printed.as_bytes());
        expect_success(child);
        drop(input);
    }
}

#[test]
fn a_file_is_read_from_its_position_and_written_at_it() {
    let (path, mut input) = temporary("input");
    let data: Vec<u8> = pattern(3 << 20);
    input.write_all(&data).unwrap();
    let skipped = 1 << 20;
    input.seek(std::io::SeekFrom::Start(skipped)).unwrap();
    let (to, mut output) = temporary("output");
    output.write_all(b"before").unwrap();
    let child = start("echo", input, output.try_clone().unwrap());
    expect_success(child);
    output.rewind().unwrap();
    let mut written = Vec::new();
    output.read_to_end(&mut written).unwrap();
    assert!(written.starts_with(b"before"));
    assert!(after_ready(&written) == &data[usize::try_from(skipped).unwrap()..]);
    drop(output);
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(to).unwrap();
}

#[test]
fn the_null_device_ends_at_once_and_takes_everything() {
    let child = start("echo", Stdio::null(), Stdio::null());
    expect_success(child);
}

#[test]
fn silent_input_does_not_keep_the_program_from_ending() {
    let mut child = start("leave", Stdio::piped(), Stdio::piped());
    let input = child.stdin.take();
    expect_success(child);
    drop(input);
}

#[test]
fn a_silent_reader_causes_no_wake_up_and_gets_everything() {
    let mut child = start("flood", Stdio::piped(), Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    await_ready(&mut output);
    input.write_all(b"!").expect("the child reads");
    let mut line = [0; 7];
    let error = child.stderr.as_mut().unwrap();
    error.read_exact(&mut line).expect("it tells");
    assert_eq!(&line, b"silent\n");
    let mut received = Vec::new();
    output.read_to_end(&mut received).expect("it is a pipe");
    assert_eq!(received.len(), MUCH);
    expect_success(child);
    drop(input);
}

#[test]
fn an_abort_does_not_wait_for_the_reader() {
    let mut child = start("abort", Stdio::piped(), Stdio::piped());
    let (input, output) = (child.stdin.take(), child.stdout.take());
    expect_success(child);
    drop((input, output));
}

#[test]
fn a_write_that_nobody_reads_loses_the_transport() {
    let mut child = start("unread", Stdio::piped(), Stdio::piped());
    let mut output = child.stdout.take().unwrap();
    await_ready(&mut output);
    drop(output);
    let mut input = child.stdin.take().unwrap();
    // The child of another test may have a copy of our end, until its program starts: ask until ours has ended.
    let asking = thread::spawn(move || {
        while input.write_all(b"is anybody there?").is_ok() {
            thread::yield_now();
        }
    });
    expect_success(child);
    asking.join().unwrap();
}

#[test]
fn input_that_has_ended_before_is_read() {
    let mut child = start("count", Stdio::piped(), Stdio::piped());
    // It may not have opened its streams when the pipe is closed.
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"three").unwrap();
    drop(input);
    let mut received = Vec::new();
    let output = child.stdout.as_mut().unwrap();
    output.read_to_end(&mut received).expect("it is a pipe");
    assert_eq!(after_ready(&received), b"5 bytes");
    expect_success(child);
}
