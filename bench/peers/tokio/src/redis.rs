//! A server with some of Redis' commands.

use std::io;
use std::sync::{Arc, Mutex};

use bench_common::net::{self, BUFFER_BYTES};
use bench_common::redis::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn serve() -> io::Result<()> {
    let store = Arc::new(Mutex::new(Store::default()));
    let listener = TcpListener::from_std(net::listener()?)?;
    loop {
        let (stream, _peer) = listener.accept().await?;
        tokio::spawn(answer(stream, Arc::clone(&store)));
    }
}

async fn answer(mut stream: TcpStream, store: Arc<Mutex<Store>>) -> io::Result<()> {
    let mut input = Vec::with_capacity(BUFFER_BYTES);
    let mut output = Vec::with_capacity(BUFFER_BYTES);
    while stream.read_buf(&mut input).await? > 0 {
        let done = {
            let mut store = store.lock().expect("no holder of the lock panics");
            store.answer(&input, &mut output)?
        };
        input.drain(..done);
        stream.write_all(&output).await?;
        output.clear();
    }
    Ok(())
}
