//! The states of a stream as one pure type. [`State::on`] takes an event, moves on to the next state, and says what
//! follows; it performs none of it. Each transition of a stream is made here, and `ARCHITECTURE.md` draws them.
//!
//! A state has three parts, each with a few values: how far the stream is on its way to its end ([`Stage`]), its
//! receiving half ([`Reading`]), and its sending half ([`Writing`]). Beside them stand the hang-up that the stream may
//! await and the reasons for which it receives nothing.
//!
//! How much is queued, which operations are under way and what is held during a pause are data, not states. Where one
//! of them matters, an event tells: [`Event::Drained`], [`Event::SendOver`], [`Event::HeldDelivered`].

use super::Link;
use crate::port::CloseMode;

/// How far a stream is on its way to its end. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Open,
    /// The program has asked for the end. The stream closes once everything is sent and no producer is left; bytes
    /// that arrive are dropped.
    Leaving,
    /// The end is certain. The protocol learns of it once the send under way completes.
    Closing(Ending),
    /// The protocol knows of the end. The connection may linger.
    Told(Ending),
    /// The port was asked to close the handle, or the reactor is gone.
    Closed,
}

/// How the handle is closed, once the protocol knows of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// In order: a connection that can be reset by its close lingers first.
    InOrder,
    /// At once, without lingering.
    AtOnce,
    /// At once: on TCP, by a reset.
    Reset,
}

/// The receiving half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    /// Data may arrive, and nothing is held.
    Flowing,
    /// Bytes arrived during a pause. They are delivered before anything else.
    Holding,
    /// As `Holding`, and the end of file arrived after the bytes.
    HoldingEnd,
    /// Only an end of file arrived during a pause.
    EndHeld,
    /// No more data arrives. The protocol was told, or will not be, because the stream is to end.
    Ended,
    /// So much was received and dropped that no more is received.
    Refused,
}

/// The sending half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Writing {
    Open,
    /// To be ended once everything is sent and no producer is left. Only a producer may still write.
    Finishing,
    Ended,
}

/// The operation that reports a hang-up while no receive is under way to report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HangUp {
    Unasked,
    /// The operation is under way.
    Awaited,
    /// The peer has ended both directions; data may be left to receive.
    Seen,
}

/// The state of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    stage: Stage,
    reading: Reading,
    writing: Writing,
    hang_up: HangUp,
    /// The program has paused the stream.
    paused: bool,
    /// The stream receives nothing while it is congested.
    pauses_while_congested: bool,
    /// More bytes were queued than the high water mark, and no fewer than the low one are left.
    congested: bool,
}

/// Something that happens to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    // Calls of the program.
    /// Receive nothing until `Resume`.
    Pause,
    /// Receive nothing while congested, from now on.
    PauseWhileCongested,
    Resume,
    /// End the sending half once everything is sent.
    LoseWrite,
    /// End the stream once everything is sent.
    Lose,
    /// End the stream now.
    Close(Ending),

    // Completions of the port.
    Received,
    EndOfFile,
    /// A wait for a hang-up has begun.
    HangUpAwaited,
    /// That wait has ended without one.
    HangUpOver,
    /// The peer has ended both directions.
    HungUp {
        /// Whether everything that was written is sent.
        all_sent: bool,
    },
    /// An operation failed: the connection is lost.
    Failed,
    /// A send or a wait for a hang-up failed: the connection is lost, unless what the peer sent before can still be
    /// received.
    SendFailed,

    // Facts about the queue, the bytes that are held, and the operations under way.
    /// More bytes are queued than the high water mark.
    Congested,
    /// No more bytes are queued than the low water mark.
    Relieved,
    /// Everything is sent, and no producer is left.
    Drained,
    /// No send is under way, or the last one has completed.
    SendOver,
    /// The last of the held bytes are about to be delivered.
    HeldDelivered,
    /// As much was received and dropped as may be.
    DroppedEnough,

    // Calls of the loop.
    /// The congestion that the stream paused for is over, and the producer knows.
    ReceiveOn,
    /// It is the turn of what was held during a pause.
    Release,
    /// The time that a stopping reactor gives is over.
    OutOfTime,
    /// The connection has lingered long enough, or need not linger.
    LingerOver,
    /// The reactor is gone.
    Abandoned,
}

/// The work that follows an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// Deliver the bytes that were received.
    Deliver,
    /// Hold the bytes that were received.
    Hold,
    /// Drop the bytes that were received.
    Drop,
    /// Submit a receive, if [wanted](State::wants_data) and none is under way.
    Receive,
    /// Tell the producer that the congestion is over, and then: [`Event::ReceiveOn`].
    ReceiveOn,
    /// Have the loop call for the held bytes or the held end: [`Event::Release`].
    Release,
    /// Deliver the first of the held buffers.
    DeliverHeld,
    /// Tell the protocol of the peer's end.
    TellReadEnd {
        /// Whether to close the stream after that.
        last: bool,
    },
    /// See whether everything is sent: [`Event::Drained`].
    Drain,
    /// Drop what is held, see whether everything is sent, and receive what is to be dropped.
    Leave,
    /// Send the end of file, and tell the protocol.
    EndWriting {
        /// Whether to close the stream after that.
        last: bool,
    },
    /// Cancel the send under way. Once there is none: [`Event::SendOver`].
    AwaitSend,
    /// Tell the protocol of the end. After that, linger, or close the handle: [`Event::LingerOver`].
    TellEnd {
        /// Whether to send an end of file before.
        shut_down: bool,
        linger: bool,
    },
    CloseHandle(CloseMode),
}

impl State {
    /// The state of a new stream. A direction that `link` does not have has ended from the beginning.
    pub(super) fn new(link: &Link) -> State {
        State {
            stage: Stage::Open,
            reading: if link.receives() {
                Reading::Flowing
            } else {
                Reading::Ended
            },
            writing: if link.sends() {
                Writing::Open
            } else {
                Writing::Ended
            },
            hang_up: HangUp::Unasked,
            paused: false,
            pauses_while_congested: false,
            congested: false,
        }
    }

    /// Moves on to the state that follows `event`, and says what else follows.
    #[inline]
    pub(super) fn on(&mut self, link: &Link, event: Event) -> Next {
        match event {
            Event::Pause => self.paused = true,
            Event::PauseWhileCongested => self.pauses_while_congested = true,
            Event::HangUpAwaited => self.hang_up = HangUp::Awaited,
            Event::HangUpOver => self.hang_up = HangUp::Unasked,
            Event::Congested => self.congested = true,
            Event::HeldDelivered => self.held_delivered(),
            Event::Abandoned => {
                self.stage = Stage::Closed;
                self.writing = Writing::Ended;
            }
            Event::Resume => return self.resume(),
            Event::ReceiveOn => return self.receive_on(),
            Event::Relieved => return self.relieved(),
            Event::Release => return self.release(link),
            Event::Received => return self.received(),
            Event::EndOfFile => return self.end_of_file(link),
            Event::HungUp { all_sent } => return self.hung_up(link, all_sent),
            Event::LoseWrite => return self.lose_write(),
            Event::Lose => return self.lose(),
            Event::Drained => return self.drained(link),
            Event::Close(ending) => return self.close(ending),
            Event::Failed => return self.failed(),
            Event::SendFailed => return self.send_failed(link),
            Event::OutOfTime => return self.out_of_time(),
            Event::SendOver => return self.send_over(link),
            Event::DroppedEnough => return self.dropped_enough(),
            Event::LingerOver => return self.linger_over(),
        }
        Next::Nothing
    }

    // The receiving half.

    fn received(&mut self) -> Next {
        match (self.stage, self.reading) {
            (Stage::Open, Reading::Flowing) if !self.is_paused() => Next::Deliver,
            (Stage::Open, Reading::Flowing) => {
                self.reading = Reading::Holding;
                Next::Hold
            }
            (Stage::Open, Reading::Holding) => Next::Hold,
            _ => Next::Drop,
        }
    }

    fn end_of_file(&mut self, link: &Link) -> Next {
        if self.stage != Stage::Open {
            self.reading = Reading::Ended;
            return self.linger_over();
        }
        match self.reading {
            Reading::Holding => self.reading = Reading::HoldingEnd,
            // After a hang-up, a pause does not hold back the end of file, unless bytes are held before it.
            Reading::Flowing if self.is_paused() && !self.hung_up_before() => {
                self.reading = Reading::EndHeld;
            }
            Reading::Flowing => return self.end_reading(link),
            Reading::HoldingEnd | Reading::EndHeld | Reading::Ended | Reading::Refused => {}
        }
        Next::Nothing
    }

    /// Ends the receiving half, and with it a stream that cannot send or does not send any more.
    fn end_reading(&mut self, link: &Link) -> Next {
        self.reading = Reading::Ended;
        if !link.sends() {
            return self.close(Ending::InOrder);
        }
        Next::TellReadEnd {
            last: self.writing == Writing::Ended || self.hung_up_before(),
        }
    }

    fn resume(&mut self) -> Next {
        if std::mem::take(&mut self.paused) {
            self.receive_on()
        } else {
            Next::Nothing
        }
    }

    fn relieved(&mut self) -> Next {
        self.congested = false;
        if self.pauses_while_congested {
            Next::ReceiveOn
        } else {
            Next::Nothing
        }
    }

    fn receive_on(&mut self) -> Next {
        if self.is_paused() || !self.is_open() {
            return Next::Nothing;
        }
        match self.reading {
            Reading::Holding | Reading::HoldingEnd | Reading::EndHeld => Next::Release,
            Reading::Flowing | Reading::Ended | Reading::Refused => Next::Receive,
        }
    }

    fn release(&mut self, link: &Link) -> Next {
        if self.is_paused() || self.stage != Stage::Open {
            return Next::Nothing;
        }
        match self.reading {
            Reading::Holding | Reading::HoldingEnd => Next::DeliverHeld,
            Reading::EndHeld => self.end_reading(link),
            Reading::Flowing => Next::Receive,
            Reading::Ended | Reading::Refused => Next::Nothing,
        }
    }

    fn held_delivered(&mut self) {
        match self.reading {
            Reading::Holding => self.reading = Reading::Flowing,
            Reading::HoldingEnd => self.reading = Reading::EndHeld,
            _ => {}
        }
    }

    /// Gives up what is held, because nobody will want it.
    fn drop_held(&mut self) {
        match self.reading {
            Reading::Holding => self.reading = Reading::Flowing,
            Reading::HoldingEnd | Reading::EndHeld => self.reading = Reading::Ended,
            Reading::Flowing | Reading::Ended | Reading::Refused => {}
        }
    }

    fn hung_up(&mut self, link: &Link, all_sent: bool) -> Next {
        self.hang_up = HangUp::Seen;
        if !self.is_open() {
            return Next::Receive;
        }
        if !link.receives() {
            // With bytes to send, the send under way fails instead, and tells how many were lost.
            return if all_sent {
                self.close(Ending::InOrder)
            } else {
                Next::Nothing
            };
        }
        match self.reading {
            Reading::Ended => self.close(Ending::InOrder),
            Reading::EndHeld => self.end_reading(link),
            _ => Next::Receive,
        }
    }

    // The sending half.

    fn lose_write(&mut self) -> Next {
        if self.stage != Stage::Open || self.writing != Writing::Open {
            return Next::Nothing;
        }
        self.writing = Writing::Finishing;
        Next::Drain
    }

    fn drained(&mut self, link: &Link) -> Next {
        match (self.stage, self.writing) {
            (Stage::Leaving, _) => self.close(Ending::InOrder),
            (Stage::Open, Writing::Finishing) if link.half_closes => {
                self.writing = Writing::Ended;
                Next::EndWriting {
                    last: self.reading == Reading::Ended,
                }
            }
            (Stage::Open, Writing::Finishing) => self.close(Ending::InOrder),
            _ => Next::Nothing,
        }
    }

    // The end.

    fn lose(&mut self) -> Next {
        if self.stage != Stage::Open {
            return Next::Nothing;
        }
        self.stage = Stage::Leaving;
        if self.writing == Writing::Open {
            self.writing = Writing::Finishing;
        }
        self.drop_held();
        Next::Leave
    }

    fn close(&mut self, ending: Ending) -> Next {
        if !self.is_open() {
            return Next::Nothing;
        }
        self.stage = Stage::Closing(ending);
        Next::AwaitSend
    }

    fn failed(&mut self) -> Next {
        match self.stage {
            Stage::Told(_) => self.linger_over(),
            _ => self.close(Ending::AtOnce),
        }
    }

    fn send_failed(&mut self, link: &Link) -> Next {
        if self.stage != Stage::Open || !link.fails_by_half || !self.may_drop() {
            return self.failed();
        }
        self.writing = Writing::Ended;
        Next::Receive
    }

    fn out_of_time(&mut self) -> Next {
        if let Stage::Closing(ending) = &mut self.stage {
            // The stream may be about to end in order, and to linger after that: there is no time for it.
            *ending = Ending::AtOnce;
        }
        self.failed()
    }

    fn send_over(&mut self, link: &Link) -> Next {
        let Stage::Closing(ending) = self.stage else {
            return Next::Nothing;
        };
        self.stage = Stage::Told(ending);
        self.drop_held();
        let writing = std::mem::replace(&mut self.writing, Writing::Ended);
        let linger = ending == Ending::InOrder && link.lingers && self.may_drop();
        Next::TellEnd {
            shut_down: linger && writing != Writing::Ended,
            linger,
        }
    }

    fn dropped_enough(&mut self) -> Next {
        if matches!(self.reading, Reading::Flowing | Reading::Holding) {
            self.reading = Reading::Refused;
        }
        self.linger_over()
    }

    fn linger_over(&mut self) -> Next {
        let Stage::Told(ending) = self.stage else {
            return Next::Nothing;
        };
        self.stage = Stage::Closed;
        Next::CloseHandle(match ending {
            Ending::InOrder | Ending::AtOnce => CloseMode::Graceful,
            Ending::Reset => CloseMode::Reset,
        })
    }

    // Questions.

    /// How far the stream is on its way to its end.
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the stream is open, if only until everything is sent.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Leaving)
    }

    /// Whether the program may still write. A requested end waits for the registered producer, which may write until
    /// it is unregistered.
    pub(super) fn takes_data(&self, has_producer: bool) -> bool {
        match self.writing {
            Writing::Open => true,
            Writing::Finishing => has_producer,
            Writing::Ended => false,
        }
    }

    /// Whether to receive: for the protocol, or to drop what arrives, so that the OS does not reset the connection.
    pub(super) fn wants_data(&self, link: &Link) -> bool {
        match self.stage {
            Stage::Open => {
                self.reading == Reading::Flowing && (!self.is_paused() || self.hung_up_before())
            }
            Stage::Leaving => link.drops_while_leaving() && self.may_drop(),
            Stage::Told(_) => link.lingers && self.may_drop(),
            Stage::Closing(_) | Stage::Closed => false,
        }
    }

    /// Whether the program waits for data: it does not pause the stream, and more may arrive.
    pub(super) fn awaits_data(&self, link: &Link) -> bool {
        self.stage == Stage::Open && !self.is_paused() && self.wants_data(link)
    }

    /// Whether to ask the port for a hang-up while no receive is under way.
    pub(super) fn wants_hang_up(&self, link: &Link) -> bool {
        self.stage == Stage::Open
            && self.hang_up == HangUp::Unasked
            && link.hangs_up
            && link.sends()
    }

    /// Whether the end is certain, and the protocol does not know of it yet.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing(_))
    }

    pub(super) fn is_congested(&self) -> bool {
        self.congested
    }

    fn is_paused(&self) -> bool {
        self.paused || (self.pauses_while_congested && self.congested)
    }

    /// Whether the peer may still be sending, and what it sends may be received and dropped.
    fn may_drop(&self) -> bool {
        !matches!(self.reading, Reading::Ended | Reading::Refused)
    }

    fn hung_up_before(&self) -> bool {
        self.hang_up == HangUp::Seen
    }
}

#[cfg(test)]
mod tests;
