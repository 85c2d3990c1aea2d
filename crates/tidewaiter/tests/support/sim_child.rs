//! Simulated children.

use tidewaiter::port::sim::{Event, Output, Process, Program, Sim};
use tidewaiter::process::{Command, ExitStatus, Signal};

use super::roles::{READY, ROLE, Role, told};

/// The name of the program that plays every role.
const PLAYER: &str = "player";

/// The command that starts a child with `role`.
pub(crate) fn child(role: Role) -> Command {
    Command::new(PLAYER).env(ROLE, role.to_text())
}

/// Registers the children's program with `sim`.
pub(crate) fn register(sim: &Sim) {
    sim.program(PLAYER, || Player {
        role: None,
        output: Vec::new(),
        errors: 0,
    });
}

struct Player {
    /// Read from the environment, unless the child that forked this one set it.
    role: Option<Role>,
    /// The bytes that it still has to write.
    output: Vec<u8>,
    /// How many bytes it still has to write to standard error.
    errors: usize,
}

impl Player {
    fn begin(&mut self, process: &mut Process<'_>) {
        let role = self.role.unwrap_or_else(|| {
            let role = process.env(ROLE).expect("a child has a role");
            Role::from_text(role)
        });
        self.role = Some(role);
        match role {
            Role::Exit(code) => return process.exit(code.into()),
            Role::Work(_) => return process.exit(0),
            Role::Flood(count) => self.errors = 1024 * usize::try_from(count).expect("it fits"),
            _ => {}
        }
        // Every pipe is empty at the beginning, so this fits.
        let written = process.write(Output::Stdout, READY);
        assert_eq!(written.ok(), Some(READY.len()));
        match role {
            Role::Tell => self.output = told(|name| process.env(name).map(ToOwned::to_owned)),
            Role::Mute => process.close_output(Output::Stdout),
            Role::LeaveEcho => {
                process.fork(Player::playing(Role::Echo));
                process.exit(5);
            }
            Role::LeaveStubborn => {
                process.fork(Player::playing(Role::Stubborn));
                process.exit(5);
            }
            Role::Ancestor(generations) => {
                if let Some(below) = generations.checked_sub(1) {
                    process.fork(Player::playing(Role::Ancestor(below)));
                }
            }
            Role::KeepDeaf => {
                process.fork(Player::playing(Role::Deaf));
            }
            _ => {}
        }
    }

    fn playing(role: Role) -> Player {
        Player {
            role: Some(role),
            output: Vec::new(),
            errors: 0,
        }
    }

    /// Echoes the bytes that are available as far as there is room for them.
    fn echo(&mut self, process: &mut Process<'_>) {
        loop {
            if self.output.is_empty() {
                self.output = process.read(4096);
            }
            if self.output.is_empty() {
                break;
            }
            match process.write(Output::Stdout, &self.output) {
                Ok(0) => return,
                Ok(count) => drop(self.output.drain(..count)),
                Err(_) => return process.exit(1),
            }
        }
        if process.input_ended() {
            process.exit(0);
        }
    }

    fn tell(&mut self, process: &mut Process<'_>) {
        while !self.output.is_empty() {
            match process.write(Output::Stdout, &self.output) {
                Ok(0) => return,
                Ok(count) => drop(self.output.drain(..count)),
                Err(_) => return process.exit(1),
            }
        }
        process.exit(0);
    }

    fn flood(&mut self, process: &mut Process<'_>) {
        while self.errors > 0 {
            let piece = [b'!'; 1024];
            let piece = &piece[..self.errors.min(1024)];
            match process.write(Output::Stderr, piece) {
                Ok(0) => return,
                Ok(count) => self.errors -= count,
                Err(_) => return process.exit(1),
            }
        }
        exit_at_end_of_input(process, 0);
    }
}

fn exit_at_end_of_input(process: &mut Process<'_>, code: u32) {
    while !process.read(4096).is_empty() {}
    if process.input_ended() {
        process.exit(code);
    }
}

impl Program for Player {
    fn event(&mut self, event: Event, process: &mut Process<'_>) {
        if event == Event::Started {
            self.begin(process);
        }
        match self.role {
            Some(Role::Echo) => self.echo(process),
            Some(Role::Tell) => self.tell(process),
            Some(Role::Flood(_)) => self.flood(process),
            Some(Role::Mute) => exit_at_end_of_input(process, 3),
            _ => {}
        }
    }

    fn signal(&mut self, signal: Signal, process: &mut Process<'_>) {
        if self.role != Some(Role::Stubborn) {
            let number = match signal {
                Signal::Interrupt => 2,
                Signal::Number(number) => number,
                _ => 15,
            };
            process.end(ExitStatus::Signal {
                number,
                core_dumped: false,
            });
        }
    }
}
