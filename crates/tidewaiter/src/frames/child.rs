//! Children whose output is frames.

use std::collections::BTreeMap;

use super::codec::Decoder;
use super::decoding::Decoding;
use crate::error::Reason;
use crate::process::ExitStatus;
use crate::transport::{ChildFd, Process, ProcessProtocol, Transport};

/// The program's side of a child that speaks in frames: see [`ChildFrames`]. The methods are those of a
/// [`ProcessProtocol`], with frames in the place of data.
///
/// ```
/// use tidewaiter::frames::{ChildFrameProtocol, Encoder, FrameError, LengthPrefixed};
/// use tidewaiter::{ChildFd, Process, bytes::Bytes};
///
/// /// Sends back each frame that the child writes, and kills a child that writes anything else.
/// struct Echo(LengthPrefixed);
///
/// impl ChildFrameProtocol for Echo {
///     type Codec = LengthPrefixed;
///
///     fn frame_received(&mut self, process: &Process, _: ChildFd, frame: Bytes) {
///         if let (Some(stdin), Ok(answer)) = (process.pipe(0), self.0.frame(frame)) {
///             stdin.write_bytes(answer);
///         }
///     }
///
///     fn frame_failed(&mut self, process: &Process, child_fd: ChildFd, error: FrameError) {
///         println!("{child_fd}: {error}");
///         if let Err(error) = process.kill() {
///             println!("{error}");
///         }
///     }
/// }
/// ```
pub trait ChildFrameProtocol {
    /// The codec of what the child writes, cloned for each of its descriptors.
    type Codec: Decoder + Clone;

    /// As [`ProcessProtocol::connection_made`].
    fn connection_made(&mut self, process: &Process) {
        let _ = process;
    }

    /// The child wrote a frame to its descriptor `child_fd`. The frames that arrived with it follow at once, even if
    /// this one pauses the pipe; none follows once the pipe is closed.
    fn frame_received(
        &mut self,
        process: &Process,
        child_fd: ChildFd,
        frame: <Self::Codec as Decoder>::Item,
    );

    /// What the child wrote to its descriptor `child_fd` is no frame, or ends within one. What else it writes there is
    /// dropped.
    ///
    /// The default logs the error and closes the pipe.
    fn frame_failed(
        &mut self,
        process: &Process,
        child_fd: ChildFd,
        error: <Self::Codec as Decoder>::Error,
    ) {
        log::info!("{process:?}, descriptor {child_fd}: {error}");
        process.close_fd(child_fd);
    }

    /// As [`ProcessProtocol::child_connection_lost`]. The last frame was told before.
    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, reason: Reason) {
        let _ = (process, child_fd, reason);
    }

    /// As [`ProcessProtocol::process_exited`].
    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        let _ = (process, status);
    }

    /// As [`ProcessProtocol::process_ended`].
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        let _ = (process, status);
    }
}

/// Makes a [`ProcessProtocol`] of a [`ChildFrameProtocol`]: cuts what a child writes into frames, for each of its
/// descriptors apart.
///
/// ```
/// use tidewaiter::frames::{ChildFrameProtocol, ChildFrames, Line, Lines};
/// use tidewaiter::process::{Command, ExitStatus};
/// use tidewaiter::{ChildFd, Process, Reactor};
///
/// struct Print;
///
/// impl ChildFrameProtocol for Print {
///     type Codec = Lines;
///
///     fn frame_received(&mut self, _: &Process, child_fd: ChildFd, line: Line) {
///         println!("{child_fd}: {}", String::from_utf8_lossy(&line));
///     }
///
///     fn process_ended(&mut self, process: &Process, _: ExitStatus) {
///         process.reactor().stop();
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let command = Command::new("cargo").arg("--version");
/// reactor.spawn_process(&command, ChildFrames::new(Lines::new().cut_long(), Print))?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ChildFrames<P: ChildFrameProtocol> {
    codec: P::Codec,
    outputs: BTreeMap<ChildFd, Decoding<P::Codec>>,
    protocol: P,
}

impl<P: ChildFrameProtocol> ChildFrames<P> {
    /// Puts a codec before a protocol.
    pub fn new(codec: P::Codec, protocol: P) -> ChildFrames<P> {
        ChildFrames {
            codec,
            outputs: BTreeMap::new(),
            protocol,
        }
    }
}

impl<P: ChildFrameProtocol> ProcessProtocol for ChildFrames<P> {
    fn connection_made(&mut self, process: &Process) {
        self.protocol.connection_made(process);
    }

    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        let decoding = self.outputs.entry(child_fd);
        let decoding = decoding.or_insert_with(|| Decoding::new(self.codec.clone()));
        decoding.add(data);
        let pipe = process.pipe(child_fd);
        let still_receives = || pipe.as_ref().is_some_and(Transport::still_receives);
        while still_receives()
            && let Some(result) = decoding.next()
        {
            match result {
                Ok(frame) => self.protocol.frame_received(process, child_fd, frame),
                Err(error) => self.protocol.frame_failed(process, child_fd, error),
            }
        }
        if !still_receives() {
            // The program closed the pipe: the beginning of a frame is not told either.
            self.outputs.remove(&child_fd);
        }
    }

    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, reason: Reason) {
        if let Some(mut decoding) = self.outputs.remove(&child_fd) {
            while let Some(result) = decoding.next_at_end() {
                match result {
                    Ok(frame) => self.protocol.frame_received(process, child_fd, frame),
                    Err(error) => self.protocol.frame_failed(process, child_fd, error),
                }
            }
        }
        self.protocol
            .child_connection_lost(process, child_fd, reason);
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.protocol.process_exited(process, status);
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.protocol.process_ended(process, status);
    }
}
