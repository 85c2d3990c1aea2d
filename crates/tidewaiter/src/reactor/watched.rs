//! The common part of the watches of descriptors, handles and directories: how they begin and end.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::{Live, Reactor};
use crate::error::Error;
use crate::port::{Operation, Port, Token};

/// The port's operation, and the callback of type `C` that the loop calls.
pub(super) struct Watched<C: ?Sized> {
    pub(super) reactor: Reactor,
    token: Cell<Token>,
    /// The port's operation; `None` once ended.
    operation: Cell<Option<Operation>>,
    /// Borrowed during the call. Only the loop calls it, so calls do not nest. `None` once dropped.
    callback: RefCell<Option<Box<C>>>,
}

impl<C: ?Sized> Watched<C> {
    pub(super) fn new(reactor: &Reactor, callback: Box<C>) -> Watched<C> {
        Watched {
            reactor: reactor.clone(),
            token: Cell::new(Token::default()),
            operation: Cell::new(None),
            callback: RefCell::new(Some(callback)),
        }
    }

    /// Begins the watch: `live` gets its completions. The outer error is that of the reactor, the inner one the port's.
    pub(super) fn begin(
        &self,
        live: Rc<dyn Live>,
        submit: impl FnOnce(&mut Port, Token) -> io::Result<Operation>,
    ) -> Result<io::Result<()>, Error> {
        let token = self.reactor.register(live)?;
        self.token.set(token);
        let submitted = submit(&mut self.reactor.port_mut(), token);
        Ok(match submitted {
            Ok(operation) => {
                self.operation.set(Some(operation));
                Ok(())
            }
            Err(error) => {
                self.reactor.unregister(token);
                Err(error)
            }
        })
    }

    /// The port's operation, until the watch ends.
    pub(super) fn operation(&self) -> Option<Operation> {
        self.operation.get()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.operation.get().is_none()
    }

    /// Ends the watch at once, for the program.
    pub(super) fn end(&self) {
        if let Some(operation) = self.operation.take() {
            self.reactor.port_mut().cancel(operation);
        }
    }

    /// Notes that the port has ended the watch by itself.
    pub(super) fn note_ended(&self) {
        self.operation.set(None);
    }

    /// Forgets the watch once its last completion has come.
    pub(super) fn unregister(&self) {
        self.reactor.unregister(self.token.get());
    }

    /// Calls the program. A panic ends the watch.
    pub(super) fn call(&self, call: impl FnOnce(&mut C)) {
        let called = self.reactor.guard("the callback of a watch", || {
            if let Some(callback) = &mut *self.callback.borrow_mut() {
                call(callback);
            }
        });
        if called.is_none() {
            self.end();
        }
    }

    /// Drops the callback and all that it owns, even if the program keeps the watch.
    pub(super) fn drop_callback(&self) {
        let callback = self.callback.take();
        self.reactor
            .drop_guarded("the drop of a watch's callback", callback);
    }

    /// Ends with the reactor, which is gone.
    pub(super) fn abandon(&self) {
        self.note_ended();
        self.drop_callback();
    }
}
