//! The children in these tests: this very executable, started again to play a part.

use std::io::{self, Read, Write};
use std::time::Duration;

/// The environment variable that names the part.
pub(crate) const ROLE: &str = "TIDEWAITER_TEST_ROLE";
/// What a child says first: what comes before it is the test harness's.
pub(crate) const READY: &[u8] = b"\n<the child plays its role>\n";
/// A failed test leaves nobody behind for ever.
const STAY: Duration = Duration::from_secs(120);

/// How much a child that floods writes to its standard error: no line ever ends.
pub(crate) const FLOOD_LINE: usize = 4096;
pub(crate) const FLOOD_LINES: usize = 2048;

/// How much a child answers that refuses to read on: no more than all buffers on the way hold, so that it ends
/// before anybody reads it.
pub(crate) const REFUSAL: usize = 100_000;
/// How much a child says that has much to say: more than its pipe holds.
pub(crate) const MUCH: usize = 3 << 20;

/// The arguments that start a child from this executable.
pub(crate) const ARGS: [&str; 4] = [
    "--exact",
    "child::plays_its_role",
    "--nocapture",
    "--test-threads=1",
];

/// A test that does nothing, except in a child.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child ends with a code, before the harness says more"
)]
fn plays_its_role() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    // An error: the server went away or broke a pipe on purpose.
    let code = play(role.to_str().expect("roles are text")).unwrap_or(1);
    std::process::exit(code);
}

fn play(role: &str) -> io::Result<i32> {
    say(READY)?;
    match role {
        "echo" => echo()?,
        "count" => {
            let count = io::copy(&mut io::stdin().lock(), &mut io::sink())?;
            say(count.to_string().as_bytes())?;
        }
        "environment" => {
            for name in [
                "REMOTE_ADDR",
                "REMOTE_PORT",
                "PROTO",
                "TCPREMOTEIP",
                "TCPREMOTEPORT",
                "TCPLOCALIP",
                "TCPLOCALPORT",
            ] {
                say(format!("{name}={}\n", std::env::var(name).unwrap_or_default()).as_bytes())?;
            }
        }
        "complain" => io::stderr().write_all(b"first complaint\nsecond \xff one\nunfinished")?,
        "refuse" => {
            // The rest of it is never read.
            io::stdin().lock().read_exact(&mut [0; 5])?;
            say(&[b'n'; REFUSAL])?;
        }
        "tell-much" => say(&vec![b'm'; MUCH])?,
        "exit-7" => return Ok(7),
        "flood" => {
            for _ in 0..FLOOD_LINES {
                io::stderr().write_all(&[b'x'; FLOOD_LINE])?;
            }
            say(b"flooded")?;
        }
        "leave-grandchild" => {
            // It inherits all: so the pipes stay open when we end.
            let program = std::env::current_exe()?;
            let mut grandchild = std::process::Command::new(program);
            grandchild.args(ARGS).env(ROLE, "stay").spawn()?;
        }
        "stay" => stay(),
        _ => panic!("no such role: {role}"),
    }
    Ok(0)
}

fn echo() -> io::Result<()> {
    let (mut input, mut data) = (io::stdin().lock(), vec![0; 64 * 1024]);
    loop {
        let count = input.read(&mut data)?;
        if count == 0 {
            return Ok(());
        }
        say(&data[..count])?;
    }
}

fn say(data: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(data)?;
    output.flush()
}

#[expect(clippy::disallowed_methods, reason = "to be ended is what it is for")]
fn stay() {
    std::thread::sleep(STAY);
}
