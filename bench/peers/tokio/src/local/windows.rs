//! Named pipes.

use std::io;
use std::sync::{Arc, Mutex};

use bench_common::net::BUFFER_BYTES;
use bench_common::pipes::{self, Echoes};
use bench_common::tell;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};

/// tokio has no UNIX sockets on Windows; this stands for any of them.
pub(crate) async fn serve<F>(_handle: fn(NamedPipeServer) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    tell::unsupported();
    Ok(())
}

/// Listens, and sends back everything that is received: a task for each pipe.
pub(crate) async fn pipe_echo() -> io::Result<()> {
    let name = pipes::name();
    let echoes = Arc::new(Mutex::new(Echoes::default()));
    let mut next = ServerOptions::new()
        .first_pipe_instance(true)
        .create(&name)?;
    pipes::start_clients();
    loop {
        next.connect().await?;
        // The next instance exists before this one is used, so that clients always find one.
        let pipe = std::mem::replace(&mut next, ServerOptions::new().create(&name)?);
        tokio::spawn(echo(pipe, Arc::clone(&echoes)));
    }
}

async fn echo(mut pipe: NamedPipeServer, echoes: Arc<Mutex<Echoes>>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = pipe.read(&mut buffer).await?;
        pipe.write_all(&buffer[..count]).await?;
        echoes.lock().expect("nobody panics").add(count);
    }
}
