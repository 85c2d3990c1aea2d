//! Resources that a Unix process has once for all threads: descriptors, memory, processor time.

use std::io;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidewaiter::port::{Outcome, PortOptions, Request};
use tidewaiter::process::{Command, ExitStatus, SpawnStep};

use crate::support::alone::alone;
use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::reader::receive_exactly;
use crate::support::roles::Role;

/// The number of open descriptors of this process.
fn descriptors() -> usize {
    let list = std::fs::read_dir("/dev/fd").expect("the OS lists them");
    // Without the one that reads the directory itself.
    list.count() - 1
}

#[test]
fn a_hundred_children_leave_no_descriptor_behind() {
    alone(
        module_path!(),
        "a_hundred_children_leave_no_descriptor_behind",
        || {
            let mut harness = Harness::new();
            Child::start(&mut harness, Role::Exit(0)).status(&mut harness);
            harness.close_all(tidewaiter::port::CloseMode::Graceful);
            harness.until("the first child's end", |harness| harness.live_count() == 0);
            let before = descriptors();
            let children: Vec<_> = (0..100)
                .map(|_| Child::start(&mut harness, Role::Exit(4)))
                .collect();
            for child in children {
                assert_eq!(child.status(&mut harness), ExitStatus::Code(4));
                for handle in [child.process, child.stdin, child.stdout, child.stderr] {
                    harness.close_now(handle);
                }
            }
            assert_eq!(descriptors(), before);
            harness.finish();
        },
    );
}

#[test]
fn a_port_leaves_no_descriptor_behind() {
    alone(module_path!(), "a_port_leaves_no_descriptor_behind", || {
        let before = descriptors();
        for _ in 0..5 {
            let mut harness = Harness::new();
            for (client, server) in harness.pairs(20) {
                harness.receive(client);
                harness.send(server, vec![1; 10]);
            }
            harness.close_all(tidewaiter::port::CloseMode::Graceful);
            harness.drop_port();
            assert_eq!(descriptors(), before);
        }
    });
}

#[test]
fn failing_to_start_a_child_leaves_no_descriptor_behind() {
    alone(
        module_path!(),
        "failing_to_start_a_child_leaves_no_descriptor_behind",
        || {
            let mut harness = Harness::new();
            let _ = harness
                .port
                .spawn(&Command::new("no-such-program-anywhere"));
            let before = descriptors();
            for program in ["no-such-program-anywhere", "/", "/no/such/file"] {
                harness
                    .port
                    .spawn(&Command::new(program))
                    .expect_err("it is no program");
                assert_eq!(descriptors(), before, "after {program}");
            }
            harness.finish();
        },
    );
}

/// Goal: a child gets its three streams and no other descriptor.
#[test]
fn a_child_inherits_no_other_descriptor() {
    alone(
        module_path!(),
        "a_child_inherits_no_other_descriptor",
        || {
            let mut harness = Harness::new();
            let _connections = harness.pairs(10);
            let inheritable = io::stderr();
            let inheritable = rustix::io::dup(&inheritable).expect("a descriptor is free");
            let command = Command::new("sh").args(["-c", "ls /dev/fd/"]);
            let spawned = harness.port.spawn(&command).expect("there is a shell");
            harness.track_child(spawned.process);
            for pipe in &spawned.pipes {
                harness.track(pipe.handle);
            }
            let stdout = spawned.pipe(1).expect("it is a pipe");
            let reader = crate::support::reader::Reader::new(&mut harness, stdout);
            let (listing, end) = reader.read_to_end(&mut harness);
            assert!(end.is_ok(), "{end:?}");
            let listing = String::from_utf8(listing).expect("numbers");
            // The fourth is the directory that `ls` reads.
            let numbers: Vec<_> = listing.split_whitespace().collect();
            assert_eq!(numbers, ["0", "1", "2", "3"]);
            drop(inheritable);
            harness.finish();
        },
    );
}

#[test]
fn a_file_without_permission_to_run_it_is_refused() {
    let mut harness = Harness::new();
    let path = format!(
        "{}/not-executable-{}",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    std::fs::write(&path, "#!/bin/sh\n").expect("the directory is ours");
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&path, mode).expect("the file is ours");
    let result = harness.port.spawn(&Command::new(&path));
    std::fs::remove_file(&path).expect("the file is ours");
    let error = result.expect_err("it is not executable");
    assert_eq!(error.step, SpawnStep::Execute, "{error}");
    assert_eq!(
        error.source.kind(),
        io::ErrorKind::PermissionDenied,
        "{error}"
    );
    harness.finish();
}

/// Goal: running out of descriptors ends the accept with an error, and loses no connection.
/// Method: lower the limit to the number of open descriptors, connect, and raise the limit again.
#[test]
fn without_free_descriptors_an_accept_fails_and_its_connection_waits() {
    alone(
        module_path!(),
        "without_free_descriptors_an_accept_fails_and_its_connection_waits",
        || {
            let mut harness = Harness::new();
            let (listener, address) = harness.listen();
            let theirs = TcpStream::connect(address).expect("the backlog has room");
            let limit = getrlimit(Resource::Nofile);
            let open = rustix::io::dup(&theirs).expect("a descriptor is free");
            let next = u64::from(std::os::fd::AsRawFd::as_raw_fd(&open).unsigned_abs());
            drop(open);
            let none_free = Rlimit {
                current: Some(next),
                maximum: limit.maximum,
            };
            setrlimit(Resource::Nofile, none_free).expect("a limit may be lowered");
            let accepting = harness.submit(listener, Request::Accept);
            let error = harness.refusal(accepting);
            let exhausted = rustix::io::Errno::MFILE.raw_os_error();
            assert_eq!(error.raw_os_error(), Some(exhausted), "{error}");
            setrlimit(Resource::Nofile, limit).expect("it may be raised again");
            let accepting = harness.submit(listener, Request::Accept);
            let (socket, peer) = harness.accepted(accepting);
            assert_eq!(theirs.local_addr().ok(), Some(peer));
            let server = harness.adopt(socket);
            let client = harness.adopt(theirs);
            harness.send_all(client, b"patient");
            assert_eq!(receive_exactly(&mut harness, server, 7), b"patient");
            harness.finish();
        },
    );
}

#[test]
fn without_free_descriptors_a_child_is_refused_and_nothing_is_left() {
    alone(
        module_path!(),
        "without_free_descriptors_a_child_is_refused_and_nothing_is_left",
        || {
            let mut harness = Harness::new();
            Child::start(&mut harness, Role::Exit(0)).status(&mut harness);
            let before = descriptors();
            let limit = getrlimit(Resource::Nofile);
            for spare in 0..8 {
                let highest = rustix::io::dup(io::stdin()).expect("a descriptor is free");
                let next = u64::from(std::os::fd::AsRawFd::as_raw_fd(&highest).unsigned_abs());
                drop(highest);
                let few_free = Rlimit {
                    current: Some(next + spare),
                    maximum: limit.maximum,
                };
                setrlimit(Resource::Nofile, few_free).expect("a limit may be lowered");
                let result = harness.port.spawn(&crate::child(Role::Exit(0)));
                setrlimit(Resource::Nofile, limit).expect("it may be raised again");
                let Ok(spawned) = result else {
                    assert_eq!(descriptors(), before, "with {spare} free");
                    continue;
                };
                assert!(spare > 3, "three pipes and a process need more");
                harness.track_child(spawned.process);
                for pipe in &spawned.pipes {
                    harness.track(pipe.handle);
                }
                break;
            }
            harness.finish();
        },
    );
}

/// The processor time that this thread has used.
#[cfg(target_os = "linux")]
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let nanoseconds = text.split(' ').next().expect("the first number");
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

/// Goal: a port without operations uses no processor time, whatever its handles are ready for.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_port_takes_no_processor_time() {
    alone(
        module_path!(),
        "an_idle_port_takes_no_processor_time",
        || {
            let mut harness = Harness::new();
            let pairs = harness.pairs(40);
            let child = Child::start(&mut harness, Role::Exit(0));
            child.status(&mut harness);
            for (client, server) in &pairs[..10] {
                harness.send_all(*client, b"unread");
                harness.receive(*client);
                let receiving = harness.receive(*server);
                harness.port.cancel(receiving);
                while !matches!(harness.next(receiving), completion if !completion.more) {}
            }
            for (client, _) in &pairs[10..20] {
                harness.close(*client, tidewaiter::port::CloseMode::Reset);
            }
            for (client, _) in &pairs[20..30] {
                harness.close_now(*client);
            }
            while harness.turn(Some(Duration::from_millis(50))) > 0 {}
            let before = processor_time();
            assert_eq!(harness.turn(Some(Duration::from_millis(500))), 0);
            let spent = processor_time() - before;
            assert!(spent < Duration::from_millis(100), "{spent:?} of 500 ms");
            harness.finish();
        },
    );
}

/// Goal: a receive that waits for bytes holds no buffer, on many connections.
#[cfg(target_os = "linux")]
#[test]
fn idle_connections_hold_no_receive_buffers() {
    /// The size of this process's own address space, in bytes.
    fn address_space() -> usize {
        let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
        let size = text.lines().find_map(|line| line.strip_prefix("VmSize:"));
        let size = size.and_then(|size| size.trim().strip_suffix(" kB"));
        1024 * size
            .expect("a line of it")
            .parse::<usize>()
            .expect("a number")
    }
    alone(
        module_path!(),
        "idle_connections_hold_no_receive_buffers",
        || {
            let mut options = PortOptions::default();
            options.receive_bytes = 1 << 20;
            options.receive_buffers = 8;
            let mut harness = Harness::with(&options);
            let pairs = harness.pairs(500);
            let before = address_space();
            for (client, server) in &pairs {
                harness.receive(*client);
                harness.receive(*server);
            }
            harness.turn(Some(Duration::from_millis(20)));
            let taken = address_space().saturating_sub(before);
            assert!(taken < 100 << 20, "{taken} bytes for 1000 idle connections");
            let (client, server) = pairs[0];
            let sending = harness.send(client, b"x".as_slice());
            assert!(matches!(harness.last(sending), Ok(Outcome::Sent { .. })));
            assert!(harness.port.peer_addr(server).is_ok());
            harness.finish();
        },
    );
}
