//! Children of programs with tokio's runtime, and of programs with none.
#![cfg(unix)]

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use tidewaiter_process::{Child, ChildPipe, Command, ExitStatus, TerminalSize, Tree};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn sh(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

fn is_send<T: Send + 'static>() {}

#[test]
fn all_of_it_may_go_to_other_threads() {
    is_send::<Child>();
    is_send::<ChildPipe>();
    is_send::<Tree>();
}

#[test]
fn a_child_is_used_without_any_runtime() {
    let mut child = Child::spawn(&Command::new("cat")).expect("it starts");
    let mut stdin = child.stdin.take().unwrap().into_blocking();
    let mut stdout = child.stdout.take().unwrap().into_blocking();
    stdin.write_all(b"there and ").unwrap();
    stdin.flush().unwrap();
    stdin.write_all(b"back").unwrap();
    assert_eq!(child.try_wait(), None);
    drop(stdin);
    let mut all = String::new();
    stdout.read_to_string(&mut all).unwrap();
    assert_eq!(all, "there and back");
    assert!(child.wait_blocking().success());
    assert_eq!(child.try_wait(), Some(ExitStatus::Code(0)));
    assert!(child.usage().is_some());
    let late = child.tree().kill();
    assert!(late.is_ok(), "nothing is left to kill: {late:?}");
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let error = Child::spawn(&Command::new("/no/such/program")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}

#[tokio::test]
async fn output_of_both_pipes_is_read_while_the_child_writes_much() {
    let script = "yes out | head -c 300000; yes err | head -c 200000 >&2; exit 7";
    let output = Child::spawn(&sh(script)).expect("it starts").output().await;
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (300_000, 200_000)
    );
    assert_eq!(output.status, ExitStatus::Code(7));
}

#[tokio::test]
async fn output_goes_on_where_reading_ended() {
    let mut child = Child::spawn(&sh("echo one; read line; seq 1 100000")).expect("it starts");
    let mut first = [0; 2];
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"on");
    let output = child.output().await;
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(output.stdout == format!("e\n{expected}").into_bytes());
    assert_eq!(output.status, ExitStatus::Code(0));
}

#[tokio::test]
async fn a_writer_waits_for_a_child_that_does_not_read_and_nothing_is_lost() {
    const TOTAL: usize = 3 << 20;
    let mut child = Child::spawn(&sh("read go; wc -c")).expect("it starts");
    let mut stdin = child.stdin.take().unwrap();
    let writing = tokio::spawn(async move {
        stdin.write_all(b"go\n").await.unwrap();
        stdin.write_all(&vec![b'x'; TOTAL]).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let mut count = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut count)
        .await
        .unwrap();
    writing.await.unwrap();
    assert_eq!(count.trim().parse(), Ok(TOTAL));
    assert!(child.wait().await.success());
}

#[tokio::test]
async fn what_nobody_reads_makes_the_child_wait_and_dropped_reads_lose_nothing() {
    let mut child = Child::spawn(&sh("seq 1 200000")).expect("it starts");
    let mut stdout = child.stdout.take().unwrap();
    let mut all = Vec::new();
    let mut buffer = vec![0; 1000];
    loop {
        // Most of these are dropped before they are ready, or when they just became so.
        let reading = tokio::time::timeout(Duration::ZERO, stdout.read(&mut buffer));
        match reading.await {
            Ok(Ok(0)) => break,
            Ok(count) => all.extend_from_slice(&buffer[..count.unwrap()]),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(
        all == expected.as_bytes(),
        "{} of {}",
        all.len(),
        expected.len()
    );
    assert!(child.wait().await.success());
}

#[tokio::test]
async fn a_tree_is_killed_by_one_task_while_another_waits() {
    // Both the shell and its descendant hold the pipe.
    let mut child = Child::spawn(&sh("sleep 1000 & echo up; wait")).expect("it starts");
    let mut stdout = child.stdout.take().unwrap();
    let mut up = [0; 3];
    stdout.read_exact(&mut up).await.unwrap();
    let tree = child.tree().clone();
    let waiting = tokio::spawn(async move { child.wait().await });
    tokio::task::yield_now().await;
    tree.kill().unwrap();
    assert!(!waiting.await.unwrap().success());
    assert_eq!(
        stdout.read(&mut up).await.unwrap(),
        0,
        "the descendant is gone, too"
    );
    tree.kill().unwrap();
}

#[tokio::test]
async fn a_child_that_is_dropped_goes_on_unless_told_otherwise() {
    for kill in [false, true] {
        let mut probe = Child::spawn(&sh("read line; echo \"$line\"")).expect("it starts");
        let (stdin, stdout) = (probe.stdin.take(), probe.stdout.take());
        drop(probe.kill_on_drop(kill));
        let (mut stdin, mut stdout) = (stdin.unwrap(), stdout.unwrap());
        let written = stdin.write_all(b"alive\n").await;
        let mut answer = String::new();
        stdout.read_to_string(&mut answer).await.unwrap();
        match kill {
            false => assert_eq!((written.is_ok(), &answer[..]), (true, "alive\n")),
            true => assert_eq!(answer, ""),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_at_once_share_one_thread() {
    let children: Vec<_> = (0..300)
        .map(|number| {
            tokio::spawn(async move {
                let child = Child::spawn(&sh(&format!("echo {number}"))).expect("it starts");
                let output = child.output().await;
                assert_eq!(output.stdout, format!("{number}\n").into_bytes());
            })
        })
        .collect();
    for child in children {
        child.await.unwrap();
    }
    let threads = std::fs::read_dir("/proc/self/task");
    if let Ok(threads) = threads {
        let ours = threads
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.starts_with("tidewaiter-proc"));
        assert_eq!(ours.count(), 1);
    }
}

#[tokio::test]
async fn a_child_has_a_terminal() {
    let size = TerminalSize {
        columns: 81,
        rows: 25,
    };
    let mut child =
        Child::spawn(&sh("stty size; tty -s && echo yes").terminal(size)).expect("it starts");
    let mut all = Vec::new();
    let mut terminal = child.stdout.take().unwrap();
    terminal.read_to_end(&mut all).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&all), "25 81\r\nyes\r\n");
    assert!(child.wait().await.success());
}

#[test]
fn a_panic_in_a_task_that_holds_a_child_costs_that_task_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (panicked, fine) = runtime.block_on(async {
        let mut holds = Child::spawn(&sh("sleep 1000"))
            .expect("it starts")
            .kill_on_drop(true);
        let mut stderr = holds.stderr.take().unwrap();
        let panics = tokio::spawn(async move {
            let _child = holds;
            panic!("a deliberate panic");
        });
        let other = Child::spawn(&sh("echo fine")).expect("it starts");
        let panicked = panics.await.is_err();
        // It ends with the last that has it: the child was killed.
        stderr.read_to_end(&mut Vec::new()).await.unwrap();
        (panicked, other.output().await.stdout)
    });
    assert!(panicked);
    assert_eq!(fine, b"fine\n");
    let left = Child::spawn(&sh("echo left")).expect("it starts");
    // The runtime may end before its children.
    drop(runtime);
    assert_eq!(left.output_blocking().stdout, b"left\n");
}

/// Goal: wakers of a runtime that has ended hold up neither their children nor those of others.
#[test]
fn a_runtime_ends_while_its_tasks_wait_for_children() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (stdin, mut waits) = runtime.block_on(async {
        let mut children = [(); 2].map(|()| Child::spawn(&Command::new("cat")).expect("it starts"));
        let stdin = children[0].stdin.take().unwrap();
        let stdout = children[0].stdout.take().unwrap();
        let [first, mut second] = children;
        tokio::spawn(async move { second.wait().await });
        let reading = tokio::spawn(async move {
            let mut stdout = stdout;
            stdout.read(&mut [0; 8]).await
        });
        // The tasks wait by now.
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        (stdin, first)
    });
    drop(runtime);
    let mut stdin = stdin.into_blocking();
    // The task that reads the other end is gone: the write may fail, or end the child.
    let _ = stdin.write_all(b"late").and_then(|()| stdin.flush());
    drop(stdin);
    let status = waits.wait_blocking();
    assert!(!matches!(status, ExitStatus::Unknown), "{status:?}");
    let other = Child::spawn(&sh("echo fine")).expect("it starts");
    assert_eq!(other.output_blocking().stdout, b"fine\n");
}
