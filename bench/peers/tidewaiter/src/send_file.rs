//! A server that answers each request with a file.

use std::error::Error;

use bench_common::file::{self, HEADER};
use bench_common::net;
use tidewaiter::{File, FileOptions, Protocol, Reactor, Transport};

struct Server(File);

impl Protocol for Server {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if !file::is_request(data) {
            return transport.abort_connection();
        }
        transport.write(HEADER);
        transport.send_file(&self.0, .., |transport, sent| {
            if sent.is_err() {
                transport.abort_connection();
            }
        });
    }
}

pub(crate) fn serve(reactor: &Reactor) -> Result<(), Box<dyn Error>> {
    reactor.open_file(file::path()?, FileOptions::new(), |reactor, file| {
        let file = file.expect("the file was just written");
        let listener = net::listener().expect("the OS has a port left");
        let listened = reactor.listen_on(listener, move |_peer| Server(file.clone()));
        listened.expect("the socket listens already");
    });
    Ok(())
}
