//! Tests for every system.

use std::io::{ErrorKind, Write};

use tidewaiter_process::{Child, Command, ExitStatus};

/// Writes a word, and waits until its standard input ends; on Windows only until something comes.
fn waits() -> Command {
    if cfg!(windows) {
        return Command::new("cmd").args(["/d", "/c", "echo up& set /p line="]);
    }
    Command::new("sh").args(["-c", "echo up; cat"])
}

#[test]
fn a_child_that_waits_for_its_input_ends_with_it() {
    let output = Child::spawn(&waits()).expect("it starts").output_blocking();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "up");
    assert!(
        matches!(output.status, ExitStatus::Code(_)),
        "{:?}",
        output.status
    );
}

#[tokio::test]
async fn a_wait_for_a_child_is_given_up_and_begun_again() {
    let mut child = Child::spawn(&waits()).expect("it starts");
    let status = loop {
        // Each future is polled once, and dropped.
        tokio::select! {
            biased;
            status = child.wait() => break status,
            () = std::future::ready(()) => {}
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(status, ExitStatus::Code(_)), "{status:?}");
    assert_eq!(child.wait().await, status, "it stays known");
}

#[tokio::test]
async fn a_tree_is_killed_while_others_wait() {
    use tokio::io::AsyncReadExt;

    let mut child = Child::spawn(&waits()).expect("it starts");
    let (stdin, mut stdout) = (child.stdin.take(), child.stdout.take().unwrap());
    let mut up = [0; 2];
    stdout.read_exact(&mut up).await.unwrap();
    assert_eq!(&up, b"up");
    let tree = child.tree().clone();
    let waiting = tokio::spawn(async move { child.wait().await });
    std::thread::spawn(move || tree.kill())
        .join()
        .unwrap()
        .unwrap();
    assert!(!waiting.await.unwrap().success());
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).await.unwrap();
    drop(stdin);
}

#[tokio::test]
async fn a_childs_output_is_read_in_lines() {
    use tidewaiter::frames::{FramedRead, Lines};

    let mut child = Child::spawn(&waits()).expect("it starts");
    let stdout = child.stdout.take().expect("a pipe");
    let mut lines = FramedRead::new(stdout, Lines::new());
    let line = lines.next().await.expect("a line").unwrap();
    assert_eq!(line.to_str().unwrap().trim_end(), "up");
    drop(child.stdin.take());
    while let Some(line) = lines.next().await {
        line.expect("nothing else fails");
    }
    child.wait().await;
}

#[test]
fn a_program_that_does_not_exist_is_not_found() {
    let error = Child::spawn(&Command::new("no-such-program-of-ours")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(
        error.to_string().contains("no-such-program-of-ours"),
        "{error}"
    );
}

/// Reads nothing, and stays.
fn stays() -> Command {
    if cfg!(windows) {
        return Command::new("cmd").args(["/d", "/c", "ping -n 1000 127.0.0.1 >nul"]);
    }
    Command::new("sh").args(["-c", "sleep 1000"])
}

/// Goal: whatever is dropped first, a child that is to end with its handle does, and so does what it has started.
#[tokio::test]
async fn handles_are_dropped_in_every_order() {
    use tokio::io::AsyncReadExt;

    for order in 0..6 {
        let mut child = Child::spawn(&stays())
            .expect("it starts")
            .kill_on_drop(true);
        let mut stderr = child.stderr.take().unwrap();
        let pipes = (child.stdin.take(), child.stdout.take());
        let tree = child.tree().clone();
        let mut parts: Vec<Box<dyn std::any::Any>> =
            vec![Box::new(child), Box::new(pipes), Box::new(tree)];
        drop(parts.remove(order % 3));
        drop(parts.remove(order / 3));
        drop(parts);
        // It ends with the last that has it.
        let mut said = Vec::new();
        stderr.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"", "in order {order}");
    }
}

/// More than a pipe holds. What is left over of it is less than makes a writer wait.
const SOME: usize = 70_000;

fn assert_names_pipe(error: &std::io::Error, pid: u32) {
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let named = format!("descriptor 0 of child {pid}: ");
    assert!(error.to_string().starts_with(&named), "{error}");
}

#[tokio::test]
async fn a_writer_learns_that_its_bytes_were_lost() {
    use tokio::io::AsyncWriteExt;

    let mut child = Child::spawn(&stays()).expect("it starts");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&[b'x'; SOME]).await.unwrap();
    let flushing = tokio::spawn(async move {
        let flushed = stdin.flush().await;
        (stdin, flushed)
    });
    tokio::task::yield_now().await;
    child.tree().kill().unwrap();
    let (mut stdin, flushed) = flushing.await.unwrap();
    let errors = [
        flushed.expect_err("a flush"),
        stdin.flush().await.expect_err("another one"),
        stdin.shutdown().await.expect_err("an end in order"),
        stdin.write_all(b"more").await.expect_err("a write"),
    ];
    for error in errors {
        assert_names_pipe(&error, child.id());
    }
}

#[test]
fn a_blocking_writer_learns_that_its_bytes_were_lost() {
    let mut child = Child::spawn(&stays()).expect("it starts");
    let mut stdin = child.stdin.take().unwrap().into_blocking();
    stdin.write_all(&[b'x'; SOME]).unwrap();
    let tree = child.tree().clone();
    let killing = std::thread::spawn(move || tree.kill());
    assert_names_pipe(&stdin.flush().expect_err("a flush"), child.id());
    assert_names_pipe(&stdin.write_all(b"more").expect_err("a write"), child.id());
    killing.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_flush_ends_once_everything_is_sent_and_stays_good_after_the_end() {
    use tokio::io::AsyncWriteExt;

    let mut child = Child::spawn(&stays()).expect("it starts");
    let mut stdin = child.stdin.take().unwrap();
    stdin.flush().await.expect("nothing was written");
    for _ in 0..3 {
        stdin.write_all(b"unread").await.unwrap();
        stdin.flush().await.expect("the pipe has room");
    }
    child.tree().kill().unwrap();
    child.wait().await;
    stdin.flush().await.expect("it was sent before");
    stdin.shutdown().await.expect("it was sent before");
}

#[test]
fn a_pipe_takes_no_bytes_after_its_close() {
    let mut child = Child::spawn(&waits()).expect("it starts");
    let stdin = child.stdin.take().unwrap();
    stdin.close();
    let mut stdin = stdin.into_blocking();
    let refused = stdin.write_all(b"late").expect_err("it is closed");
    assert_names_pipe(&refused, child.id());
    stdin.flush().expect("nothing was lost");
    child.wait_blocking();
}
