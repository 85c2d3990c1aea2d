//! Children, and what the model knows of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidewaiter::process::{ExitStatus, Signal, SignalTarget};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reason};

use crate::start_child;
use crate::support::roles::{READY, Role};
use crate::world::{Probe, Stage, World, risky_callback};

pub(crate) struct Child {
    number: usize,
    role: Role,
    process: RefCell<Option<Process>>,
    begun: Cell<bool>,
    exited: Cell<Option<ExitStatus>>,
    ended: Cell<bool>,
    /// The descriptors whose pipes are not closed yet.
    open: RefCell<Vec<ChildFd>>,
    written: RefCell<Vec<u8>>,
    output: RefCell<Vec<u8>>,
    /// Set after an action that may cut its output off.
    disturbed: Cell<bool>,
    input_closed: Cell<bool>,
}

impl Child {
    pub(crate) fn start(world: &World) {
        let roles = [
            Role::Echo,
            Role::Echo,
            Role::Exit(3),
            Role::Mute,
            Role::Deaf,
            Role::Flood(20),
            Role::KeepDeaf,
        ];
        let role = roles[world.below(roles.len())];
        let child = Rc::new(Child {
            number: world.children.borrow().len(),
            role,
            process: RefCell::new(None),
            begun: Cell::new(false),
            exited: Cell::new(None),
            ended: Cell::new(false),
            open: RefCell::new(vec![0, 1, 2]),
            written: RefCell::default(),
            output: RefCell::default(),
            disturbed: Cell::new(false),
            input_closed: Cell::new(false),
        });
        let watcher = Watcher {
            child: Rc::clone(&child),
            _probe: Probe::new("process protocol"),
        };
        let command = start_child(world, role);
        match world.call(|| world.reactor.spawn_process(&command, watcher)) {
            Ok(process) => {
                child.process.replace(Some(process));
                world.children.borrow_mut().push(child);
            }
            Err(error) => world.note(format!("not started: {error}")),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ended.get()
    }

    /// Whether it may have ended before its own child.
    pub(crate) fn may_leave_others(&self) -> bool {
        self.role == Role::KeepDeaf && self.disturbed.get()
    }

    /// Takes a random action on a child.
    pub(crate) fn change(&self, world: &World) {
        let Some(process) = self.process.borrow().clone() else {
            return;
        };
        match world.below(9) {
            0..=3 => self.write(world, &process),
            4 => self.close_input(world, &process),
            5 => {
                self.disturbed.set(true);
                let child_fd = [0, 1, 2][world.below(3)];
                world.call(|| process.close_fd(child_fd));
            }
            6 => self.pause_output(world, &process),
            7 => {
                self.disturbed.set(true);
                let signal = [Signal::Terminate, Signal::Kill][world.below(2)];
                let target = [SignalTarget::Process, SignalTarget::Tree][world.below(2)];
                let _ = world.call(|| process.signal(signal, target));
            }
            _ => {
                self.disturbed.set(true);
                if let Some(pipe) = process.pipe(world.below(3).try_into().expect("it is small")) {
                    world.call(|| pipe.abort_connection());
                }
            }
        }
    }

    fn write(&self, world: &World, process: &Process) {
        let bytes: Vec<u8> = (0..world.below(5000))
            .map(|place| (place % 251).to_le_bytes()[0])
            .collect();
        let taken = process.pipe(0).is_some_and(|pipe| pipe.is_open());
        if taken && !self.input_closed.get() {
            self.written.borrow_mut().extend_from_slice(&bytes);
        }
        world.call(|| process.write(&bytes));
    }

    fn close_input(&self, world: &World, process: &Process) {
        self.input_closed.set(true);
        world.call(|| process.close_stdin());
    }

    fn pause_output(&self, world: &World, process: &Process) {
        if let Some(pipe) = process.pipe(1) {
            world.call(|| match world.below(2) {
                0 => pipe.pause_producing(),
                _ => pipe.resume_producing(),
            });
        }
    }

    /// Lets the child end; after a while, kills it.
    pub(crate) fn settle(&self, world: &World, patience_is_over: bool) {
        let Some(process) = self.process.borrow().clone() else {
            return;
        };
        self.close_input(world, &process);
        for pipe in [1, 2].into_iter().filter_map(|number| process.pipe(number)) {
            world.call(|| pipe.resume_producing());
        }
        if patience_is_over {
            self.disturbed.set(true);
            let _ = world.call(|| process.kill());
            world.call(|| process.lose_connection());
        }
    }

    fn check_output(&self, world: &World, status: ExitStatus) {
        let output = self.output.borrow();
        let ready = output
            .windows(READY.len())
            .position(|window| window == READY);
        let Some(ready) = ready.filter(|_| self.role == Role::Echo) else {
            return;
        };
        let (echoed, written) = (&output[ready + READY.len()..], self.written.borrow());
        world.check(written.starts_with(echoed), || {
            format!("child {}: its echo is another", self.number)
        });
        let undisturbed = world.calm && !self.disturbed.get();
        let whole = undisturbed && world.stage.get() < Stage::Draining;
        let whole = whole && status == ExitStatus::Code(0);
        world.check(!whole || echoed.len() == written.len(), || {
            format!(
                "child {}: {} bytes written, {} of them echoed",
                self.number,
                written.len(),
                echoed.len()
            )
        });
    }
}

struct Watcher {
    child: Rc<Child>,
    _probe: Probe,
}

impl Watcher {
    fn told(&self, what: &str, body: impl FnOnce(&Child, &World)) {
        let child = &self.child;
        let what = format!("child {}: {what}", child.number);
        let checked = |world: &Rc<World>| {
            world.check(!child.ended.get(), || format!("{what}, after its end"));
            body(child, world);
        };
        // A panic kills the child.
        risky_callback(&what, checked, || child.disturbed.set(true));
    }
}

impl ProcessProtocol for Watcher {
    fn connection_made(&mut self, _: &Process) {
        self.told("made", |child, world| {
            world.check(!child.begun.replace(true), || {
                "a child begins twice".to_owned()
            });
        });
    }

    fn child_data_received(&mut self, _: &Process, child_fd: ChildFd, data: &[u8]) {
        self.told("output", |child, world| {
            let open = child.open.borrow().contains(&child_fd);
            world.check(child.begun.get() && open && child_fd != 0, || {
                format!("child {}: data at {child_fd}", child.number)
            });
            if child_fd == 1 {
                child.output.borrow_mut().extend_from_slice(data);
            }
        });
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, _: Reason) {
        self.told("a pipe is closed", |child, world| {
            let mut open = child.open.borrow_mut();
            let place = open.iter().position(|open| *open == child_fd);
            world.check(child.begun.get() && place.is_some(), || {
                format!("child {}: {child_fd} is closed twice", child.number)
            });
            place.map(|place| open.remove(place));
        });
    }

    fn process_exited(&mut self, _: &Process, status: ExitStatus) {
        self.told("exited", |child, world| {
            let again = child.exited.replace(Some(status)).is_some();
            world.check(child.begun.get() && !again, || {
                "a child exits twice".to_owned()
            });
        });
    }

    fn process_ended(&mut self, _: &Process, status: ExitStatus) {
        self.told("ended", |child, world| {
            let exited = child.exited.get() == Some(status);
            world.check(exited && child.open.borrow().is_empty(), || {
                format!("child {}: ended too early", child.number)
            });
            child.ended.set(true);
            child.check_output(world, status);
        });
    }
}
