//! Resources that a Unix process has once for all threads: descriptors and children.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tidewaiter::process::{Command, ExitStatus};
use tidewaiter::{Address, Factory, Listener, Process, ProcessProtocol, Protocol};

use crate::promises::processes::Watch;
use crate::promises::support::{
    Countdown, Echo, Log, Script, Silent, any_port, pair, reactor, run, run_clean,
};
use crate::support::alone::alone;
use crate::support::messages;
use crate::support::roles::{READY, Role};

/// The number of open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    let list = std::fs::read_dir("/dev/fd").expect("the OS lists them");
    // Without the one that reads the directory itself.
    list.count() - 1
}

/// Lets this process open only `spare` more descriptors. Returns the limit until now.
pub(crate) fn leave_free(spare: u64) -> Rlimit {
    let limit = getrlimit(Resource::Nofile);
    let lowest_free = rustix::io::dup(std::io::stdin()).expect("a descriptor is free");
    let next = u64::from(lowest_free.as_raw_fd().unsigned_abs());
    drop(lowest_free);
    let few = Rlimit {
        current: Some(next + spare),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, few).expect("a limit may be lowered");
    limit
}

/// The processes whose parent is this one or that are in the group `group`. Zombies count if they are our
/// children, but not if they are only in the group.
#[cfg(target_os = "linux")]
fn relatives(group: u32) -> Vec<String> {
    let ours = std::process::id().to_string();
    let group = group.to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("Linux has one").flatten() {
        // A process that ended meanwhile has no such file.
        let Ok(text) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((_, fields)) = text.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [state, parent, of_group, ..] = fields[..] else {
            continue;
        };
        if parent == ours || (of_group == group && state != "Z") {
            found.push(text);
        }
    }
    found
}

/// Fails unless this process soon has no relatives.
#[cfg(target_os = "linux")]
fn expect_no_relatives(group: u32) {
    let begun = std::time::Instant::now();
    loop {
        let left = relatives(group);
        if left.is_empty() {
            return;
        }
        // A killed process takes a moment to disappear, and no event reports it here.
        assert!(begun.elapsed() < Duration::from_secs(10), "{left:?}");
        std::thread::yield_now();
    }
}

/// A child whose protocol counts our descriptors when it ends.
struct Counted {
    countdown: Countdown,
    counts: Rc<RefCell<Vec<usize>>>,
}

impl ProcessProtocol for Counted {
    fn process_ended(&mut self, process: &Process, _: ExitStatus) {
        self.counts.borrow_mut().push(descriptors());
        self.countdown.hit(process.reactor());
    }
}

/// Goal: a callback that is told of a child's end can start the next one with the same descriptors.
/// Method: a process that the child left behind keeps its input open until we close it.
#[test]
fn all_descriptors_of_a_child_are_closed_when_its_end_is_told() {
    alone(
        module_path!(),
        "all_descriptors_of_a_child_are_closed_when_its_end_is_told",
        || {
            for script in ["", "exec 3<&0; cat <&3 >/dev/null 2>&1 &"] {
                let (reactor, countdown) = (reactor(), Countdown::new(1));
                let counts = Rc::<RefCell<Vec<usize>>>::default();
                let before = Rc::clone(&counts);
                reactor.call_later(Duration::ZERO, move |reactor| {
                    before.borrow_mut().push(descriptors());
                    let command = Command::new("sh").args(["-c", script]);
                    let counts = Rc::clone(&before);
                    let counted = Counted { countdown, counts };
                    reactor.spawn_process(&command, counted).expect("it starts");
                });
                run_clean(&reactor);
                let counts = counts.take();
                assert_eq!(counts[0], counts[1], "{script:?}");
            }
        },
    );
}

/// Goal: without free descriptors, accepting pauses, logs this once, and resumes by itself.
/// Method: connections of the OS wait in the backlog for some hundred milliseconds while no descriptor is free.
#[test]
fn accepting_pauses_while_descriptors_are_exhausted_and_recovers() {
    alone(
        module_path!(),
        "accepting_pauses_while_descriptors_are_exhausted_and_recovers",
        || {
            messages::keep();
            let (reactor, countdown) = (reactor(), Countdown::new(3));
            let listener = reactor.listen_tcp(any_port(), move |_: Address| {
                let countdown = countdown.clone();
                Script::new().made(move |transport| countdown.hit(transport.reactor()))
            });
            let address = listener.unwrap().local_addr();
            let peers: Vec<_> = (0..3)
                .map(|_| TcpStream::connect(&address).unwrap())
                .collect();
            let limit = leave_free(0);
            reactor.call_later(Duration::from_millis(400), move |reactor| {
                assert_eq!(reactor.metrics().accepted, 0, "there was no descriptor");
                setrlimit(Resource::Nofile, limit).expect("it may be raised again");
            });
            run_clean(&reactor);
            assert_eq!(reactor.metrics().accepted, 3);
            drop(peers);
            let messages = messages::take();
            let about = |text: &str| messages.iter().filter(|m| m.contains(text)).count();
            assert_eq!(about("accepting pauses"), 1, "{messages:?}");
            assert_eq!(about("accepting connections again"), 1, "{messages:?}");
        },
    );
}

/// Counts failures to accept.
struct Counts(Rc<Cell<u32>>);

impl Factory for Counts {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        panic!("there is no descriptor");
    }

    fn accept_failed(&mut self, _: &Listener, _: &io::Error) {
        self.0.set(self.0.get() + 1);
    }
}

fn pause_and_resume(listener: Listener, times_left: u32) {
    let reactor = listener.reactor().clone();
    reactor.call_later(Duration::from_millis(2), move |reactor| {
        listener.pause_accepting();
        listener.resume_accepting();
        match times_left {
            0 => reactor.stop(),
            _ => pause_and_resume(listener, times_left - 1),
        }
    });
}

/// Goal: while descriptors are exhausted, pausing and resuming cause no extra attempts.
#[test]
fn pauses_and_resumptions_add_no_attempts_while_descriptors_are_exhausted() {
    alone(
        module_path!(),
        "pauses_and_resumptions_add_no_attempts_while_descriptors_are_exhausted",
        || {
            let (reactor, failures) = (reactor(), Rc::new(Cell::new(0)));
            let listener = reactor.listen_tcp(any_port(), Counts(Rc::clone(&failures)));
            let listener = listener.unwrap();
            let _peer = TcpStream::connect(listener.local_addr()).unwrap();
            let limit = leave_free(0);
            pause_and_resume(listener, 200);
            run_clean(&reactor);
            setrlimit(Resource::Nofile, limit).expect("it may be raised again");
            // By then, the pauses between attempts add up to more than six seconds.
            assert!((1..10).contains(&failures.get()), "{}", failures.get());
        },
    );
}

/// Uses a reserved descriptor to turn away connections for which there is no descriptor.
struct TurnsAway {
    reserve: Option<File>,
    /// A second handle to the listening socket.
    listener: TcpListener,
    limit: Option<Rlimit>,
    /// Connects once descriptors are free again.
    last: Option<TcpStream>,
    log: Log,
}

impl Factory for TurnsAway {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        let accepted = Script::new().made(|transport| transport.reactor().stop());
        Some(Box::new(accepted))
    }

    fn accept_failed(&mut self, listener: &Listener, error: &io::Error) {
        let exhausted = rustix::io::Errno::MFILE.raw_os_error();
        assert_eq!(error.raw_os_error(), Some(exhausted), "{error}");
        let ours = self.listener.local_addr().map(Address::from);
        assert_eq!(ours.ok(), Some(listener.local_addr()));
        drop(self.reserve.take());
        while let Ok((socket, _)) = self.listener.accept() {
            self.log.add("turned away");
            drop(socket);
        }
        self.reserve = Some(File::open("/dev/null").expect("one is free"));
        let limit = self.limit.take().expect("it fails no more than once");
        setrlimit(Resource::Nofile, limit).expect("it may be raised again");
        self.last = TcpStream::connect(listener.local_addr()).ok();
        self.log.add("recovered");
    }

    fn listener_closed(&mut self, listener: &Listener) {
        assert_eq!(listener.raw_descriptor(), None);
        self.log.add("closed");
    }
}

/// Goal: the factory is told of the exhaustion while the connections are still in the backlog, where it can
/// accept them through a second handle to the socket; then accepting resumes.
#[test]
fn a_factory_can_turn_away_connections_without_free_descriptors() {
    alone(
        module_path!(),
        "a_factory_can_turn_away_connections_without_free_descriptors",
        || {
            let (reactor, log) = (reactor(), Log::default());
            let socket = TcpListener::bind(any_port()).unwrap();
            let address = socket.local_addr().unwrap();
            let mut peers = [(); 2].map(|()| TcpStream::connect(address).unwrap());
            let listener = socket.try_clone().unwrap();
            let reserve = File::open("/dev/null").unwrap();
            let limit = leave_free(0);
            let factory = TurnsAway {
                reserve: Some(reserve),
                listener,
                limit: Some(limit),
                last: None,
                log: log.clone(),
            };
            reactor.listen_on(socket, factory).unwrap();
            run_clean(&reactor);
            for peer in &mut peers {
                assert_eq!(peer.read(&mut [0]).ok(), Some(0), "an orderly end");
            }
            let told = log.take();
            assert_eq!(told, ["turned away", "turned away", "recovered", "closed"]);
        },
    );
}

#[test]
fn a_spawn_without_descriptors_is_refused_and_the_reactor_goes_on() {
    alone(
        module_path!(),
        "a_spawn_without_descriptors_is_refused_and_the_reactor_goes_on",
        || {
            let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
            // Opens what is opened once and kept.
            let before = descriptors();
            let mut refused = 0;
            for spare in 0..20 {
                let limit = leave_free(spare);
                let watch = Watch::new(&log, &countdown);
                let result = reactor.spawn_process(&crate::child(Role::Exit(6)), watch);
                setrlimit(Resource::Nofile, limit).expect("it may be raised again");
                let Err(error) = result else { break };
                let exhausted = rustix::io::Errno::MFILE.raw_os_error();
                assert_eq!(error.source.raw_os_error(), Some(exhausted), "{error}");
                assert!(error.to_string().contains("reactor_on_"), "{error}");
                assert_eq!((reactor.metrics().live, descriptors()), (0, before));
                refused += 1;
            }
            assert!(refused > 3, "three pipes and a process need more");
            run_clean(&reactor);
            assert_eq!(
                log.take().last().map(String::as_str),
                Some("ended: exit code 6")
            );
        },
    );
}

/// Crashes the reactor when all its children run.
struct Ready {
    left: Rc<Cell<usize>>,
    output: Vec<u8>,
    is_ready: bool,
}

impl ProcessProtocol for Ready {
    fn child_data_received(&mut self, process: &Process, _: u32, data: &[u8]) {
        self.output.extend_from_slice(data);
        let count = self
            .output
            .windows(READY.len())
            .filter(|part| *part == READY);
        if count.count() == 2 && !std::mem::replace(&mut self.is_ready, true) {
            self.left.set(self.left.get() - 1);
            if self.left.get() == 0 {
                process.reactor().crash();
            }
        }
    }
}

/// Goal: a reactor dropped in the middle of everything leaves no descriptor and no process.
#[cfg(target_os = "linux")]
#[test]
fn a_dropped_reactor_leaves_no_descriptor_and_no_process() {
    alone(
        module_path!(),
        "a_dropped_reactor_leaves_no_descriptor_and_no_process",
        || {
            let before = descriptors();
            for runs in [true, false] {
                let reactor = reactor();
                let listener = reactor.listen_tcp(any_port(), |_: Address| Echo).unwrap();
                for _ in 0..10 {
                    reactor.connect_tcp(listener.local_addr(), |_: Address| {
                        Script::new().made(|transport| transport.write_bytes(vec![0; 16 << 20]))
                    });
                }
                let left = Rc::new(Cell::new(2));
                let children = [(); 2].map(|()| {
                    let ready = Ready {
                        left: Rc::clone(&left),
                        output: Vec::new(),
                        is_ready: false,
                    };
                    let child = reactor.spawn_process(&crate::child(Role::KeepDeaf), ready);
                    child.expect("the child starts").pid()
                });
                if runs {
                    run(&reactor);
                }
                drop((reactor, listener));
                for pid in children {
                    expect_no_relatives(pid);
                }
                assert_eq!(descriptors(), before, "ran: {runs}");
            }
        },
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_stopped_reactor_leaves_no_process_and_dropped_no_descriptor() {
    alone(
        module_path!(),
        "a_stopped_reactor_leaves_no_process_and_dropped_no_descriptor",
        || {
            let before = descriptors();
            let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
            let watch = Watch::new(&log, &countdown).data(|process, _, all| {
                let count = all.windows(READY.len()).filter(|part| *part == READY);
                if count.count() == 2 {
                    process.reactor().stop();
                }
            });
            let child = reactor.spawn_process(&crate::child(Role::KeepDeaf), watch);
            let pid = child.unwrap().pid();
            let listener = reactor.listen_tcp(any_port(), |_: Address| Silent);
            let address = listener.unwrap().local_addr();
            reactor.connect_tcp(address, |_: Address| Silent);
            run_clean(&reactor);
            expect_no_relatives(pid);
            drop(reactor);
            assert_eq!(descriptors(), before);
        },
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_detached_child_lives_on() {
    alone(module_path!(), "a_detached_child_lives_on", || {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
        // It has written all its output, so it does not notice that its pipes are closed.
        let watch = Watch::new(&log, &countdown).data(|process, _, all| {
            if all.ends_with(READY) {
                process.detach();
                process.reactor().stop();
            }
        });
        let child = reactor
            .spawn_process(&crate::child(Role::Deaf), watch)
            .unwrap();
        let pid = child.pid();
        run_clean(&reactor);
        assert_eq!(child.status(), None::<ExitStatus>);
        drop(reactor);
        let left = relatives(pid);
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(!left[0].contains(") Z "), "it lives: {left:?}");
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
    });
}

/// Goal: a stop logs how many bytes were left unsent, and to which peer.
#[test]
fn a_stop_logs_how_many_bytes_were_not_sent_and_to_which_peer() {
    alone(
        module_path!(),
        "a_stop_logs_how_many_bytes_were_not_sent_and_to_which_peer",
        || {
            messages::keep();
            let reactor = reactor();
            // It accepts nothing, and reads nothing.
            let deaf = TcpListener::bind(any_port()).unwrap();
            let address = deaf.local_addr().unwrap();
            let unsent = Rc::new(Cell::new(0));
            let told = Rc::clone(&unsent);
            reactor.connect_tcp(address, move |_: Address| {
                let told = Rc::clone(&told);
                Script::new()
                    .made(|transport| {
                        transport.write_bytes(vec![0; 32 << 20]);
                        transport.reactor().stop();
                    })
                    .lost(move |transport, _| told.set(transport.unsent()))
            });
            run_clean(&reactor);
            let said = format!(
                "WARN: Transport({address}): {} bytes were not sent when the reactor stopped",
                unsent.get()
            );
            assert!(unsent.get() > 0);
            let messages = messages::take();
            assert_eq!(messages.last(), Some(&said), "{messages:?}");
        },
    );
}

/// Where a descriptor leads, as the kernel reports it.
#[cfg(target_os = "linux")]
fn leads_to(number: i32) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{number}")).ok()
}

/// Goal: the descriptor belongs to the connection until its protocol has been told of the end, however it ends;
/// then it is closed.
#[cfg(target_os = "linux")]
#[test]
fn a_descriptor_is_closed_after_connection_lost() {
    type End = fn(&tidewaiter::Transport);
    let ways: [End; 4] = [
        tidewaiter::Transport::lose_connection,
        tidewaiter::Transport::close_connection_now,
        tidewaiter::Transport::abort_connection,
        |transport| transport.reactor().stop(),
    ];
    for (way, end) in ways.into_iter().enumerate() {
        let reactor = reactor();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let side = |ends: bool| {
            let (opened, closed) = (Rc::clone(&seen), Rc::clone(&seen));
            let number = Rc::new(Cell::new(0));
            let noted = Rc::clone(&number);
            Script::new()
                .made(move |transport| {
                    let number = transport.raw_descriptor().expect("it is open");
                    noted.set(number);
                    opened.borrow_mut().push(leads_to(number));
                    if ends {
                        end(transport);
                    }
                })
                .lost(move |transport, _| {
                    let now = leads_to(number.get());
                    assert!(now.is_some() && closed.borrow().contains(&now), "{way}");
                    if ends {
                        transport.reactor().stop();
                    }
                })
        };
        pair(&reactor, side(true), side(false));
        run_clean(&reactor);
        let open = std::fs::read_dir("/proc/self/fd").expect("Linux has it");
        let open: Vec<_> = open
            .flatten()
            .map(|entry| std::fs::read_link(entry.path()).ok())
            .collect();
        for opened in seen.take() {
            assert!(!open.contains(&opened), "{way}: {opened:?} is closed");
        }
    }
}
