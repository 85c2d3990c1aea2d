//! The simulated processes: starting, delivering events, ending.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::World;
use super::channel::ChannelEnd;
use super::event::{Delivery, Event};
use super::program::{Process, Program, Startup, killed_by};
use crate::panics;
use crate::port::sim::faults::{Call, too_many_open_files};
use crate::port::table::Key;
use crate::process::{
    Command, ExitStatus, PipeDirection, Signal, SignalTarget, SpawnError, SpawnStep, Stdio,
};

/// The exit status of a process whose program panics.
const ABORTED: ExitStatus = ExitStatus::Signal {
    number: 6,
    core_dumped: false,
};

/// The name of this drop in the log if it panics.
const PROGRAM: &str = "the drop of a simulated program";

/// Makes the program of a new process.
pub(super) type ProgramMaker = Box<dyn FnMut() -> Box<dyn Program> + Send>;

pub(crate) struct Child {
    pub(crate) pid: u32,
    /// The pid of the first process in its tree.
    tree: u32,
    pub(super) startup: Arc<Startup>,
    /// The process's program; `None` while it is being called.
    program: Option<Box<dyn Program>>,
    pub(super) streams: [Stream; 3],
    /// For each stream, whether the process found it full.
    pub(super) found_full: [bool; 3],
    pub(super) timer: Option<Duration>,
    pub(crate) status: Option<ExitStatus>,
    /// Whether a port has a handle for the process.
    watched: bool,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("pid", &self.pid)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A process just started, and the ports' ends of its pipes.
#[derive(Debug)]
pub(crate) struct StartedChild {
    pub(crate) child: Key,
    pub(crate) pid: u32,
    pub(crate) pipes: [Stream; 3],
}

/// What one of a process's standard streams leads to, or our end of it: the channels of which it holds an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) reads: Option<Key>,
    pub(crate) writes: Option<Key>,
}

impl Stream {
    pub(super) fn ends(self) -> impl Iterator<Item = (Key, ChannelEnd)> {
        let reads = self.reads.map(|channel| (channel, ChannelEnd::Reader));
        let writes = self.writes.map(|channel| (channel, ChannelEnd::Writer));
        reads.into_iter().chain(writes)
    }
}

/// Refuses a pipe in the direction that no simulated program uses: they read from the first standard stream, and write
/// to the others.
fn check_direction(child_fd: u32, stdio: &Stdio) -> Result<(), (SpawnStep, io::Error)> {
    let is_used = match stdio {
        Stdio::SharedPipe(end) => end.is_reader() == (child_fd == 0),
        _ => {
            let direction = stdio.direction(child_fd);
            direction.is_none_or(|direction| {
                let usual = Stdio::Pipe.direction(child_fd);
                direction == PipeDirection::Both || Some(direction) == usual
            })
        }
    };
    if is_used {
        return Ok(());
    }
    let message = "a simulated program has no pipe of that direction";
    let error = io::Error::new(io::ErrorKind::Unsupported, message);
    Err((SpawnStep::Descriptor(child_fd), error))
}

/// The standard streams of a command, as far as they are simulated.
struct Wanted {
    /// For each standard stream that is a pipe to us, its direction.
    pipes: [Option<PipeDirection>; 3],
    /// The streams that are the same as others.
    followers: Vec<(u32, u32)>,
}

impl Wanted {
    fn of(command: &Command) -> Result<Wanted, (SpawnStep, io::Error)> {
        let refused = command.refuse_raw_arguments();
        refused.map_err(|error| (SpawnStep::Arguments, error))?;
        command.limits.check(&[])?;
        let streams = command.standard_streams()?;
        for (child_fd, stdio) in (0..).zip(streams) {
            check_direction(child_fd, stdio)?;
        }
        Ok(Wanted {
            pipes: [0, 1, 2].map(|child_fd| streams[child_fd as usize].direction(child_fd)),
            followers: command.followers()?,
        })
    }
}

impl World {
    pub(crate) fn child(&self, key: Key) -> &Child {
        self.children.get(key).expect("a held child is known")
    }

    pub(super) fn child_mut(&mut self, key: Key) -> &mut Child {
        self.children.get_mut(key).expect("a held child is known")
    }

    /// Starts a process, or returns the reason why it cannot. It gets the `shared` pipes beside those that are made for
    /// it.
    pub(crate) fn start_child(
        &mut self,
        command: &Command,
        shared: [Stream; 3],
    ) -> Result<StartedChild, SpawnError> {
        let refuse = |step, source| command.failed((step, source));
        if let Some(problem) = invalid_argument(command) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, problem);
            return Err(refuse(SpawnStep::Arguments, source));
        }
        if command.priority.is_some() {
            let message = "a simulated program has no priority";
            let source = io::Error::new(io::ErrorKind::Unsupported, message);
            return Err(refuse(SpawnStep::Priority, source));
        }
        if command.cpus.is_some() {
            let message = "a simulated program runs on no CPU";
            let source = io::Error::new(io::ErrorKind::Unsupported, message);
            return Err(refuse(SpawnStep::Cpus, source));
        }
        if command.tree.die_with_parent {
            let message = "a simulated program does not end with its parent";
            let source = io::Error::new(io::ErrorKind::Unsupported, message);
            return Err(refuse(SpawnStep::DieWithParent, source));
        }
        let wanted = Wanted::of(command).map_err(|(step, source)| refuse(step, source))?;
        if let Some(source) = self.requested_failures.take(Call::Spawn) {
            return Err(refuse(SpawnStep::Execute, source));
        }
        if self.random.chance(self.faults.spawn_failures) {
            return Err(refuse(SpawnStep::Pipes, too_many_open_files()));
        }
        let Some(maker) = self.programs.get_mut(&command.program) else {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(refuse(SpawnStep::Search, source));
        };
        let program = panics::catch(maker).map_err(|message| {
            let message = format!("the function that makes the program panicked: {message}");
            refuse(SpawnStep::Execute, io::Error::other(message))
        })?;
        let (streams, pipes) = self.open_streams(&wanted, shared);
        let startup = Arc::new(Startup {
            args: command.args.clone(),
            env: environment(command),
            directory: command.directory.clone(),
        });
        let pid = self.next_pid();
        let child = self.add_child(pid, pid, startup, program, streams);
        self.child_mut(child).watched = true;
        let (has_input, ended) = streams[0].reads.map_or((false, true), |channel| {
            let channel = self.channel(channel);
            (channel.len() > 0, !channel.has_writer())
        });
        for (event, happened) in [(Event::Input, has_input), (Event::InputEnded, ended)] {
            if happened {
                self.deliveries.push_back((child, Delivery::Event(event)));
            }
        }
        Ok(StartedChild { child, pid, pipes })
    }

    /// Opens the streams; returns the child's ends and ours.
    fn open_streams(&mut self, wanted: &Wanted, shared: [Stream; 3]) -> ([Stream; 3], [Stream; 3]) {
        let pipes = wanted.pipes.map(|direction| {
            let mut open = |way| {
                let opens = direction == Some(way) || direction == Some(PipeDirection::Both);
                opens.then(|| self.open_channel())
            };
            Stream {
                reads: open(PipeDirection::FromChild),
                writes: open(PipeDirection::ToChild),
            }
        });
        let mut streams = shared;
        for (stream, ours) in streams.iter_mut().zip(pipes) {
            self.share_stream(*stream);
            stream.reads = stream.reads.or(ours.writes);
            stream.writes = stream.writes.or(ours.reads);
        }
        for &(number, other) in &wanted.followers {
            // Any other descriptor is closed.
            let stream = streams.get(other as usize).copied().unwrap_or_default();
            self.share_stream(stream);
            streams[number as usize] = stream;
        }
        (streams, pipes)
    }

    /// Adds a holder to each end of a stream.
    fn share_stream(&mut self, stream: Stream) {
        for (channel, end) in stream.ends() {
            self.share_channel(channel, end);
        }
    }

    /// Removes a holder from each end of a stream.
    pub(super) fn release_stream(&mut self, stream: Stream) {
        for (channel, end) in stream.ends() {
            self.release_channel(channel, end);
        }
    }

    fn next_pid(&mut self) -> u32 {
        self.last_pid += 1;
        self.last_pid
    }

    fn add_child(
        &mut self,
        pid: u32,
        tree: u32,
        startup: Arc<Startup>,
        program: Box<dyn Program>,
        streams: [Stream; 3],
    ) -> Key {
        let child = self.children.insert(Child {
            pid,
            tree,
            startup,
            program: Some(program),
            streams,
            found_full: [false; 3],
            timer: None,
            status: None,
            watched: false,
        });
        for (channel, _) in streams.into_iter().flat_map(Stream::ends) {
            self.watch_channel(channel, child);
        }
        self.deliveries
            .push_back((child, Delivery::Event(Event::Started)));
        child
    }

    pub(super) fn fork_child(&mut self, parent: Key, program: Box<dyn Program>) -> u32 {
        let Child {
            tree,
            ref startup,
            streams,
            ..
        } = *self.child(parent);
        let startup = Arc::clone(startup);
        for stream in streams {
            self.share_stream(stream);
        }
        let pid = self.next_pid();
        self.add_child(pid, tree, startup, program, streams);
        pid
    }

    /// Whether to deliver an `event` of `channel`, which the child holds or held, to `child`.
    pub(super) fn wants_event(&self, child: Key, channel: Key, event: Event) -> bool {
        let Some(child) = self.children.get(child) else {
            return false;
        };
        match event {
            Event::Room => {
                let full =
                    |n: usize| child.streams[n].writes == Some(channel) && child.found_full[n];
                (1..3).any(full)
            }
            _ => child.streams[0].reads == Some(channel),
        }
    }

    /// Delivers all queued events and signals.
    pub(crate) fn run_programs(&mut self) {
        while let Some((key, delivery)) = self.deliveries.pop_front() {
            // The process may have ended in the meantime.
            let Some(child) = self.children.get_mut(key) else {
                continue;
            };
            let Some(mut program) = child.program.take() else {
                continue;
            };
            let mut process = Process { world: self, key };
            let called = panics::catch(|| match delivery {
                Delivery::Event(event) => program.event(event, &mut process),
                Delivery::Signal(signal) => program.signal(signal, &mut process),
            });
            if let Err(message) = called {
                log::error!("a simulated program panicked: {message}");
                self.end_child(key, ABORTED);
            }
            match self.children.get_mut(key) {
                Some(child) if child.status.is_none() => {
                    child.program = Some(program);
                    continue;
                }
                Some(child) if !child.watched => drop(self.children.remove(key)),
                _ => {}
            }
            panics::drop_caught(PROGRAM, program);
        }
    }

    /// Ends a process: closes its streams and sets its status.
    pub(super) fn end_child(&mut self, key: Key, status: ExitStatus) {
        let child = self.child_mut(key);
        if child.status.is_some() {
            return;
        }
        child.status = Some(status);
        child.timer = None;
        let program = child.program.take();
        let running = program.is_none();
        let streams = std::mem::take(&mut child.streams);
        let forgotten = !child.watched && !running;
        for stream in streams {
            self.release_stream(stream);
        }
        // A process that ends itself is still being called: `run_programs` removes it afterwards.
        if forgotten {
            self.children.remove(key);
        }
        panics::drop_caught(PROGRAM, program);
    }

    /// Notes that no port has a handle for the process any more. It continues by itself.
    pub(crate) fn unwatch_child(&mut self, key: Key) {
        let child = self.child_mut(key);
        child.watched = false;
        if child.status.is_some() {
            self.children.remove(key);
        }
    }

    pub(crate) fn signal_child(
        &mut self,
        key: Key,
        signal: Signal,
        target: SignalTarget,
    ) -> io::Result<()> {
        let tree = self.child(key).tree;
        let reached: Vec<Key> = self
            .children
            .iter()
            .filter(|(other, child)| match target {
                SignalTarget::Process => *other == key,
                SignalTarget::Tree => child.tree == tree,
            })
            .filter(|(_, child)| child.status.is_none())
            .map(|(key, _)| key)
            .collect();
        if reached.is_empty() {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        if let Some(error) = self.requested_failures.take(Call::Signal) {
            return Err(error);
        }
        for key in reached {
            match signal {
                Signal::Kill => self.end_child(key, killed_by(signal)),
                _ => self.deliveries.push_back((key, Delivery::Signal(signal))),
            }
        }
        Ok(())
    }

    /// The number of processes that have not ended.
    pub(crate) fn running_children(&self) -> usize {
        let children = self.children.iter();
        children.filter(|(_, child)| child.status.is_none()).count()
    }

    /// The time of the next timer of any process.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.children
            .iter()
            .filter_map(|(_, child)| child.timer)
            .min()
    }

    /// Delivers the timers that are due.
    pub(super) fn fire_timers(&mut self) {
        let elapsed = self.elapsed;
        let due: Vec<Key> = self
            .children
            .iter()
            .filter(|(_, child)| child.timer.is_some_and(|timer| timer <= elapsed))
            .map(|(key, _)| key)
            .collect();
        for key in due {
            self.child_mut(key).timer = None;
            self.deliveries
                .push_back((key, Delivery::Event(Event::Timer)));
        }
        self.run_programs();
    }
}

/// The reason why a command cannot be passed to a program, if any.
/// Says what no system could pass to a program.
fn invalid_argument(command: &Command) -> Option<String> {
    let directory = command
        .directory
        .as_ref()
        .map(|directory| directory.as_os_str());
    let texts = [("the program's name", Some(command.program.as_os_str()))]
        .into_iter()
        .chain([("an argument", command.arg0.as_deref())])
        .chain(
            command
                .args
                .iter()
                .map(|arg| ("an argument", Some(arg.as_os_str()))),
        )
        .chain([("the working directory", directory)]);
    let variables = command.env.iter().flat_map(|(name, value)| {
        [Some(name.as_os_str()), value.as_deref()].map(|text| ("an environment variable", text))
    });
    for (what, text) in texts.chain(variables) {
        if let Some(text) = text.filter(|text| text.as_encoded_bytes().contains(&0)) {
            return Some(format!("{what} contains a NUL: {text:?}"));
        }
    }
    let set = command.env.iter().filter(|(_, value)| value.is_some());
    let mut names = set.map(|(name, _)| name);
    let bad = names.find(|name| name.is_empty() || name.as_encoded_bytes().contains(&b'='))?;
    Some(format!("no environment variable can have the name {bad:?}"))
}

fn environment(command: &Command) -> Vec<(OsString, OsString)> {
    let mut env = BTreeMap::new();
    for (name, value) in &command.env {
        match value {
            Some(value) => env.insert(name.clone(), value.clone()),
            None => env.remove(name),
        };
    }
    env.into_iter().collect()
}
