//! Machines that refuse io_uring, in part or as a whole.

use std::io;
use std::thread;

use super::super::super::open::open_best;
use super::super::super::{PortKind, PortOptions};
use super::super::{Allowed, Uring};
use super::{Harness, KERNELS};

/// Forbids a system call to this thread from now on, as a container's seccomp filter does.
fn forbid(call: libc::c_long, errno: i32) {
    let call = u32::try_from(call).expect("system calls have small numbers");
    let errno = errno.cast_unsigned();
    let statement = |code: u32, k: u32, skip: u8| libc::sock_filter {
        code: u16::try_from(code).expect("codes are 16 bits"),
        jt: 0,
        jf: skip,
        k,
    };
    let mut filter = [
        // The first word of a seccomp filter's input is the call's number.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, 1),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | errno,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the call takes plain numbers.
    let failed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
    // SAFETY: the program and its filter outlive the call, which copies them.
    let failed = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
}

/// The error of opening a port on a thread that may not use `call`.
fn refusal(call: libc::c_long, errno: i32) -> io::Error {
    let opening = thread::spawn(move || {
        forbid(call, errno);
        let opened = Uring::open(&PortOptions::default(), String::new(), Allowed::ALL);
        opened.map(drop).expect_err("it is forbidden")
    });
    opening.join().expect("opening does not panic")
}

#[test]
fn a_refusal_names_the_step_and_the_cause() {
    let error = refusal(libc::SYS_io_uring_setup, libc::EPERM);
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    let text = error.to_string();
    assert!(text.starts_with("io_uring_setup: "), "{text}");
    assert!(text.contains("seccomp"), "{text}");

    let text = refusal(libc::SYS_io_uring_setup, libc::ENOSYS).to_string();
    assert!(text.starts_with("io_uring_setup: "), "{text}");
    assert!(text.contains("no io_uring"), "{text}");

    let text = refusal(libc::SYS_io_uring_register, libc::EPERM).to_string();
    assert!(text.starts_with("io_uring_register(PROBE): "), "{text}");

    let text = refusal(libc::SYS_io_uring_enter, libc::EPERM).to_string();
    assert!(text.starts_with("io_uring_enter: "), "{text}");
}

#[test]
fn where_the_ring_is_refused_readiness_serves_and_says_why() {
    let opening = thread::spawn(|| {
        forbid(libc::SYS_io_uring_setup, libc::EPERM);
        let driver = open_best(&PortOptions::default()).expect("epoll is not refused");
        driver.status().info.clone()
    });
    let info = opening.join().expect("opening does not panic");
    assert_eq!(info.kind, PortKind::Poll);
    assert!(
        info.reason
            .starts_with("io_uring was refused: io_uring_setup: "),
        "{}",
        info.reason
    );
}

#[test]
fn the_port_says_what_it_makes_use_of() {
    for allowed in KERNELS {
        let harness = Harness::with(&PortOptions::default(), allowed);
        let features = &harness.port.info.features;
        let has = |name: &str| features.iter().any(|feature| feature == name);
        assert!(has(allowed.task_work.name()), "{features:?}");
        assert_eq!(has("multishot receive"), allowed.multishot, "{features:?}");
    }
}

#[test]
fn senseless_options_are_refused() {
    let options = PortOptions {
        receive_buffers: 3,
        ..PortOptions::default()
    };
    let error = Uring::open(&options, String::new(), Allowed::ALL).expect_err("no power of two");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
