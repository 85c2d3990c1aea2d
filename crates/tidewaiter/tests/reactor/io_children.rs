//! Children whose pipes and ends futures await.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::Context;

use tidewaiter::bytes::Bytes;
use tidewaiter::io::{Child, ReadHalf};
use tidewaiter::process::{Command, ExitStatus, Stdio};
use tidewaiter::{CommandFailure, CommandOptions, Reactor};

use super::io_support::{breathe, check, poll_times};
use super::processes::role_output;
use super::support::{pattern, reactor};
use crate::KILLED;
use crate::support::roles::{READY, Role};

/// More than a pipe holds.
const MUCH: usize = 300_000;

/// Reads until the child plays its role.
async fn await_ready(reader: &mut ReadHalf) {
    let mut seen = Vec::new();
    while !seen.ends_with(READY) {
        let mut byte = [0];
        reader.read_exact(&mut byte).await.unwrap();
        seen.push(byte[0]);
    }
}

fn child(role: Role) -> Command {
    crate::child(role).stderr(Stdio::Null)
}

#[test]
fn a_childs_streams_lose_nothing_at_whichever_await_their_futures_are_dropped() {
    for polls in 1..=2 {
        let reactor = reactor();
        check(&reactor, async {
            let mut child = Child::spawn(&reactor, &child(Role::Echo)).unwrap();
            assert!(child.stderr.is_none(), "it has none");
            let (mut stdin, mut stdout) =
                (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            await_ready(&mut stdout).await;
            let writing = reactor.spawn({
                let reactor = reactor.clone();
                async move {
                    let mut left = Bytes::from(pattern(MUCH));
                    while poll_times(polls, stdin.write_all_buf(&mut left))
                        .await
                        .is_none()
                    {
                        breathe(&reactor).await;
                    }
                    while poll_times(polls, stdin.shutdown()).await.is_none() {
                        breathe(&reactor).await;
                    }
                }
            });
            let mut echoed = Vec::new();
            while poll_times(polls, stdout.read_to_end(&mut echoed))
                .await
                .is_none()
            {
                breathe(&reactor).await;
            }
            writing.await.unwrap();
            let status = loop {
                match poll_times(polls, child.wait()).await {
                    Some(status) => break status.unwrap(),
                    None => breathe(&reactor).await,
                }
            };
            assert!(status.success());
            assert!(echoed == pattern(MUCH), "{} bytes", echoed.len());
            assert_eq!(child.wait().await.unwrap(), status, "it stays known");
            assert_eq!(child.try_wait(), Some(status));
            let gone = child.kill().unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NotFound);
        });
    }
}

/// Sends `sent` through an echo by the traits of tokio.
async fn echoed_by_tokio(
    mut writer: impl tokio::io::AsyncWrite + Unpin,
    mut reader: impl tokio::io::AsyncRead + Unpin,
    sent: &[u8],
) -> io::Result<Vec<u8>> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut echoed = Vec::new();
    let write = async {
        writer.write_all(sent).await?;
        writer.shutdown().await
    };
    let (written, read) = tokio::join!(write, reader.read_to_end(&mut echoed));
    written?;
    read?;
    Ok(echoed)
}

/// The same, by those of `futures-io`.
async fn echoed_by_futures_io(
    mut writer: impl futures_io::AsyncWrite + Unpin,
    mut reader: impl futures_io::AsyncRead + Unpin,
    sent: &[u8],
) -> io::Result<Vec<u8>> {
    let write = async {
        let mut left = sent;
        while !left.is_empty() {
            let count = poll_fn(|context| Pin::new(&mut writer).poll_write(context, left)).await?;
            left = &left[count..];
        }
        poll_fn(|context| Pin::new(&mut writer).poll_close(context)).await
    };
    let read = async {
        let (mut echoed, mut buffer) = (Vec::new(), [0; 1000]);
        loop {
            let read =
                |context: &mut Context<'_>| Pin::new(&mut reader).poll_read(context, &mut buffer);
            match poll_fn(read).await? {
                0 => return Ok::<_, io::Error>(echoed),
                count => echoed.extend_from_slice(&buffer[..count]),
            }
        }
    };
    let (written, echoed) = tokio::join!(write, read);
    written?;
    echoed
}

#[test]
fn a_childs_streams_have_the_traits_of_futures_io_and_of_tokio() {
    let reactor = reactor();
    check(&reactor, async {
        let sent = pattern(300_000);
        for tokio in [false, true] {
            let mut child = Child::spawn(&reactor, &child(Role::Echo)).unwrap();
            let stdin = child.stdin.take().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            await_ready(&mut stdout).await;
            let echoed = match tokio {
                false => echoed_by_futures_io(stdin, stdout, &sent).await,
                true => echoed_by_tokio(stdin, stdout, &sent).await,
            };
            assert!(echoed.unwrap() == sent, "by tokio: {tokio}");
            assert!(child.wait().await.unwrap().success());
        }
    });
}

#[test]
fn waiting_closes_the_input_and_a_write_to_a_child_that_has_ended_fails() {
    let reactor = reactor();
    check(&reactor, async {
        let mut mute = Child::spawn(&reactor, &child(Role::Mute)).unwrap();
        assert_eq!(mute.wait().await.unwrap(), ExitStatus::Code(3));
        let mut short = Child::spawn(&reactor, &child(Role::Exit(7))).unwrap();
        let mut stdin = short.stdin.take().unwrap();
        assert_eq!(short.wait().await.unwrap(), ExitStatus::Code(7));
        let mut rest = Vec::new();
        let mut stdout = short.stdout.take().unwrap();
        stdout.read_to_end(&mut rest).await.unwrap();
        // The system tells of the end of a pipe to write to when it pleases.
        let error = loop {
            match stdin.write_all(b"nobody reads this").await {
                Ok(()) => breathe(&reactor).await,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_child_is_killed_if_asked_for_at_a_drop_or_at_once() {
    let reactor = reactor();
    check(&reactor, async {
        let mut deaf = Child::spawn(&reactor, &child(Role::Deaf)).unwrap();
        await_ready(deaf.stdout.as_mut().unwrap()).await;
        deaf.kill().unwrap();
        assert_eq!(deaf.wait().await.unwrap(), KILLED);
        drop(deaf);
        let other = Child::spawn(&reactor, &child(Role::Deaf)).unwrap();
        drop(other.kill_on_drop(true));
        while reactor.metrics().living.children > 0 {
            breathe(&reactor).await;
        }
    });
}

#[test]
fn a_command_is_run_to_its_end_and_ended_if_nobody_waits_any_more() {
    let reactor = reactor();
    check(&reactor, async {
        let echo = CommandOptions::new(child(Role::Echo)).input("through");
        let output = Child::output(&reactor, echo).await.unwrap();
        assert!(output.status.success());
        assert_eq!(role_output(&output.stdout), Some(&b"through"[..]));
        let run = Child::output(&reactor, child(Role::Deaf));
        assert!(poll_times(1, run).await.is_none());
        while reactor.metrics().living.children > 0 {
            breathe(&reactor).await;
        }
    });
}

#[test]
fn a_stop_ends_what_waits_for_a_child() {
    let reactor = reactor();
    let handle = reactor.clone();
    let waits = reactor.spawn(async move {
        let mut deaf = Child::spawn(&handle, &child(Role::Deaf)).unwrap();
        let mut stdout = deaf.stdout.take().unwrap();
        await_ready(&mut stdout).await;
        let run = handle.spawn({
            let handle = handle.clone();
            async move { Child::output(&handle, child(Role::Deaf)).await }
        });
        handle.call_later(std::time::Duration::from_millis(1), Reactor::stop);
        let read = stdout.read(&mut [0]).await.unwrap_err();
        assert_eq!(
            read.kind(),
            ErrorKind::ConnectionAborted,
            "not the end of its output"
        );
        assert_eq!(deaf.wait().await.unwrap(), KILLED);
        let run = run.await.unwrap().unwrap_err();
        assert!(matches!(run.failure, CommandFailure::Stopped));
        let kind = std::io::Error::from(run).kind();
        assert_eq!(kind, ErrorKind::ConnectionAborted);
        let late = Child::spawn(&handle, &child(Role::Deaf)).unwrap_err();
        assert!(
            std::io::Error::from(late)
                .to_string()
                .starts_with("cannot start")
        );
    });
    super::support::run(&reactor);
    assert!(waits.is_finished());
    assert_eq!(reactor.metrics().panics, 0);
}
