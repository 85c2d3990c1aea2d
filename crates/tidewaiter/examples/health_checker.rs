//! Asks servers again and again whether they are well, and tells when that changes.
//! `cargo run -p tidewaiter --example health_checker -- localhost:8080 example.org:80`; Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use tidewaiter::endpoint::HostPort;
use tidewaiter::io::Stream;
use tidewaiter::{MissedTicks, Reactor};

/// How often a server is asked, and how long it may take.
const EVERY: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(3);

/// A server's health, by its own answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Well,
    Ill(String),
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Well => f.write_str("is well"),
            Health::Ill(why) => write!(f, "is ill: {why}"),
        }
    }
}

/// Asks once, by HTTP.
async fn ask(reactor: &Reactor, server: &HostPort) -> io::Result<Health> {
    let mut stream = Stream::connect(reactor, server.clone()).await?;
    let request = format!("GET /health HTTP/1.0\r\nHost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    match &status[9..] {
        b"200" | b"204" => Ok(Health::Well),
        code => Ok(Health::Ill(format!(
            "HTTP status {}",
            String::from_utf8_lossy(code)
        ))),
    }
}

/// Asks for ever, and tells what changes.
pub(crate) async fn watch(
    reactor: Reactor,
    server: HostPort,
    mut tell: impl FnMut(&HostPort, &Health),
) {
    let mut ticks = reactor.interval(EVERY).missed_ticks(MissedTicks::Skip);
    let mut known = None;
    loop {
        ticks.tick().await;
        let health = match reactor.timeout(LIMIT, ask(&reactor, &server)).await {
            Ok(Ok(health)) => health,
            Ok(Err(error)) => Health::Ill(error.to_string()),
            Err(elapsed) => Health::Ill(elapsed.to_string()),
        };
        if known.as_ref() != Some(&health) {
            tell(&server, &health);
            known = Some(health);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let servers = std::env::args().skip(1).map(|word| word.parse());
    let servers: Vec<HostPort> = servers.collect::<Result<_, _>>()?;
    let reactor = Reactor::new()?;
    for server in servers {
        let telling = |server: &HostPort, health: &Health| println!("{server} {health}");
        reactor.spawn(watch(reactor.clone(), server, telling));
    }
    reactor.run()?;
    Ok(())
}
