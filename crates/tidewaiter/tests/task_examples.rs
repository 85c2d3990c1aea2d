//! Tests of the examples that are made of tasks, compiled into this file as in `examples.rs`.
#![allow(
    dead_code,
    reason = "the tests do not call the `main` of every example"
)]

use std::cell::RefCell;
use std::error::Error;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tidewaiter::frames::{FrameError, FramedRead};
use tidewaiter::io::{Listener, Stream};
use tidewaiter::port::sim::Faults;
use tidewaiter::process::Command;
use tidewaiter::{Address, Reactor, simulate};

#[path = "../examples/health_checker.rs"]
mod health_checker;
#[path = "../examples/job_runner.rs"]
mod job_runner;
#[path = "../examples/language_server.rs"]
mod language_server;
#[path = "../examples/resp.rs"]
mod resp;
#[path = "../examples/reverse_proxy.rs"]
mod reverse_proxy;

type Outcome = Result<(), Box<dyn Error>>;

/// The variable that makes this executable a language server, in the process that a test starts.
const SERVER: &str = "TIDEWAITER_TEST_LANGUAGE_SERVER";

const ANY_PORT: &str = "127.0.0.1:0";

/// An address at which nobody listens: no OS assigns this port.
const DESERTED: &str = "127.0.0.1:1";

fn reactor() -> Reactor {
    Reactor::builder().signals(false).build().expect("a port")
}

/// Sends `request`, ends the client's side, and returns the whole answer.
async fn talk(reactor: &Reactor, address: Address, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = Stream::connect(reactor, address).await?;
    stream.write_all(request).await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

#[test]
fn the_resp_server_answers_commands_and_hangs_up_on_garbage() -> Outcome {
    let reactor = reactor();
    let listener = Listener::bind(&reactor, ANY_PORT)?;
    let address = listener.local_addr();
    reactor.spawn(resp::serve(reactor.clone(), listener));
    reactor.block_on(async {
        let commands =
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\n\x00\xff\r\n*2\r\n$3\r\nget\r\n$1\r\nk\r\n\
                         *1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nx\r\n*1\r\n$3\r\nGET\r\n";
        let answer = talk(&reactor, address.clone(), commands).await?;
        let expected = b"+OK\r\n$5\r\nv\r\n\x00\xff\r\n+PONG\r\n$-1\r\n-ERR unknown";
        assert_eq!(answer[..expected.len()], expected[..]);
        // In pieces, in another connection.
        let mut stream = Stream::connect(&reactor, address.clone()).await?;
        for byte in b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" {
            stream.write_all(&[*byte]).await?;
            stream.flush().await?;
        }
        let mut value = [0; 11];
        stream.read_exact(&mut value).await?;
        assert_eq!(value, *b"$5\r\nv\r\n\x00\xff\r\n");
        for garbage in [
            "GET / HTTP/1.1\r\n\r\n",
            "*99999999\r\n",
            "*1\r\n$-1\r\n",
            &"x".repeat(100),
        ] {
            let answer = talk(&reactor, address.clone(), garbage.as_bytes()).await;
            assert!(answer.unwrap_or_default().is_empty(), "{garbage}");
        }
        Ok(())
    })?
}

/// A server that answers with its name and the number of bytes it got.
fn named_server(reactor: &Reactor, name: &'static str) -> Result<String, Box<dyn Error>> {
    let mut listener = Listener::bind(reactor, ANY_PORT)?;
    let address = listener.local_addr().to_string();
    let spawner = reactor.clone();
    reactor.spawn(async move {
        while let Ok((mut stream, _peer)) = listener.accept().await {
            spawner.spawn(async move {
                let mut request = Vec::new();
                stream.read_to_end(&mut request).await?;
                let answer = format!("{name} {}", request.len());
                stream.write_all(answer.as_bytes()).await
            });
        }
    });
    Ok(address)
}

#[test]
fn the_reverse_proxy_takes_turns_and_passes_over_servers_that_refuse() -> Outcome {
    let reactor = reactor();
    let servers = vec![
        named_server(&reactor, "one")?,
        DESERTED.to_owned(),
        named_server(&reactor, "two")?,
    ];
    let listener = Listener::bind(&reactor, ANY_PORT)?;
    let address = listener.local_addr();
    let servers = reverse_proxy::Servers::new(servers);
    reactor.spawn(reverse_proxy::serve(reactor.clone(), listener, servers));
    reactor.block_on(async {
        let request = vec![7; 300_000];
        let mut answers = Vec::new();
        for _ in 0..4 {
            let answer = talk(&reactor, address.clone(), &request).await?;
            answers.push(String::from_utf8(answer)?);
        }
        assert_eq!(
            answers,
            ["one 300000", "two 300000", "two 300000", "one 300000"]
        );
        Ok(())
    })?
}

/// Has the job runner run these commands, each for so long at most; returns what it tells.
async fn run_jobs(
    reactor: &Reactor,
    jobs: &str,
    limit: Duration,
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut listener = Listener::bind(reactor, ANY_PORT)?;
    let mut writer = Stream::connect(reactor, listener.local_addr()).await?;
    let (commands, _peer) = listener.accept().await?;
    writer.write_all(jobs.as_bytes()).await?;
    drop(writer);
    let told = RefCell::new(Vec::new());
    let tell = |ended: job_runner::Ended| told.borrow_mut().push(ended.to_string());
    let (commands, _) = commands.split();
    job_runner::run_all(reactor, commands, 2, limit, tell).await?;
    Ok(told.into_inner())
}

#[test]
fn the_job_runner_tells_how_each_job_ended() -> Outcome {
    let reactor = reactor();
    reactor.block_on(async {
        let (echo, fail) = match cfg!(windows) {
            true => ("cmd /c echo", "cmd /c exit 3"),
            false => ("echo", "false"),
        };
        let jobs = format!("{echo} one\n{fail}\nno such program\n{echo} two\n");
        let told = run_jobs(&reactor, &jobs, Duration::from_secs(60)).await?;
        let ended = |job: &str| {
            let line = told.iter().find_map(|line| line.strip_prefix(job));
            line.unwrap_or_else(|| panic!("nothing about {job}: {told:?}"))
        };
        assert!(
            ended(&format!("{echo} one: ")).ends_with(": one"),
            "{told:?}"
        );
        assert!(
            ended(&format!("{echo} two: ")).ends_with(": two"),
            "{told:?}"
        );
        assert!(ended(fail).contains("code"), "{told:?}");
        assert!(ended("no such program").contains("no"), "{told:?}");
        assert_eq!(told.len(), jobs.lines().count(), "{told:?}");
        // Windows has no program that waits without a terminal.
        if cfg!(unix) {
            let told = run_jobs(&reactor, "sleep 1000\n", Duration::from_millis(100)).await?;
            let in_time = told.len() == 1 && told[0].contains("took longer");
            assert!(in_time, "{told:?}");
        }
        Ok(())
    })?
}

/// A server that is well, then ill, then silent, then gone.
async fn four_healths(reactor: Reactor, address: SocketAddr) -> std::io::Result<()> {
    let mut listener = Listener::bind(&reactor, address)?;
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 204 \r\n\r\n",
        "HTTP/1.1 503 \r\n\r\n",
    ] {
        let (mut stream, _peer) = listener.accept().await?;
        let mut request = [0; 20];
        stream.read_exact(&mut request).await?;
        stream.write_all(answer.as_bytes()).await?;
    }
    let (silent, _peer) = listener.accept().await?;
    reactor.sleep(Duration::from_secs(5)).await;
    drop(silent);
    Ok(())
}

#[test]
fn the_health_checker_tells_what_changes() {
    simulate(0..10, &Faults::bumpy(), async |reactor, _sim| {
        let address: SocketAddr = "10.0.0.1:80".parse()?;
        reactor.spawn(four_healths(reactor.clone(), address));
        let told = Rc::new(RefCell::new(Vec::new()));
        let telling = Rc::clone(&told);
        let server = "10.0.0.1:80".parse()?;
        let watching = reactor.spawn(health_checker::watch(
            reactor.clone(),
            server,
            move |server, health| telling.borrow_mut().push(format!("{server} {health}")),
        ));
        reactor.sleep(Duration::from_secs(100)).await;
        watching.abort();
        let told = told.borrow();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(
            told[..2],
            ["10.0.0.1:80 is well", "10.0.0.1:80 is ill: HTTP status 503"]
        );
        assert!(
            told[2].contains("3s") && told[3].contains("refused"),
            "{told:?}"
        );
        Ok(())
    });
}

/// An editor, as far as the test needs one.
struct Editor(FramedRead<Stream, language_server::Messages>);

impl Editor {
    async fn connect(reactor: &Reactor, address: &Address) -> Result<Editor, Box<dyn Error>> {
        let stream = Stream::connect(reactor, address.clone()).await?;
        Ok(Editor(FramedRead::new(stream, language_server::Messages)))
    }

    async fn say(&mut self, message: Value) -> std::io::Result<()> {
        let message = language_server::framed(&message);
        self.0.get_mut().write_bytes(message).await
    }

    async fn hear(&mut self) -> Result<Value, FrameError> {
        self.0.next().await.expect("the server lives")
    }
}

#[test]
fn the_editors_share_the_language_server() -> Outcome {
    let reactor = reactor();
    let listener = Listener::bind(&reactor, ANY_PORT)?;
    let address = listener.local_addr();
    let words = ["--exact", "is_a_language_server", "--nocapture"];
    let command = Command::new(std::env::current_exe()?)
        .args(words)
        .env(SERVER, "1");
    let serving = language_server::serve(reactor.clone(), listener, command);
    let serving = reactor.spawn(async move { serving.await.map_err(|error| error.to_string()) });
    reactor.block_on(async {
        let mut one = Editor::connect(&reactor, &address).await?;
        let mut two = Editor::connect(&reactor, &address).await?;
        for editor in [&mut one, &mut two] {
            for id in [json!(1), json!("a")] {
                editor.say(json!({"id": id, "method": "greet"})).await?;
                assert_eq!(editor.hear().await?, json!({"id": id, "result": "greet"}));
            }
        }
        one.say(json!({"method": "shout"})).await?;
        for editor in [&mut one, &mut two] {
            assert_eq!(editor.hear().await?, json!({"method": "shouted"}));
        }
        two.say(json!({"method": "exit"})).await?;
        let ended = serving.await?.expect_err("it ended");
        assert!(ended.starts_with("the server ended: "), "{ended}");
        Ok(())
    })?
}

/// The language server, in the process that the test starts. In any other process, this test does nothing.
#[test]
fn is_a_language_server() -> Outcome {
    if std::env::var_os(SERVER).is_none() {
        return Ok(());
    }
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout());
    // The test harness has begun a line of its own.
    output.write_all(b"\n")?;
    let mut header = Vec::new();
    let mut byte = [0];
    while input.read_exact(&mut byte).is_ok() {
        header.push(byte[0]);
        let Some(length) = header.strip_suffix(b"\r\n\r\n") else {
            continue;
        };
        let length = std::str::from_utf8(length)?.trim_start_matches("Content-Length: ");
        let mut message = vec![0; length.parse()?];
        input.read_exact(&mut message)?;
        header.clear();
        let message: Value = serde_json::from_slice(&message)?;
        let answer = match message["method"].as_str() {
            Some("shout") => json!({"method": "shouted"}),
            Some("exit") => return Ok(()),
            _ => json!({"id": message["id"], "result": message["method"]}),
        };
        output.write_all(&language_server::framed(&answer))?;
        output.flush()?;
    }
    Ok(())
}
