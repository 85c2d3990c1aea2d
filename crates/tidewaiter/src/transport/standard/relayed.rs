//! Waits for a relay to write what the transport has given it, and only then tells the protocol of the end.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::{Ends, Gone};
use crate::error::Reason;
use crate::port::standard::Written;
use crate::port::{Completion, Failure, Token};
use crate::reactor::{Live, Reactor};

/// How long a stopping reactor waits for what a relay still writes.
const STOP_FLUSH: Duration = Duration::from_secs(1);

/// The loop's side of a relay that writes.
pub(super) struct Relayed {
    reactor: Reactor,
    token: Cell<Token>,
    ends: Rc<Ends>,
    /// What the protocol is to be told once everything is written.
    owed: RefCell<Owed>,
}

#[derive(Default)]
struct Owed {
    write_lost: bool,
    lost: Option<Reason>,
}

impl Relayed {
    pub(super) fn register(reactor: &Reactor, ends: &Rc<Ends>) -> io::Result<Rc<Relayed>> {
        let relayed = Rc::new(Relayed {
            reactor: reactor.clone(),
            token: Cell::new(Token::default()),
            ends: Rc::clone(ends),
            owed: RefCell::default(),
        });
        let token = reactor.register(Rc::clone(&relayed) as Rc<dyn Live>);
        relayed.token.set(token.map_err(io::Error::other)?);
        Ok(relayed)
    }

    /// The call with which the thread reports that everything is written.
    pub(super) fn written(&self, reactor: &Reactor) -> Written {
        let (remote, token) = (reactor.remote(), self.token.get());
        Box::new(move |result| {
            let reported = remote.call(move |reactor| {
                if let Some(relayed) = reactor.find::<Relayed>(token) {
                    relayed.settle(result);
                }
            });
            if let Err(error) = reported {
                log::debug!("nobody waits for a relay any more: {error}");
            }
        })
    }

    pub(super) fn tell_write_lost(&self) {
        self.owed.borrow_mut().write_lost = true;
    }

    pub(super) fn tell_lost(&self, reason: Reason) {
        self.owed.borrow_mut().lost = Some(reason);
    }

    /// Waits no longer, and tells nothing.
    pub(super) fn forget(&self) {
        self.ends.relayed.take();
        let token = self.token.replace(Token::default());
        if token != Token::default() {
            self.reactor.unregister(token);
        }
    }

    /// Tells what is owed: everything is written, or failed, or there is no time to wait for it.
    fn settle(&self, result: io::Result<()>) {
        self.forget();
        let mut owed = self.owed.take();
        let Some(transport) = self.ends.transport.borrow().clone() else {
            return;
        };
        if let Err(source) = result {
            let failure = Failure::os("write", source);
            match &mut owed.lost {
                Some(reason) => *reason = Reason::of(failure).unwrap_or(Reason::Done),
                None => return transport.fail(failure),
            }
        }
        let ends = &self.ends;
        if owed.write_lost {
            let told = self
                .reactor
                .guard("a protocol", || ends.write_lost(&transport));
            if told.is_none() {
                transport.abort_connection();
            }
        }
        if let Some(reason) = owed.lost {
            self.reactor
                .guard("a protocol", || ends.lost(&transport, reason));
            let protocol = ends.protocol.replace(Box::new(Gone));
            self.reactor
                .drop_guarded("the drop of a protocol", protocol);
        }
    }
}

impl Live for Relayed {
    fn completed(self: Rc<Self>, completion: Completion) {
        log::error!("unexpected completion for a relay: {completion:?}");
    }

    fn stop(self: Rc<Self>) {
        // The stream has as long to give its bytes to the relay.
        let reactor = self.reactor.clone();
        reactor.call_later(2 * STOP_FLUSH, move |_| {
            if self.token.get() != Token::default() {
                log::warn!("what was written has not reached standard output");
                self.settle(Ok(()));
            }
        });
    }

    fn abandon(&self) -> Option<String> {
        self.token.set(Token::default());
        self.owed.take();
        self.ends.relayed.take();
        None
    }
}
