//! Children that pass their output on to the next.

use tidewaiter::Process;
use tidewaiter::process::{Command, SpawnStep, Stdio};

use super::processes::Watch;
use super::support::{Countdown, Log, reactor, run_clean};
use crate::KILLED;
use crate::support::roles::{READY, Role};

fn echo() -> Command {
    crate::child(Role::Echo).stderr(Stdio::Null)
}

#[test]
fn bytes_pass_through_three_children_to_us() {
    const BYTES: usize = 1 << 20;
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(3));
    let watch = || Watch::new(&log, &countdown);
    let heard = log.clone();
    let last = watch().data(move |_, child_fd, all| {
        assert_eq!(child_fd, 1);
        if all.ends_with(b"the end") {
            let ready = all.windows(READY.len()).filter(|part| *part == READY);
            let data = all.iter().filter(|byte| **byte == 200);
            heard.add(format!("{} ready, {} bytes", ready.count(), data.count()));
        }
    });
    let children = [(echo(), watch()), (echo(), watch()), (echo(), last)];
    let started = reactor.spawn_pipeline(children).expect("they start");
    let pipes: Vec<_> = started.iter().map(Process::pipes).collect();
    assert_eq!(pipes, [vec![0], vec![], vec![1]]);
    started[0].write(&[200; BYTES]);
    started[0].write(b"the end");
    started[0].close_stdin();
    run_clean(&reactor);
    let events = log.take();
    assert!(
        events.contains(&format!("3 ready, {BYTES} bytes")),
        "{events:?}"
    );
    let ended = |event: &&String| *event == "ended: exit code 0";
    assert_eq!(events.iter().filter(ended).count(), 3, "{events:?}");
}

#[test]
fn children_before_one_that_cannot_be_started_are_killed() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let watch = || Watch::new(&log, &countdown);
    let deaf = || {
        crate::child(Role::Deaf)
            .stdin(Stdio::Null)
            .stderr(Stdio::Null)
    };
    let missing = Command::new("no-such-program-anywhere");
    let children = [
        (deaf(), watch()),
        (deaf(), watch()),
        (missing, watch()),
        (deaf(), watch()),
    ];
    let error = reactor
        .spawn_pipeline(children)
        .expect_err("one is missing");
    assert_eq!(error.step, SpawnStep::Search, "{error}");
    run_clean(&reactor);
    let killed = format!("ended: {KILLED}");
    let events = log.take();
    let ended: Vec<_> = events
        .iter()
        .filter(|event| event.starts_with("ended"))
        .collect();
    assert_eq!(ended, [&killed, &killed]);
}
