//! A child, as the program holds it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tidewaiter::process::{Command, ExitStatus, Usage};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reason};

use crate::exit::{End, Exit};
use crate::pipe::{ChildPipe, Shared};
use crate::thread::remote;
use crate::tree::Tree;

/// A child process. It may go to any thread.
///
/// Dropping it closes the pipes that it still has, and leaves the child running unless
/// [`kill_on_drop`](Child::kill_on_drop) says otherwise. It is reaped in any case. At the end of this process, a child
/// that still runs goes on on Unix, and is killed with its tree on Windows.
pub struct Child {
    /// Writes to the child's standard input, if that is a pipe, or to its terminal.
    pub stdin: Option<ChildPipe>,
    /// Reads the child's standard output, if that is a pipe, or its terminal.
    pub stdout: Option<ChildPipe>,
    /// Reads the child's error output, if that is a pipe.
    pub stderr: Option<ChildPipe>,
    /// The child's other descriptors that are pipes, by their numbers in the child.
    pub fds: BTreeMap<u32, ChildPipe>,
    tree: Tree,
    exit: Arc<Exit>,
    kill_on_drop: bool,
}

/// How a child ended, and what it wrote.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its error output.
    pub stderr: Vec<u8>,
}

impl Child {
    /// Starts a program, on the calling thread, which blocks until the system has started it or refused to: about as long as a
    /// thread takes to start. The first child of this process starts the thread that waits for all of them.
    ///
    /// # Errors
    ///
    /// The program, the step that failed and the reason, as [`SpawnError`](tidewaiter::process::SpawnError) has them,
    /// inside of an [`io::Error`] of the reason's kind; the system's reason if the thread cannot be started.
    pub fn spawn(command: &Command) -> io::Result<Child> {
        let exit = Arc::<Exit>::default();
        let mut shared = Pipes::new();
        let spawned = remote()?.spawn_process(command, |pipes| {
            shared = pipes.iter().map(|fd| (*fd, Arc::default())).collect();
            Watch {
                pipes: shared.clone(),
                exit: Arc::clone(&exit),
            }
        });
        let remote = spawned.map_err(|error| {
            let kind = error.source.kind();
            io::Error::new(kind, error)
        })?;
        let pipe = |(fd, shared)| (fd, ChildPipe::new(shared, remote.clone(), fd));
        let mut fds: BTreeMap<ChildFd, ChildPipe> = shared.into_iter().map(pipe).collect();
        Ok(Child {
            stdin: fds.remove(&0),
            stdout: fds.remove(&1),
            stderr: fds.remove(&2),
            fds,
            tree: Tree::new(remote),
            exit,
            kill_on_drop: false,
        })
    }

    /// Whether dropping this kills the child with its tree: no by default.
    #[must_use]
    pub fn kill_on_drop(mut self, kill: bool) -> Child {
        self.kill_on_drop = kill;
        self
    }

    /// The child's process ID. Once the child has ended, the OS may give it to another process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.tree.id()
    }

    /// Signals and kills the child with its descendants. It may be cloned and used by other threads and tasks, while this
    /// one waits.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// How the child ended; `None` while it runs.
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.exit.get().map(|end| end.status)
    }

    /// The CPU time and memory that the child took, once it has ended, where the system tells.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.exit.get().and_then(|end| end.usage)
    }

    /// Closes the child's standard input, and waits until the child has ended and was reaped: not for its pipes, which
    /// descendants may keep open. Dropping the future changes nothing; several may wait, one after another.
    ///
    /// The status is [`ExitStatus::Unknown`] if it cannot be known, as when other code of this process has reaped the
    /// child.
    pub async fn wait(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        poll_fn(|context| self.exit.poll(context)).await.status
    }

    /// As [`wait`](Child::wait), blocking.
    pub fn wait_blocking(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.exit.wait().status
    }

    /// Closes the child's standard input, reads its outputs to their ends, and waits for its end. Of pipes that were
    /// taken out of the fields before, nothing is read.
    pub async fn output(mut self) -> Output {
        drop(self.stdin.take());
        let pipes = [self.stdout.take(), self.stderr.take()];
        // None of them wakes this task before its end, and the child's end comes last as a rule: so one wake-up will do.
        pipes.iter().flatten().for_each(ChildPipe::gather);
        let status = self.wait().await;
        let [stdout, stderr] = pipes.map(gathered);
        Output {
            status,
            stdout: stdout.await,
            stderr: stderr.await,
        }
    }

    /// As [`output`](Child::output), blocking.
    #[must_use]
    pub fn output_blocking(self) -> Output {
        block_on(self.output())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_on_drop && self.exit.get().is_none() {
            // An error means that the thread has ended, which has killed all children.
            let _ = self.tree.kill();
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("status", &self.try_wait())
            .finish_non_exhaustive()
    }
}

async fn gathered(pipe: Option<ChildPipe>) -> Vec<u8> {
    match pipe {
        Some(pipe) => pipe.gathered().await,
        None => Vec::new(),
    }
}

/// Waits for a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

/// The pipes of a child, by their numbers in the child.
type Pipes = BTreeMap<ChildFd, Arc<Shared>>;

/// The thread's side of a child.
struct Watch {
    pipes: Pipes,
    exit: Arc<Exit>,
}

impl Watch {
    fn pipe(&self, fd: ChildFd) -> Option<&Shared> {
        self.pipes.get(&fd).map(|shared| &**shared)
    }
}

impl ProcessProtocol for Watch {
    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        if let Some(shared) = self.pipe(child_fd)
            && shared.received(data)
            && let Some(pipe) = process.pipe(child_fd)
        {
            pipe.pause_producing();
        }
    }

    fn child_write_paused(&mut self, _: &Process, child_fd: ChildFd) {
        if let Some(shared) = self.pipe(child_fd) {
            shared.set_congested(true);
        }
    }

    fn child_write_resumed(&mut self, _: &Process, child_fd: ChildFd) {
        if let Some(shared) = self.pipe(child_fd) {
            shared.set_congested(false);
        }
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, reason: Reason) {
        if let Some(shared) = self.pipe(child_fd) {
            shared.close(&reason);
        }
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        let usage = process.usage();
        self.exit.tell(End { status, usage });
    }
}

impl Drop for Watch {
    /// Also when the thread has ended because its port failed: then nothing else would tell those that wait.
    fn drop(&mut self) {
        for shared in self.pipes.values() {
            shared.close(&Reason::Stopped);
        }
        if self.exit.get().is_none() {
            let status = ExitStatus::Unknown;
            self.exit.tell(End {
                status,
                usage: None,
            });
        }
    }
}
