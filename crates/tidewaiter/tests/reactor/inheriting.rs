//! Processes that other code of the program starts, inheriting every handle that is inheritable at that moment: they
//! keep no pipe of our children, and our children get no handle of theirs.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use tidewaiter::process::{Command, ExitStatus};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor};

use crate::promises::support::{Countdown, reactor, run, run_clean};
use crate::support::alone::alone;
use crate::support::number::{inheritable_file, number_of_file};
use crate::support::real_child::{child, plain_child};
use crate::support::roles::{READY, Role, TEXT};
use crate::support::starting::start;

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
            let mut command = plain_child(Role::Deaf);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let stranger = start(&mut command).expect("it can be run again");
            strangers.0.push(stranger);
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
            let strangers = catch_unwind(Strangers::start);
            all_run.store(true, Ordering::Release);
            strangers
        });
        let reactor = reactor();
        let countdown = Countdown::new(AT_A_TIME);
        for _ in 0..AT_A_TIME {
            Questioner::start(&reactor, &strangers_run, &countdown);
        }
        run_clean(&reactor);
        let strangers = strangers.join().expect("panics are caught");
        assert!(strangers.expect("they can be started").are_alive());
    });
}

/// The number of our handles that everybody may inherit.
const INHERITABLE: usize = 10;
/// The number of children that must inherit none.
const HEIRS: usize = 40;

/// Checks that its child inherited nothing, and starts the next one.
struct Heir {
    command: Command,
    left: usize,
    countdown: Countdown,
}

impl Heir {
    fn start(mut self, reactor: &Reactor) {
        let Some(left) = self.left.checked_sub(1) else {
            return self.countdown.hit(reactor);
        };
        self.left = left;
        let command = self.command.clone();
        reactor
            .spawn_process(&command, self)
            .expect("the child starts");
    }
}

impl ProcessProtocol for Heir {
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(status, ExitStatus::Code(0), "the number that it inherited");
        let next = Heir {
            command: self.command.clone(),
            left: self.left,
            countdown: self.countdown.clone(),
        };
        next.start(process.reactor());
    }
}

/// Goal: our children get exactly the handles that they are given, although others are inheritable, and another thread
/// starts processes that inherit them.
#[test]
fn our_children_inherit_nothing_while_others_inherit_everything() {
    let name = "our_children_inherit_nothing_while_others_inherit_everything";
    alone(module_path!(), name, || {
        let files = [(); INHERITABLE].map(|()| inheritable_file());
        let numbers = files
            .each_ref()
            .map(|file| number_of_file(file).to_string());
        let numbers = numbers.join(" ");
        let command = child(Role::Holding).env(TEXT, &numbers);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let others = thread::spawn(move || {
            let mut started = 0;
            while started < 5 || !is_over.load(Ordering::Acquire) {
                let mut other = plain_child(Role::Holding);
                other
                    .env(TEXT, &numbers)
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                let other = start(&mut other).expect("it can be run again");
                let output = other.wait_with_output().expect("it is our child");
                let held = output.status.code();
                assert_eq!(held, i32::try_from(INHERITABLE).ok(), "{output:?}");
                started += 1;
            }
        });
        let reactor = reactor();
        let countdown = Countdown::new(AT_A_TIME);
        for _ in 0..AT_A_TIME {
            let heir = Heir {
                command: command.clone(),
                left: HEIRS / AT_A_TIME,
                countdown: countdown.clone(),
            };
            heir.start(&reactor);
        }
        run_clean(&reactor);
        over.store(true, Ordering::Release);
        others.join().expect("all inherited everything");
    });
}

/// The number of children of each thread that are told to end, and of those that stay meanwhile.
const ENDING: usize = 20;
const STAYING: usize = 5;

/// Ends its child once it runs, and crashes the reactor when the last child has ended.
pub(crate) struct Ending {
    pub(crate) left: Rc<Cell<usize>>,
}

impl ProcessProtocol for Ending {
    fn connection_made(&mut self, process: &Process) {
        process.close_stdin();
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(status, ExitStatus::Code(0));
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            process.reactor().crash();
        }
    }
}

struct Staying;

impl ProcessProtocol for Staying {}

/// Goal: children that two threads start at once get no pipes of each other.
/// Method: some children of each thread stay, and would keep the input of the other thread's children open, which then
/// never end.
#[test]
fn children_of_two_threads_started_at_once_get_their_own_pipes_alone() {
    let name = "children_of_two_threads_started_at_once_get_their_own_pipes_alone";
    alone(module_path!(), name, || {
        let ((to_first, first), (to_second, second)) = (mpsc::channel(), mpsc::channel());
        let threads = [(to_second, first), (to_first, second)].map(|(done, other_is_done)| {
            thread::spawn(move || {
                let reactor = reactor();
                let left = Rc::new(Cell::new(ENDING));
                for number in 0..ENDING {
                    if number % (ENDING / STAYING) == 0 {
                        let staying = reactor.spawn_process(&child(Role::Deaf), Staying);
                        staying.expect("the child starts");
                    }
                    let left = Rc::clone(&left);
                    let ending = reactor.spawn_process(&child(Role::Echo), Ending { left });
                    ending.expect("the child starts");
                }
                run(&reactor);
                assert_eq!(reactor.metrics().living.children, STAYING);
                // An error means that the other thread has failed, which its own result says.
                let _ = done.send(());
                let _ = other_is_done.recv();
            })
        });
        for thread in threads {
            thread.join().expect("its children end");
        }
    });
}
