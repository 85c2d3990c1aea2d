//! The children in these tests: the test executable itself, started again in one of several roles.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Duration;

use crate::starting::start;

/// The environment variable that names the role.
pub(crate) const ROLE: &str = "TIDEWAITER_TEST_ROLE";
/// The first output of a role. The test harness writes its own output before this.
pub(crate) const READY: &[u8] = b"\n<the child plays its role>\n";
/// Lifetime of the role "stay", so that a failed test does not leave a process behind for ever.
const STAY: Duration = Duration::from_secs(300);

/// The role "flood" writes this many pieces of this many bytes to its standard error, without a line break.
pub(crate) const FLOOD_LINE: usize = 4096;
pub(crate) const FLOOD_LINES: usize = 2048;

/// Bytes that the role "refuse" answers. They fit into the buffers on the way, so that the child exits before the
/// client reads.
pub(crate) const REFUSAL: usize = 100_000;
/// Bytes that the role "tell-much" writes: more than its pipe holds.
pub(crate) const MUCH: usize = 3 << 20;

/// Bytes that the role "allocate" asks for.
const ALLOCATION: usize = 200 << 20;

/// Arguments that make this executable run [`plays_its_role`] alone.
pub(crate) const ARGS: [&str; 4] = [
    "--exact",
    "child::plays_its_role",
    "--nocapture",
    "--test-threads=1",
];

/// Plays the role in a child; does nothing as a test.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the child must exit with its code before the harness prints more"
)]
fn plays_its_role() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    // Errors are expected when the server ends or closes a pipe on purpose.
    let code = play(role.to_str().expect("roles are text")).unwrap_or(1);
    std::process::exit(code);
}

fn play(role: &str) -> io::Result<i32> {
    if role == "converse" {
        return converse();
    }
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
                "UNIXLOCALPATH",
                "UNIXREMOTEEUID",
                "UDPREMOTEIP",
                "UDPREMOTEPORT",
                "UDPLOCALPORT",
            ] {
                say(format!("{name}={}\n", std::env::var(name).unwrap_or_default()).as_bytes())?;
            }
        }
        "surroundings" => {
            let directory = std::env::current_dir()?;
            say(format!("directory={}\n", directory.display()).as_bytes())?;
            for (name, value) in std::env::vars() {
                say(format!("{name}={value}\n").as_bytes())?;
            }
        }
        "allocate" => {
            let mut memory: Vec<u8> = Vec::new();
            let had = memory.try_reserve_exact(ALLOCATION).is_ok();
            say(if had { b"allocated" } else { b"refused" })?;
        }
        "compute" => compute(),
        "complain" => io::stderr().write_all(b"first complaint\nsecond \xff one\nunfinished")?,
        "refuse" => {
            // The child leaves the rest of its input unread.
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
            // The grandchild inherits the pipes, so they stay open after this process has exited.
            let program = std::env::current_exe()?;
            let mut grandchild = std::process::Command::new(program);
            start(grandchild.args(ARGS).env(ROLE, "stay"))?;
        }
        "stay" => stay(),
        _ => panic!("no such role: {role}"),
    }
    Ok(0)
}

/// Answers each line at its terminal until one says `exit`, and exits with 3; at the end of the input with 4.
fn converse() -> io::Result<i32> {
    let (input, output) = match cfg!(windows) {
        true => ("CONIN$", "CONOUT$"),
        false => ("/dev/tty", "/dev/tty"),
    };
    let open = |name| File::options().read(true).write(true).open(name);
    let (input, mut output) = (open(input)?, open(output)?);
    output.write_all(b"ready\n")?;
    for line in BufReader::new(input).lines() {
        match line?.trim_end() {
            "exit" => return Ok(3),
            // The end, as C's runtime would see it at a console.
            "\u{1a}" => break,
            line => output.write_all(format!("heard <{line}>\n").as_bytes())?,
        }
    }
    Ok(4)
}

fn compute() {
    let (begun, mut sum) = (std::time::Instant::now(), 0_u64);
    while begun.elapsed() < STAY {
        for number in 0..1_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
    }
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

#[expect(
    clippy::disallowed_methods,
    reason = "this child waits until the server ends it"
)]
fn stay() {
    std::thread::sleep(STAY);
}
