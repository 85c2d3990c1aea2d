//! Accepting the clients of a named pipe.

use crate::port::iocp::Iocp;
use crate::port::iocp::entry::Source;
use crate::port::iocp::wait::Wait;
use crate::port::socket::{Socket, SocketRepr};
use crate::port::table::Key;
use crate::port::{Failure, Outcome};

impl Iocp {
    /// Accepts the clients that have come, and waits for the next ones. Called to begin, and once the listener's event was
    /// set.
    pub(in super::super) fn accept_on_pipe(&mut self, operation: Key) {
        let Iocp {
            operations,
            handles,
            records,
            ..
        } = self;
        let pending = operations.get_mut(operation).expect("it is under way");
        let entry = handles.get_mut(pending.handle);
        let Source::PipeListener(listener) = &mut entry.expect("it has operations").source else {
            unreachable!("the caller found a listener of a pipe");
        };
        pending.wait = None;
        let is_ending = pending.ending.is_some();
        let renewed = if is_ending {
            listener.take_back(records);
            Ok(())
        } else {
            listener.renew(operation, pending.once, records)
        };
        pending.records = listener.lent();
        let mut clients = Vec::new();
        while !is_ending
            && (clients.is_empty() || !pending.once)
            && let Some(client) = listener.next_connected()
        {
            let peer = listener.address();
            let socket = Socket(SocketRepr::Own(Box::new(client)));
            clients.push(Outcome::Accepted { socket, peer });
        }
        let waits = listener.lent() > 0;
        if pending.once
            && let Some(client) = clients.pop()
        {
            return self.end(operation, Ok(client));
        }
        for client in clients {
            self.report(operation, client);
        }
        match renewed {
            Err(error) if !waits => self.fail(operation, Failure::os("CreateNamedPipeW", error)),
            Err(error) => log::debug!("port: fewer instances of a pipe wait: {error}"),
            Ok(()) => self.end_if_idle(operation),
        }
        self.await_pipe_clients(operation);
    }

    /// Waits for the event of the operation's listener, unless the operation has ended.
    fn await_pipe_clients(&mut self, operation: Key) {
        if self.operations.get(operation).is_none() {
            return;
        }
        let (Source::PipeListener(listener), _) = self.source_of(operation) else {
            unreachable!("the caller found a listener of a pipe");
        };
        match Wait::start(
            self.functions.packets,
            &self.queue,
            listener.event(),
            operation,
        ) {
            Ok(wait) => {
                let pending = self.operations.get_mut(operation);
                pending.expect("looked up above").wait = Some(wait);
            }
            Err(error) => self.fail(operation, Failure::os("wait for an event", error)),
        }
    }
}
