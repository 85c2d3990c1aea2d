//! Starts several children that pass their output on.

use super::{Process, ProcessProtocol};
use crate::process::{Command, SharedPipe, SpawnError};
use crate::reactor::Reactor;

impl Reactor {
    /// Starts children of which each reads what the one before it writes, over a [`SharedPipe`]: `a | b | c`. Returns
    /// them in this order.
    ///
    /// The standard outputs of all but the last child, and the standard inputs of all but the first, are these pipes,
    /// whatever the commands say. All else is as the commands say. Each child has a protocol of its own, and ends by
    /// itself.
    ///
    /// ```
    /// use tidewaiter::process::{Command, ExitStatus, Stdio};
    /// use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor};
    ///
    /// struct Stage {
    ///     last: bool,
    /// }
    ///
    /// impl ProcessProtocol for Stage {
    ///     fn child_data_received(&mut self, _: &Process, child_fd: ChildFd, data: &[u8]) {
    ///         println!("{child_fd}: {}", String::from_utf8_lossy(data));
    ///     }
    ///
    ///     fn process_ended(&mut self, process: &Process, _: ExitStatus) {
    ///         if self.last {
    ///             process.reactor().stop();
    ///         }
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// # if cfg!(unix) {
    /// let listed = Command::new("ls").stdin(Stdio::Null);
    /// let counted = Command::new("wc").arg("-l");
    /// reactor.spawn_pipeline([
    ///     (listed, Stage { last: false }),
    ///     (counted, Stage { last: true }),
    /// ])?;
    /// reactor.run()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`spawn_process`](Reactor::spawn_process), for the first child that cannot be started. Those before it are
    /// [killed](Process::kill) then; their protocols learn of that as of any other end. The protocols of the others are
    /// dropped without a call.
    pub fn spawn_pipeline<P: ProcessProtocol + 'static>(
        &self,
        children: impl IntoIterator<Item = (Command, P)>,
    ) -> Result<Vec<Process>, SpawnError> {
        let mut started: Vec<Process> = Vec::new();
        let mut input = None;
        let mut children = children.into_iter().peekable();
        while let Some((mut command, protocol)) = children.next() {
            if let Some(reader) = input.take() {
                command = command.stdin(reader);
            }
            if children.peek().is_some() {
                let pipe = SharedPipe::new();
                command = command.stdout(pipe.writer());
                input = Some(pipe.reader());
            }
            match self.spawn_process(&command, protocol) {
                Ok(process) => started.push(process),
                Err(error) => {
                    for process in started {
                        process.inner.end_tree();
                    }
                    return Err(error);
                }
            }
        }
        Ok(started)
    }
}
