//! Lines, from connections and from children.

use std::time::Duration;

use tidewaiter::frames::{
    ChildFrameProtocol, ChildFrames, FrameProtocol, Frames, Line, LineEnd, Lines,
};
use tidewaiter::process::ExitStatus;
use tidewaiter::{ChildFd, Process, Reason, Transport};

use super::support::{Countdown, Log, Script, pair, reactor, run_clean};
use crate::support::reasons::kind_of;
use crate::support::roles::{READY, Role};

/// Notes each line.
struct Listed {
    log: Log,
    countdown: Countdown,
}

fn text(line: &Line) -> String {
    let mark = match line.end {
        LineEnd::Newline => "",
        LineEnd::EndOfData => " (unended)",
        LineEnd::TooLong => " (too long)",
    };
    format!("{}{mark}", String::from_utf8_lossy(line))
}

impl FrameProtocol for Listed {
    type Codec = Lines;

    fn connection_made(&mut self, transport: &Transport) {
        self.log.add("made");
        transport.write(b"begin");
    }

    fn frame_received(&mut self, transport: &Transport, line: Line) {
        self.log.add(text(&line));
        match &*line.bytes {
            b"close" => transport.lose_connection(),
            b"end" => transport.lose_write_connection(),
            _ => {}
        }
    }

    fn write_connection_lost(&mut self, _: &Transport) {
        self.log.add("write lost");
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        self.log.add(kind_of(&reason));
        self.countdown.hit(transport.reactor());
    }
}

/// What a server with a limit of 8 bytes is told of a client that sends these pieces and ends.
fn told_of(pieces: &'static [&'static str]) -> Vec<String> {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let client = Script::new()
        .data(move |transport, _| {
            for (number, piece) in (0..).zip(pieces) {
                let to = transport.clone();
                let after = Duration::from_millis(10) * number;
                let send = move |_: &tidewaiter::Reactor| to.write(piece.as_bytes());
                transport.reactor().call_later(after, send);
            }
            let ending = transport.clone();
            let after = Duration::from_millis(10) * u32::try_from(pieces.len()).expect("few");
            let end = move |_: &tidewaiter::Reactor| ending.lose_write_connection();
            transport.reactor().call_later(after, end);
        })
        // It sends on when the server has ended its side.
        .read_lost(|_| {})
        .then_done(&countdown);
    let listed = Listed {
        log: log.clone(),
        countdown,
    };
    let server = Frames::new(Lines::new().limit(8).cut_long(), listed);
    let _listener = pair(&reactor, client, server);
    run_clean(&reactor);
    log.take()
}

#[test]
fn a_connection_is_split_into_lines() {
    let told = told_of(&["one\ntw", "o\r", "\n\nmuch too long\neight by\r\nlast"]);
    let expected = [
        "made",
        "one",
        "two",
        "",
        "much too (too long)",
        "eight by",
        "last (unended)",
        "done",
    ];
    assert_eq!(told, expected);
}

#[test]
fn no_line_follows_a_close_and_lines_follow_an_end_of_the_write_side() {
    assert_eq!(
        told_of(&["one\nclose\nnever\nnever"]),
        ["made", "one", "close", "done"]
    );
    let told = told_of(&["end\nmore\n", "and more\n"]);
    assert_eq!(
        told.iter().filter(|event| *event == "write lost").count(),
        1
    );
    let lines: Vec<_> = told.iter().filter(|event| *event != "write lost").collect();
    assert_eq!(lines, ["made", "end", "more", "and more", "done"]);
}

/// Notes the lines of a child once it plays its role.
struct Heard {
    log: Log,
    countdown: Countdown,
    ready: bool,
}

impl ChildFrameProtocol for Heard {
    type Codec = Lines;

    fn frame_received(&mut self, process: &Process, child_fd: ChildFd, line: Line) {
        if !self.ready && child_fd == 1 {
            self.ready =
                READY.strip_prefix(b"\n").expect("it begins a line") == [&line[..], b"\n"].concat();
            return;
        }
        self.log.add(format!("{child_fd}: {}", text(&line)));
        if &line[..] == b"close" {
            process.close_fd(1);
        }
    }

    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, _: Reason) {
        if child_fd == 1 {
            self.log.add("lost");
            process.close_stdin();
        }
    }

    fn process_exited(&mut self, _: &Process, _: ExitStatus) {
        self.log.add("exited");
    }

    fn process_ended(&mut self, process: &Process, _: ExitStatus) {
        self.log.add("ended");
        self.countdown.hit(process.reactor());
    }
}

/// What is told of a child of this role that gets this input.
fn told_of_child(role: Role, input: &str) -> Vec<String> {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let heard = Heard {
        log: log.clone(),
        countdown,
        ready: false,
    };
    let protocol = ChildFrames::new(Lines::new().limit(64).cut_long(), heard);
    let process = reactor.spawn_process(&crate::child(role), protocol);
    let process = process.expect("it starts");
    process.write(input.as_bytes());
    if !input.contains("close") {
        process.close_stdin();
    }
    run_clean(&reactor);
    let events = log.take();
    assert_eq!(events.iter().filter(|event| *event == "exited").count(), 1);
    assert_eq!(events.last().map(String::as_str), Some("ended"));
    let rest = events.into_iter();
    rest.filter(|event| event != "exited" && event != "ended")
        .collect()
}

#[test]
fn a_child_is_split_into_lines() {
    let told = told_of_child(Role::Echo, "one\ntwo\r\n\nlast");
    assert_eq!(
        told,
        ["1: one", "1: two", "1: ", "1: last (unended)", "lost"]
    );
    let told = told_of_child(Role::Flood(1), "");
    let long = format!("2: {} (too long)", "!".repeat(64));
    assert_eq!(told.iter().filter(|event| **event == long).count(), 1);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn no_line_follows_once_its_pipe_is_closed() {
    let told = told_of_child(Role::Echo, "one\nclose\nnever\nnever");
    assert_eq!(told, ["1: one", "1: close", "lost"]);
}
