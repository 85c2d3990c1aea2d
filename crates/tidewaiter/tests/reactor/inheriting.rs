//! Processes that other code of the program starts, inheriting every handle that is inheritable at that moment.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tidewaiter::process::ExitStatus;
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor};

use crate::promises::support::{Countdown, reactor, run_clean};
use crate::support::alone::alone;
use crate::support::real_child::{child, plain_child};
use crate::support::roles::{READY, Role};

/// The number of strangers: processes that inherit whatever they can, and live until this is dropped.
const STRANGERS: usize = 40;
/// The number of our children that run at a time.
const AT_A_TIME: usize = 4;
const QUESTION: &[u8] = b"\n<is anybody there?>\n";

struct Strangers(Vec<Child>);

impl Strangers {
    fn start() -> Strangers {
        let mut strangers = Strangers(Vec::new());
        for _ in 0..STRANGERS {
            let stranger = plain_child(Role::Deaf)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            strangers.0.push(stranger.expect("it can be run again"));
        }
        strangers
    }

    fn are_alive(&mut self) -> bool {
        let is_alive = |one: &mut Child| matches!(one.try_wait(), Ok(None));
        self.0.iter_mut().all(is_alive)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        for stranger in &mut self.0 {
            // An error means that it has ended.
            let _ = stranger.kill();
            let _ = stranger.wait();
        }
    }
}

/// Has a child echo a question. Starts the next child when this one has ended, until there are all strangers.
struct Questioner {
    strangers_run: Arc<AtomicBool>,
    countdown: Countdown,
    answer: Vec<u8>,
}

impl Questioner {
    fn start(reactor: &Reactor, strangers_run: &Arc<AtomicBool>, countdown: &Countdown) {
        let questioner = Questioner {
            strangers_run: Arc::clone(strangers_run),
            countdown: countdown.clone(),
            answer: Vec::new(),
        };
        let started = reactor.spawn_process(&child(Role::Echo), questioner);
        started.expect("the child starts");
    }
}

impl ProcessProtocol for Questioner {
    fn connection_made(&mut self, process: &Process) {
        process.write(QUESTION);
        process.close_stdin();
    }

    fn child_data_received(&mut self, _: &Process, child_fd: ChildFd, data: &[u8]) {
        assert_eq!(child_fd, 1);
        self.answer.extend_from_slice(data);
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(status, ExitStatus::Code(0));
        let expected = [READY, QUESTION].concat();
        assert!(self.answer.ends_with(&expected), "{:?}", self.answer);
        if self.strangers_run.load(Ordering::Acquire) {
            return self.countdown.hit(process.reactor());
        }
        Questioner::start(process.reactor(), &self.strangers_run, &self.countdown);
    }
}

/// Goal: each child's pipes end with it, although processes that other threads start in between inherit their other
/// ends, and live on.
#[test]
fn processes_of_other_code_do_not_keep_the_pipes_of_our_children() {
    let name = "processes_of_other_code_do_not_keep_the_pipes_of_our_children";
    // Alone, because the strangers would inherit handles of other tests as well.
    alone(module_path!(), name, || {
        let strangers_run = Arc::new(AtomicBool::new(false));
        let all_run = Arc::clone(&strangers_run);
        let strangers = thread::spawn(move || {
            let strangers = Strangers::start();
            all_run.store(true, Ordering::Release);
            strangers
        });
        let reactor = reactor();
        let countdown = Countdown::new(AT_A_TIME);
        for _ in 0..AT_A_TIME {
            Questioner::start(&reactor, &strangers_run, &countdown);
        }
        run_clean(&reactor);
        let mut strangers = strangers.join().expect("they can be started");
        assert!(strangers.are_alive());
    });
}
