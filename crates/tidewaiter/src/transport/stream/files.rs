//! Files in a stream's queue: each is sent in its turn, by the port where that can, by reading and writing elsewhere.
//!
//! The bytes before the first file are in [`Flow::queue`]. Each file keeps the bytes that were written behind it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use super::transfer::FileTransfer;
use super::{Flow, Sending, Stream, Transport};
use crate::error::{FileError, SendFileError};
use crate::port::{Chunks, Failure, FileCall, FilePart, Operation, Request};
use crate::reactor::Reactor;
use crate::transport::File;

/// How many bytes are read at a time where files are sent by reading and writing.
const READ_BYTES: u64 = 128 * 1024;

type Done = Box<dyn FnOnce(&Transport, Result<u64, SendFileError>)>;

/// The files that are to be sent.
pub(super) type FileQueue = VecDeque<QueuedFile>;

/// A part of a file that is to be sent.
pub(super) struct QueuedFile {
    file: File,
    offset: u64,
    /// How many bytes are left; `None`: all that the file has.
    left: Option<u64>,
    sent: u64,
    way: Way,
    /// The operation by which the port sends it.
    operation: Option<Operation>,
    /// Whether no more of it is to be sent. Its transfers share this, and are known by it.
    cancelled: Rc<Cell<bool>>,
    done: Done,
    /// The bytes that were written behind it.
    behind: Chunks,
}

/// How a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the port.
    Port,
    /// By reading and writing.
    Copy,
    /// As `Copy`, with a read under way, or nothing to read.
    Reading,
}

impl QueuedFile {
    /// Bytes that the OS took, or that were read for it to take.
    fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
        self.sent += bytes;
        if let Some(left) = &mut self.left {
            *left -= bytes;
        }
    }

    fn was_cancelled(&self) -> Result<u64, SendFileError> {
        Err(SendFileError::Cancelled { sent: self.sent })
    }

    /// The result when the file has no more bytes.
    fn at_end_of_file(&self) -> Result<u64, SendFileError> {
        match self.left {
            None | Some(0) => Ok(self.sent),
            Some(_) => Err(SendFileError::FileEnded { sent: self.sent }),
        }
    }
}

/// How many bytes are written behind these files.
#[cold]
fn behind_each(files: &FileQueue) -> usize {
    files.iter().map(|file| file.behind.len()).sum()
}

impl Flow {
    /// The last part of the queue, which takes what is written.
    pub(super) fn back_mut(&mut self) -> &mut Chunks {
        match &mut self.files {
            None => &mut self.queue,
            Some(files) => {
                let last = files.back_mut().expect("the list of files is never empty");
                &mut last.behind
            }
        }
    }

    /// How many bytes are written behind files.
    #[inline]
    pub(super) fn queued_behind_files(&self) -> usize {
        match &self.files {
            None => 0,
            Some(files) => behind_each(files),
        }
    }

    /// Whether everything was sent.
    #[inline]
    pub(super) fn is_drained(&self) -> bool {
        self.files.is_none() && self.queue.is_empty() && !self.is_sending()
    }

    /// The file whose turn it is, if its bytes are next.
    fn next_file(&mut self) -> Option<&mut QueuedFile> {
        match &mut self.files {
            Some(files) if self.queue.is_empty() => files.front_mut(),
            _ => None,
        }
    }

    /// Takes the first file off the queue. What was written behind it is next.
    fn pop_file(&mut self) -> Option<QueuedFile> {
        let files = self.files.as_mut()?;
        let mut first = files.pop_front()?;
        self.queue.put_back(&mut first.behind);
        if files.is_empty() {
            self.files = None;
        }
        Some(first)
    }

    /// Takes a file off the queue that is not being sent or read. What was written behind it follows what is before it.
    fn remove_file(&mut self, place: usize) -> Option<QueuedFile> {
        let files = self.files.as_mut()?;
        let mut file = files.remove(place)?;
        let before = match place.checked_sub(1) {
            Some(place) => &mut files[place].behind,
            None => &mut self.queue,
        };
        file.behind.put_back(before);
        std::mem::swap(before, &mut file.behind);
        if files.is_empty() {
            self.files = None;
        }
        Some(file)
    }
}

impl Stream {
    pub(super) fn send_file(
        self: &Rc<Self>,
        file: &File,
        range: impl RangeBounds<u64>,
        done: impl FnOnce(&Transport, Result<u64, SendFileError>) + 'static,
    ) -> FileTransfer {
        let offset = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => Some(last.saturating_add(1)),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        let (transfer, cancelled) = FileTransfer::through(self);
        let mut flow = self.flow.borrow_mut();
        let queued = QueuedFile {
            file: file.clone(),
            offset,
            left: end.map(|end| end.saturating_sub(offset)),
            sent: 0,
            way: self.way_of(file),
            operation: None,
            cancelled,
            done: Box::new(done),
            behind: Chunks::new(),
        };
        if !flow.takes_data() || !flow.state.is_open() {
            drop(flow);
            let stream = Rc::clone(self);
            let lost = Err(SendFileError::ConnectionLost { sent: 0 });
            self.reactor.soon(move |_| stream.tell_sent(queued, lost));
            return transfer;
        }
        flow.files.get_or_insert_default().push_back(queued);
        let flush = flow.sending == Sending::Idle;
        if flush {
            flow.sending = Sending::FlushOwed;
        }
        drop(flow);
        if flush {
            self.reactor.flush_soon(Rc::clone(self) as Rc<_>);
        }
        transfer
    }

    /// Sends no more of the file that is known by `cancelled`. To be called from the loop.
    pub(super) fn cancel_file(self: &Rc<Self>, cancelled: &Rc<Cell<bool>>) {
        let mut flow = self.flow.borrow_mut();
        let files = flow.files.iter().flat_map(|files| files.iter());
        let found = files
            .enumerate()
            .find(|(_, file)| Rc::ptr_eq(&file.cancelled, cancelled));
        let Some((place, file)) = found else {
            return;
        };
        if let Some(operation) = file.operation {
            drop(flow);
            self.reactor.port_mut().cancel(operation);
            return;
        }
        // The end of the read tells.
        if file.way == Way::Reading {
            return;
        }
        let Some(file) = flow.remove_file(place) else {
            return;
        };
        drop(flow);
        let result = file.was_cancelled();
        self.tell_sent(file, result);
        self.go_on_sending(self.flow.borrow_mut());
    }

    fn way_of(&self, file: &File) -> Way {
        let is_ours = self.reactor.is_same(file.reactor());
        if is_ours && self.reactor.port().performs(FileCall::Send) {
            Way::Port
        } else {
            Way::Copy
        }
    }

    /// Sends or reads on for the file whose turn it is. To be called from the loop.
    pub(super) fn send_next_file(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        let Some(next) = flow.next_file() else {
            return;
        };
        match (next.left, next.way) {
            (_, Way::Reading) => {}
            (Some(0), _) => {
                // Not at once: many of them would call each other.
                next.way = Way::Reading;
                drop(flow);
                let stream = Rc::clone(self);
                self.reactor.soon(move |_| stream.file_read(Ok(Vec::new())));
            }
            (left, Way::Port) => {
                let part = next.file.handle().map(|file| FilePart {
                    file,
                    offset: next.offset,
                    len: left.unwrap_or(u64::MAX),
                });
                drop(flow);
                self.submit_file(part);
            }
            (left, Way::Copy) => {
                next.way = Way::Reading;
                let (file, offset) = (next.file.clone(), next.offset);
                drop(flow);
                self.read_file(&file, offset, left);
            }
        }
    }

    fn submit_file(self: &Rc<Self>, part: Option<FilePart>) {
        let submitted = part.map(|part| {
            let request = Request::SendFile(Box::new(part));
            let mut port = self.reactor.port_mut();
            port.submit(self.output(), request, self.token.get())
        });
        match submitted {
            Some(Ok(operation)) => {
                let sending = Sending::UnderWay {
                    operation,
                    bytes: 0,
                };
                let mut flow = self.flow.borrow_mut();
                flow.sending = sending;
                if let Some(next) = flow.next_file() {
                    next.operation = Some(operation);
                }
            }
            // The file is closed, or this port or this kind of stream does not send files. A read tells.
            Some(Err(_)) | None => self.copy_file(),
        }
    }

    /// Goes on with the file by reading and writing.
    fn copy_file(self: &Rc<Self>) {
        if let Some(next) = self.flow.borrow_mut().next_file() {
            next.way = Way::Copy;
        }
        self.send_next_file();
    }

    fn read_file(self: &Rc<Self>, file: &File, offset: u64, left: Option<u64>) {
        let len = left.unwrap_or(READ_BYTES).min(READ_BYTES);
        let len = usize::try_from(len).expect("it is small");
        let stream = Rc::clone(self);
        file.read_at(offset, len, move |_, result| stream.file_read(result));
    }

    /// Queues bytes of the file that were read.
    fn file_read(self: &Rc<Self>, result: Result<Vec<u8>, FileError>) {
        let mut flow = self.flow.borrow_mut();
        // The stream may have ended meanwhile.
        let Some(next) = flow.next_file().filter(|next| next.way == Way::Reading) else {
            return;
        };
        next.way = Way::Copy;
        match result {
            Ok(bytes) if bytes.is_empty() => {
                let result = next.at_end_of_file();
                drop(flow);
                self.finish_file(result);
            }
            _ if next.cancelled.get() => {
                let result = next.was_cancelled();
                drop(flow);
                self.finish_file(result);
            }
            Ok(bytes) => {
                next.advance(bytes.len() as u64);
                flow.queue.push(bytes);
                drop(flow);
                self.send_more();
            }
            Err(source) => {
                let sent = next.sent;
                drop(flow);
                self.finish_file(Err(SendFileError::File { sent, source }));
            }
        }
    }

    /// Handles what the port sent of the file.
    pub(super) fn file_sent(self: &Rc<Self>, bytes: u64, failure: Option<Failure>) {
        self.reactor.counters().bytes_sent.add(bytes);
        let mut flow = self.flow.borrow_mut();
        let is_open = flow.state.is_open();
        let Some(next) = flow.next_file() else {
            drop(flow);
            return self.end_if_sent();
        };
        next.operation = None;
        next.advance(bytes);
        let result = match failure {
            Some(Failure::Cancelled) => next.was_cancelled(),
            _ => next.at_end_of_file(),
        };
        let cancelled = next.cancelled.get();
        drop(flow);
        match failure {
            _ if !is_open => self.end_if_sent(),
            None => self.finish_file(result),
            Some(Failure::Cancelled) if cancelled => self.finish_file(result),
            Some(failure) if failure.is_of_connection() => {
                self.send_failed(failure);
                self.end_if_sent();
            }
            Some(_) => self.copy_file(),
        }
    }

    /// Reports the end of the file whose turn it was, and goes on behind it.
    fn finish_file(self: &Rc<Self>, result: Result<u64, SendFileError>) {
        let file = self.flow.borrow_mut().pop_file();
        if let Some(file) = file {
            self.tell_sent(file, result);
        }
        self.go_on_sending(self.flow.borrow_mut());
    }

    /// Reports that files are not sent, or not to their ends: those that [`Flow::files`] held, in front of which `unsent`
    /// bytes were left.
    #[cold]
    pub(super) fn lose_files(self: &Rc<Self>, files: FileQueue, unsent: usize) {
        let mut unread = unsent as u64;
        for file in files {
            // Bytes that were read are sent once they have left the queue.
            let sent = match file.way {
                Way::Port => file.sent,
                Way::Copy | Way::Reading => file.sent.saturating_sub(unread),
            };
            unread = 0;
            self.tell_sent(file, Err(SendFileError::ConnectionLost { sent }));
        }
    }

    fn tell_sent(self: &Rc<Self>, file: QueuedFile, result: Result<u64, SendFileError>) {
        let QueuedFile {
            done, file, behind, ..
        } = file;
        self.reactor.discard(behind);
        let transport = Transport::of(self);
        let told = self
            .reactor
            .guard("the callback of a file that is sent", || {
                done(&transport, result);
            });
        drop(file);
        if told.is_none() {
            self.panicked();
        }
    }
}

/// Drops what waits for files, without a call.
pub(super) fn drop_files(reactor: &Reactor, files: Option<Box<FileQueue>>) {
    for file in files.into_iter().flat_map(|files| *files) {
        reactor.drop_guarded("the drop of a callback of a file that is sent", file);
    }
}
