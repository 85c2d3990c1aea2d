//! Named pipes.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use bench_common::net::BUFFER_BYTES;
use bench_common::pipes::{self, Echoes};
use bench_common::tell;
use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::fs::named_pipe::{NamedPipeServer, ServerOptions};
use compio::io::{AsyncRead, AsyncWriteExt};

/// Wine has no UNIX sockets, which are not measured elsewhere on Windows; this stands for any of them.
pub(crate) async fn serve<F>(_handle: fn(NamedPipeServer) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    tell::unsupported();
    Ok(())
}

/// Listens, and sends back everything that is received: a task for each pipe.
pub(crate) async fn pipe_echo() -> io::Result<()> {
    let name = pipes::name();
    let echoes = Rc::new(RefCell::new(Echoes::default()));
    let mut next = ServerOptions::new()
        .first_pipe_instance(true)
        .create(&name)?;
    pipes::start_clients();
    loop {
        next.connect().await?;
        // The next instance exists before this one is used, so that clients always find one.
        let pipe = std::mem::replace(&mut next, ServerOptions::new().create(&name)?);
        compio::runtime::spawn(echo(pipe, Rc::clone(&echoes))).detach();
    }
}

async fn echo(mut pipe: NamedPipeServer, echoes: Rc<RefCell<Echoes>>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let BufResult(count, read) = pipe.read(buffer).await;
        let count = count?;
        let BufResult(written, slice) = pipe.write_all(read.slice(..count)).await;
        written?;
        buffer = slice.into_inner();
        echoes.borrow_mut().add(count);
    }
}
