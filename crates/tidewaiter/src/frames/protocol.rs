//! Callback protocols that receive frames.

use super::codec::Decoder;
use super::decoding::Decoding;
use crate::error::Reason;
use crate::transport::{ConnectionTimeout, Protocol, Transport};

/// What a decoder makes of bytes.
type FrameOf<P> = <<P as FrameProtocol>::Codec as Decoder>::Item;

/// Why a decoder makes nothing of bytes.
type ErrorOf<P> = <<P as FrameProtocol>::Codec as Decoder>::Error;

/// The program's side of a connection that speaks in frames: see [`Frames`]. The methods are those of a [`Protocol`],
/// with frames in the place of data.
///
/// ```
/// use tidewaiter::Transport;
/// use tidewaiter::bytes::Bytes;
/// use tidewaiter::frames::{Encoder, FrameError, FrameProtocol, Netstrings};
///
/// struct Echo;
///
/// impl FrameProtocol for Echo {
///     type Codec = Netstrings;
///
///     fn frame_received(&mut self, transport: &Transport, frame: Bytes) {
///         if let Ok(answer) = Netstrings::new().frame(frame) {
///             transport.write_bytes(answer);
///         }
///     }
///
///     fn frame_failed(&mut self, transport: &Transport, error: FrameError) {
///         transport.write(format!("{error}\n").as_bytes());
///         transport.lose_connection();
///     }
/// }
/// ```
pub trait FrameProtocol {
    /// The codec of what is received.
    type Codec: Decoder;

    /// As [`Protocol::connection_made`].
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// A frame arrived. The frames that arrived with it follow at once, even if this one pauses the transport; none
    /// follows after [`Transport::lose_connection`].
    fn frame_received(&mut self, transport: &Transport, frame: FrameOf<Self>);

    /// The bytes that arrived are no frame, or end within one. What else arrives is dropped.
    ///
    /// The default logs the error and aborts the connection.
    fn frame_failed(&mut self, transport: &Transport, error: ErrorOf<Self>) {
        log::info!("{transport:?}: {error}");
        transport.abort_connection();
    }

    /// As [`Protocol::read_connection_lost`]. The last frame was told before.
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.lose_without_producer();
    }

    /// As [`Protocol::write_connection_lost`].
    fn write_connection_lost(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// As [`Protocol::write_paused`].
    fn write_paused(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// As [`Protocol::write_resumed`].
    fn write_resumed(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// As [`Protocol::timed_out`].
    fn timed_out(&mut self, transport: &Transport, timeout: ConnectionTimeout) {
        transport.lose_to(timeout);
    }

    /// As [`Protocol::connection_lost`]. A frame that was not complete when the connection ended, otherwise than by the
    /// peer's end of file, is dropped.
    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let _ = (transport, reason);
    }
}

/// Makes a [`Protocol`] of a [`FrameProtocol`]: cuts what a connection receives into frames.
///
/// ```
/// use tidewaiter::frames::{FrameProtocol, Frames, Line, Lines};
/// use tidewaiter::{Reactor, Transport};
///
/// struct Shout;
///
/// impl FrameProtocol for Shout {
///     type Codec = Lines;
///
///     fn frame_received(&mut self, transport: &Transport, line: Line) {
///         transport.write(&line.to_ascii_uppercase());
///         transport.write(b"\n");
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// reactor.listen_tcp("127.0.0.1:0", |_peer| Frames::new(Lines::new().limit(1024), Shout))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Frames<P: FrameProtocol> {
    decoding: Decoding<P::Codec>,
    protocol: P,
}

impl<P: FrameProtocol> Frames<P> {
    /// Puts a codec before a protocol.
    pub fn new(codec: P::Codec, protocol: P) -> Frames<P> {
        Frames {
            decoding: Decoding::new(codec),
            protocol,
        }
    }

    /// The protocol, for [`Transport::with_protocol`].
    ///
    /// ```
    /// # use tidewaiter::Transport;
    /// # use tidewaiter::frames::{FrameProtocol, Frames, Line, Lines};
    /// #[derive(Default)]
    /// struct Count(usize);
    ///
    /// impl FrameProtocol for Count {
    ///     type Codec = Lines;
    ///     fn frame_received(&mut self, _: &Transport, _: Line) {
    ///         self.0 += 1;
    ///     }
    /// }
    ///
    /// fn lines_of(transport: &Transport) -> Option<usize> {
    ///     transport.with_protocol(|frames: &mut Frames<Count>| frames.protocol_mut().0)
    /// }
    /// ```
    pub fn protocol_mut(&mut self) -> &mut P {
        &mut self.protocol
    }

    fn tell(&mut self, transport: &Transport, result: Result<FrameOf<P>, ErrorOf<P>>) {
        match result {
            Ok(frame) => self.protocol.frame_received(transport, frame),
            Err(error) => self.protocol.frame_failed(transport, error),
        }
    }
}

impl<P: FrameProtocol + 'static> Protocol for Frames<P> {
    fn connection_made(&mut self, transport: &Transport) {
        self.protocol.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.decoding.add(data);
        while transport.still_receives()
            && let Some(result) = self.decoding.next()
        {
            self.tell(transport, result);
        }
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        while transport.still_receives()
            && let Some(result) = self.decoding.next_at_end()
        {
            self.tell(transport, result);
        }
        self.protocol.read_connection_lost(transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.protocol.write_connection_lost(transport);
    }

    fn write_paused(&mut self, transport: &Transport) {
        self.protocol.write_paused(transport);
    }

    fn write_resumed(&mut self, transport: &Transport) {
        self.protocol.write_resumed(transport);
    }

    fn timed_out(&mut self, transport: &Transport, timeout: ConnectionTimeout) {
        self.protocol.timed_out(transport, timeout);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        self.protocol.connection_lost(transport, reason);
    }
}
