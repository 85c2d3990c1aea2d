//! Tests for every system.

use tidewaiter_process::{Child, Command, ExitStatus};

/// Writes a word, and waits until its standard input ends.
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
