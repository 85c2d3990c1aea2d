//! Texts for a program: all that the system can pass arrive, and all others are refused with a cause.

use std::ffi::OsString;
use std::io::ErrorKind;

use tidewaiter::process::{Command, ExitStatus, SpawnStep};

use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::reader::Reader;
use crate::support::roles::{Role, TEXT};

/// A text that is not Unicode.
fn odd() -> OsString {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::from_vec(b"a\xFF\x80b\xC3".to_vec());
    #[cfg(windows)]
    // Half a character, twice: never together in this order.
    return std::os::windows::ffi::OsStringExt::from_wide(&[0x61, 0xDC00, 0xD800, 0x62, 0xD800]);
}

/// Returns the bytes that a child with [`Role::Tell`] writes.
fn told(command: &Command) -> Vec<u8> {
    let mut harness = Harness::new();
    let child = Child::run(&mut harness, command);
    let output = child.output(&mut harness);
    let (text, end) = output.read_to_end(&mut harness);
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(child.status(&mut harness), ExitStatus::Code(0));
    harness.finish();
    text
}

#[test]
fn a_variable_that_is_not_unicode_arrives_unchanged() {
    let told = told(&crate::child(Role::Tell).env(TEXT, odd()));
    assert_eq!(told, odd().as_encoded_bytes());
}

/// Goal: an argument that is not Unicode arrives unchanged.
/// Method: the tests' program refuses it, and quotes it.
#[test]
fn an_argument_that_is_not_unicode_arrives_unchanged() {
    if crate::SIMULATED {
        return;
    }
    let mut harness = Harness::new();
    let child = Child::run(&mut harness, &crate::child(Role::Exit(0)).arg(odd()));
    let (text, end) = Reader::new(&mut harness, child.stderr).read_to_end(&mut harness);
    assert!(end.is_ok(), "{end:?}");
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains(&format!("{:?}", odd())), "{text}");
    assert_eq!(child.status(&mut harness), ExitStatus::Code(101));
    harness.finish();
}

#[test]
fn a_text_that_contains_a_nul_is_refused_wherever_it_is() {
    let mut harness = Harness::new();
    let child = || crate::child(Role::Exit(0));
    let cases = [
        Command::new("a\0b"),
        child().arg("\0"),
        child().arg0("a\0"),
        child().env("A\0", "a"),
        child().env("A", "\0a"),
        child().current_dir("a\0b"),
    ];
    for command in cases {
        let error = harness.port.spawn(&command).expect_err("it has a NUL");
        assert_eq!(error.step, SpawnStep::Arguments, "{error}");
        assert_eq!(error.source.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(r"\0"), "{error}");
        assert_eq!(harness.port.open_handles(), 0, "{error}");
    }
    harness.finish();
}

#[test]
fn a_variable_without_a_name_or_with_an_equals_sign_in_it_is_refused() {
    let mut harness = Harness::new();
    for name in ["", "A=B"] {
        let command = crate::child(Role::Exit(0)).env(name, "a");
        let error = harness.port.spawn(&command).expect_err("nothing has it");
        assert_eq!(error.step, SpawnStep::Arguments, "{error}");
        assert_eq!(error.source.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
    harness.finish();
}

#[test]
fn an_environment_of_a_mebibyte_arrives() {
    const COUNT: usize = 64;
    let value = "v".repeat((1 << 20) / COUNT);
    let mut command = crate::child(Role::Tell);
    for number in 0..COUNT {
        command = command.env(format!("{TEXT}_{number}"), &value);
    }
    let told = told(&command);
    assert!(told.iter().all(|byte| *byte == b'v'));
    assert_eq!(told.len(), 1 << 20);
}

/// Goal: what is larger than the system takes is refused, and the error says so.
#[test]
fn a_single_text_that_is_too_long_is_refused() {
    if crate::SIMULATED {
        return;
    }
    let mut harness = Harness::new();
    let long = "v".repeat(1 << 20);
    let cases = [
        crate::child(Role::Tell).env(TEXT, &long),
        crate::child(Role::Tell).arg(&long),
    ];
    let (step, kind, cause) = match cfg!(windows) {
        true => (SpawnStep::Arguments, ErrorKind::InvalidInput, "32767"),
        false => (
            SpawnStep::Execute,
            ErrorKind::ArgumentListTooLong,
            "too long",
        ),
    };
    for command in cases {
        let error = harness.port.spawn(&command).expect_err("it is too long");
        assert_eq!((error.step, error.source.kind()), (step, kind), "{error}");
        assert!(error.source.to_string().contains(cause), "{error}");
        assert_eq!(harness.port.open_handles(), 0, "{error}");
    }
    harness.finish();
}
