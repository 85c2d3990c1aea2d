//! Thousands of children at once. In a program of its own, because it uses up what the system allows one process.
#![cfg(unix)]

use std::io::ErrorKind;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidewaiter_process::{Child, Command, Stdio};
use tokio::io::AsyncWriteExt;

/// Raises the limit on descriptors as far as `children` need it, and returns how many have room.
fn room_for(children: u64) -> u64 {
    const EACH: u64 = 4;
    const OTHERS: u64 = 100;
    let limits = getrlimit(Resource::Nofile);
    let wanted = children * EACH + OTHERS;
    let current = limits.maximum.map_or(wanted, |most| most.min(wanted));
    let current = limits.current.map_or(current, |now| now.max(current));
    let raised = Rlimit {
        current: Some(current),
        ..limits
    };
    setrlimit(Resource::Nofile, raised).expect("it may be as high as the hard limit");
    children.min(current.saturating_sub(OTHERS) / EACH)
}

/// Goal: thousands of children live at once, and each has its own pipes and its own end.
#[tokio::test]
async fn each_of_thousands_answers() {
    let mut children = Vec::new();
    for _ in 0..room_for(2000) {
        match Child::spawn(&Command::new("cat").stderr(Stdio::Inherit)) {
            Ok(child) => children.push(child),
            // The system may allow fewer processes.
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{} of them run: {error}", children.len()),
        }
    }
    assert!(children.len() >= 100, "{}", children.len());
    for (number, child) in children.iter_mut().enumerate() {
        let mut stdin = child.stdin.take().unwrap();
        let line = number.to_string();
        stdin.write_all(line.as_bytes()).await.unwrap();
        stdin.shutdown().await.unwrap();
    }
    for (number, child) in children.into_iter().enumerate() {
        let output = child.output().await;
        assert_eq!(output.stdout, number.to_string().into_bytes());
        assert!(output.status.success(), "{:?}", output.status);
    }
}
