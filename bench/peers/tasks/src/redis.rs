//! A server with some of Redis' commands.

use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::rc::Rc;

use bench_common::net::BUFFER_BYTES;
use bench_common::redis::Store;
use tidewaiter::Reactor;
use tidewaiter::io::Stream;

use crate::streams;

pub(crate) async fn serve(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
    let store = Rc::new(RefCell::new(Store::default()));
    streams::serve(reactor, |stream| answer(stream, Rc::clone(&store))).await
}

async fn answer(mut stream: Stream, store: Rc<RefCell<Store>>) -> io::Result<()> {
    let mut input = Vec::with_capacity(BUFFER_BYTES);
    let mut output = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let bytes = stream.fill_buf().await?;
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(bytes);
        stream.consume(count);
        let done = store.borrow_mut().answer(&input, &mut output)?;
        input.drain(..done);
        stream.write_all(&output).await?;
        output.clear();
    }
}
