//! Starts a child process and prints every event that its protocol receives: `cargo run -p tidewaiter --example
//! child`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]
#![expect(clippy::print_stderr, reason = "and its child to it")]

use std::error::Error;

use tidewaiter::process::{Command, ExitStatus};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor, Reason};

/// Prints each event as it happens.
struct Watch;

impl ProcessProtocol for Watch {
    fn connection_made(&mut self, process: &Process) {
        println!("parent: the child runs");
        process.write(b"port\nreactor\nprotocol\n");
        process.close_stdin();
    }

    fn child_data_received(&mut self, _: &Process, child_fd: ChildFd, data: &[u8]) {
        println!(
            "parent: from {child_fd}: {:?}",
            String::from_utf8_lossy(data)
        );
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, _: Reason) {
        println!("parent: pipe {child_fd} is closed");
    }

    fn process_exited(&mut self, _: &Process, status: ExitStatus) {
        println!("parent: the child exited: {status}");
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        println!("parent: the child has ended: {status}");
        process.reactor().stop();
    }
}

/// The child's program: the example starts itself again, so that it runs on any system.
fn be_the_child() {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        println!("{}", line.to_uppercase());
    }
    eprintln!("that was all");
}

const CHILD: &str = "TIDEWAITER_EXAMPLE_CHILD";

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    if std::env::var_os(CHILD).is_some() {
        be_the_child();
        return Ok(());
    }
    let command = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(CHILD, "1");
    let reactor = Reactor::new()?;
    reactor.spawn_process(&command, Watch)?;
    reactor.run()?;
    Ok(())
}
