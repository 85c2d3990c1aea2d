//! Frames, for callbacks and for tasks.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream as _;
use futures_io::{AsyncRead, AsyncWrite};
use futures_sink::Sink;
use tidewaiter::bytes::Bytes;
use tidewaiter::frames::{
    ChildFrameProtocol, ChildFrames, FrameError, FrameProtocol, Framed, FramedRead, FramedWrite,
    Frames, LengthPrefixed, Line, Lines, Netstrings,
};
use tidewaiter::process::ExitStatus;
use tidewaiter::{ChildFd, Process, Reason, Transport, yield_now};

use super::io_streams::{check, pair as streams, poll_once};
use super::support::{Countdown, Log, Script, pair, pattern, reactor, run_clean};
use crate::support::reasons::kind_of;
use crate::support::roles::Role;

/// Notes each netstring.
struct Noted {
    log: Log,
    countdown: Countdown,
}

impl FrameProtocol for Noted {
    type Codec = Netstrings;

    fn frame_received(&mut self, _: &Transport, frame: Bytes) {
        self.log.add(String::from_utf8_lossy(&frame));
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        self.log.add(kind_of(&reason));
        self.countdown.hit(transport.reactor());
    }
}

/// As [`Noted`], and answers what is no frame.
struct Answering(Noted);

impl FrameProtocol for Answering {
    type Codec = Netstrings;

    fn frame_received(&mut self, transport: &Transport, frame: Bytes) {
        self.0.frame_received(transport, frame);
    }

    fn frame_failed(&mut self, transport: &Transport, error: FrameError) {
        transport.write(error.to_string().as_bytes());
        transport.lose_connection();
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        self.0.connection_lost(transport, reason);
    }
}

/// What a server is told, and what it answers, of a client that sends this and ends.
fn told_of<P: FrameProtocol<Codec = Netstrings> + 'static>(
    data: &'static str,
    server: impl FnOnce(Noted) -> P,
) -> (Vec<String>, String) {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let answer = Log::default();
    let client = Script::new()
        .made(move |transport| {
            transport.write(data.as_bytes());
            transport.lose_write_connection();
        })
        .data({
            let answer = answer.clone();
            move |_, data| answer.add(String::from_utf8_lossy(data))
        })
        .lost({
            let countdown = countdown.clone();
            move |transport, _| countdown.hit(transport.reactor())
        });
    let noted = Noted {
        log: log.clone(),
        countdown,
    };
    let server = Frames::new(Netstrings::new().limit(9), server(noted));
    let _listener = pair(&reactor, client, server);
    run_clean(&reactor);
    (log.take(), answer.take().concat())
}

#[test]
fn bytes_that_are_no_frame_abort_the_connection() {
    let told = |data| told_of(data, |noted| noted).0;
    assert_eq!(told("3:one,0:,"), ["one", "", "done"]);
    assert_eq!(told("3:one,10:more"), ["one", "aborted"]);
    assert_eq!(told("3:one,x3:two,"), ["one", "aborted"]);
    assert_eq!(
        told("3:one,3:tw"),
        ["one", "aborted"],
        "ends within a frame"
    );
}

#[test]
fn a_protocol_may_answer_bytes_that_are_no_frame() {
    let (told, answer) = told_of("3:one,10:3:two,", Answering);
    assert_eq!(told, ["one", "done"]);
    assert_eq!(answer, "netstring too long: 10 bytes, the limit is 9");
    let (_, answer) = told_of("3:on", Answering);
    assert_eq!(
        answer,
        "the stream ended within a netstring, after 4 of its bytes"
    );
}

/// Notes what a child's descriptors say.
struct Heard(Log);

impl ChildFrameProtocol for Heard {
    type Codec = Lines;

    fn frame_received(&mut self, _: &Process, child_fd: ChildFd, _: Line) {
        self.0.add(format!("line of {child_fd}"));
    }

    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, _: Reason) {
        if child_fd == 1 {
            self.0.add("lost");
            process.close_stdin();
        }
    }

    fn process_ended(&mut self, process: &Process, _: ExitStatus) {
        process.reactor().stop();
    }
}

#[test]
fn a_pipe_whose_bytes_are_no_frame_is_closed() {
    let (reactor, log) = (reactor(), Log::default());
    // The child begins with a longer line.
    let protocol = ChildFrames::new(Lines::new().limit(1), Heard(log.clone()));
    let process = reactor.spawn_process(&crate::child(Role::Echo), protocol);
    process.expect("it starts");
    run_clean(&reactor);
    assert_eq!(log.take().last().map(String::as_str), Some("lost"));
}

#[test]
fn tasks_exchange_frames_of_any_size() {
    let reactor = reactor();
    let sizes = [
        0,
        1,
        5,
        1000,
        1023,
        1024,
        1025,
        70_000,
        16 << 10,
        300_000,
        2,
    ];
    check(&reactor, async {
        let (client, server) = streams(&reactor).await;
        let codec = LengthPrefixed::big_endian(3).limit(300_000);
        let echo = reactor.spawn({
            let codec = codec.clone();
            async move {
                let mut server = Framed::new(server, codec);
                while let Some(frame) = server.next().await {
                    server.send(frame.unwrap()).await.unwrap();
                }
                server.close().await.unwrap();
            }
        });
        let (reads, writes) = client.split();
        let sending = reactor.spawn({
            let mut frames = FramedWrite::new(writes, codec.clone());
            async move {
                for size in sizes {
                    frames.send(pattern(size)).await.unwrap();
                }
                let long = frames.send(pattern(300_001)).await.unwrap_err();
                assert!(matches!(
                    long,
                    FrameError::TooLong {
                        length: 300_001,
                        ..
                    }
                ));
                frames.close().await.unwrap();
            }
        });
        let mut frames = FramedRead::new(reads, codec);
        for size in sizes {
            let frame = frames.next().await.expect("a frame").unwrap();
            assert!(frame == pattern(size), "the frame of {size} bytes");
        }
        assert!(frames.next().await.is_none());
        sending.await.unwrap();
        echo.await.unwrap();
    });
}

#[test]
fn an_error_is_the_last_that_a_reader_tells() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, server) = streams(&reactor).await;
        client.write_all(b"one\ntoo long\nthree\n").await.unwrap();
        let mut lines = FramedRead::new(server, Lines::new().limit(5));
        assert_eq!(&lines.next().await.unwrap().unwrap()[..], b"one");
        let error = lines.next().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "line too long: 8 bytes, the limit is 5");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
        assert!(lines.next().await.is_none());
        client.shutdown().await.unwrap();
        assert!(lines.next().await.is_none(), "still");
    });
}

#[test]
fn a_stream_goes_on_in_another_way_after_its_frames() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, server) = streams(&reactor).await;
        client.write_all(b"length 4\nbody").await.unwrap();
        let mut lines = FramedRead::new(server, Lines::new());
        assert_eq!(&lines.next().await.unwrap().unwrap()[..], b"length 4");
        let (mut stream, _, unread) = lines.into_parts();
        assert_eq!(&unread[..], b"body");
        client.write_all(b"!").await.unwrap();
        let mut more = [0];
        stream.read_exact(&mut more).await.unwrap();
        assert_eq!(&more, b"!");
    });
}

#[test]
fn dropping_any_future_of_frames_loses_none() {
    const COUNT: u32 = 300;
    let reactor = reactor();
    check(&reactor, async {
        let (client, server) = streams(&reactor).await;
        client.transport().set_water_marks(0, 100);
        let mut client = FramedWrite::new(client, Netstrings::new());
        let mut server = FramedRead::new(server, Netstrings::new());
        let (mut sent, mut received, mut dropped) = (0, 0, 0);
        while received < COUNT {
            // So few wait that there is room for one more: a dropped send sends its frame with the next call.
            if sent < COUNT && sent - received < 60 {
                let frame = format!("{sent} {}", "x".repeat(100));
                match poll_once(client.send(frame)).await {
                    Some(result) => result.unwrap(),
                    None => dropped += 1,
                }
                sent += 1;
            }
            match poll_once(server.next()).await {
                Some(frame) => {
                    let frame = frame.unwrap().unwrap();
                    assert!(
                        frame.starts_with(format!("{received} ").as_bytes()),
                        "{frame:?}"
                    );
                    received += 1;
                }
                None => {
                    dropped += 1;
                    if sent == COUNT || sent - received == 60 {
                        client.flush().await.unwrap();
                    }
                    yield_now().await;
                }
            }
        }
        assert!(dropped > 0);
    });
}

/// Gives and takes a few bytes at a time, each time after it was asked once in vain, and ends with an error.
#[derive(Default)]
struct Slow {
    bytes: Vec<u8>,
    asked: bool,
    taken: Vec<u8>,
    flushed: usize,
}

impl Slow {
    fn answer<T>(&mut self, context: &Context<'_>, answer: impl FnOnce(&mut Slow) -> T) -> Poll<T> {
        self.asked = !self.asked;
        if self.asked {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(answer(self))
    }
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.answer(context, |slow| {
            let count = slow.bytes.len().min(into.len()).min(3);
            if count == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            into[..count].copy_from_slice(&slow.bytes[..count]);
            slow.bytes.drain(..count);
            Ok(count)
        })
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answer(context, |slow| {
            let count = bytes.len().min(3);
            slow.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answer(context, |slow| {
            slow.flushed = slow.taken.len();
            Ok(())
        })
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

#[test]
fn frames_are_a_stream_and_a_sink_of_the_futures_crates() {
    let reactor = reactor();
    check(&reactor, async {
        let bytes = b"first\nand second\nlost".to_vec();
        let mut framed = Framed::new(
            Slow {
                bytes,
                ..Slow::default()
            },
            Lines::new(),
        );
        let mut lines = Vec::new();
        let error = loop {
            let next = poll_fn(|context| Pin::new(&mut framed).poll_next(context)).await;
            match next.expect("the end comes with an error") {
                Ok(line) => lines.push(line.to_str().unwrap().to_owned()),
                Err(error) => break error,
            }
        };
        assert_eq!(lines, ["first", "and second"]);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
        let next = poll_fn(|context| Pin::new(&mut framed).poll_next(context)).await;
        assert!(next.is_none());

        for line in lines {
            let mut sink = Pin::new(&mut framed);
            let ready =
                |context: &mut Context<'_>| Sink::<String>::poll_ready(sink.as_mut(), context);
            poll_fn(ready).await.unwrap();
            sink.as_mut().start_send(line).unwrap();
            assert!(sink.as_mut().start_send("x\ny".to_owned()).is_err());
        }
        assert!(
            framed.get_mut().taken.is_empty(),
            "not sent before it is flushed"
        );
        let mut sink = Pin::new(&mut framed);
        let flush = |context: &mut Context<'_>| Sink::<String>::poll_flush(sink.as_mut(), context);
        poll_fn(flush).await.unwrap();
        sink.as_mut().start_send("third".to_owned()).unwrap();
        let close = |context: &mut Context<'_>| Sink::<String>::poll_close(sink.as_mut(), context);
        poll_fn(close).await.unwrap();
        let (slow, ..) = framed.into_parts();
        assert_eq!(slow.taken, b"first\nand second\nthird\n");
        assert_eq!(slow.flushed, slow.taken.len());
    });
}
