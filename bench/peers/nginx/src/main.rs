//! nginx in the benchmarks: this becomes the installed nginx, as one process, which sends a file by `sendfile`.

use std::error::Error;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bench_common::{Workload, file, net, tell};

/// The argument, before an address, that makes this program report that nginx listens there.
const TELLER: &str = "tell";

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some(TELLER) {
        let address = std::env::args().nth(2).unwrap_or_default();
        return tell_when_it_listens(address.parse()?);
    }
    let Workload::SendFile = Workload::from_arguments() else {
        tell::unsupported();
        return Ok(());
    };
    let file = file::path()?;
    let address = free_address()?;
    let program = std::env::current_exe()?;
    let folder = program.with_extension("folder");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("nginx.conf"), configuration(address, &file))?;
    // The program that started us measures this process, which therefore becomes nginx itself.
    Command::new(program)
        .args([TELLER, &address.to_string()])
        .spawn()?;
    let path = std::env::var("PATH").unwrap_or_default();
    let failed = Command::new("nginx")
        .args(["-e", "/dev/null", "-c", "nginx.conf", "-p"])
        .arg(&folder)
        .env("PATH", format!("{path}:/usr/sbin"))
        .exec();
    Err(failed.into())
}

/// An address that was free just now: nginx can neither choose a port nor, as a single process, take over a socket.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

#[expect(
    clippy::disallowed_methods,
    reason = "nginx does not tell when it listens"
)]
fn tell_when_it_listens(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    while TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
    tell::address(&address.to_string());
    Ok(())
}

/// As Debian configures it, apart from logs and temporary files, and with one process.
fn configuration(address: SocketAddr, file: &Path) -> String {
    let file = file.display();
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    sendfile on;
    tcp_nopush on;
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {address} backlog={};
        location = /file {{ alias {file}; }}
    }}
}}
",
        net::BACKLOG
    )
}
