//! The socket of a connection: TCP with or without TLS, or UNIX.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use mio::event::Source;
use mio::net::TcpStream;

/// A connected socket of any kind.
pub(crate) trait Socket: Read + Write + Source + Debug {}

impl<S: Read + Write + Source + Debug> Socket for S {}

/// A byte stream to and from the server.
#[derive(Debug)]
pub(crate) enum Link {
    Plain(Box<dyn Socket>),
    #[cfg(feature = "tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Link {
    pub(crate) fn socket(&mut self) -> &mut dyn Source {
        match self {
            Link::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Link::Tls(stream) => &mut stream.sock,
        }
    }

    /// Whether a short read means that the socket is empty. With TLS, it may also mean the end of a record.
    pub(crate) fn short_read_is_last(&self) -> bool {
        matches!(self, Link::Plain(_))
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Plain(socket) => socket.read(buffer),
            #[cfg(feature = "tls")]
            Link::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Link::Plain(socket) => socket.write(bytes),
            #[cfg(feature = "tls")]
            Link::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Link::Plain(_) => Ok(()),
            #[cfg(feature = "tls")]
            Link::Tls(stream) => stream.flush(),
        }
    }
}

/// Connects, and waits for it.
pub(crate) fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = std::net::TcpStream::connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket))
}

/// Connects to a UNIX socket.
#[cfg(unix)]
pub(crate) fn connect_unix(path: &Path) -> io::Result<Link> {
    let socket = std::os::unix::net::UnixStream::connect(path)?;
    socket.set_nonblocking(true)?;
    let socket = mio::net::UnixStream::from_std(socket);
    Ok(Link::Plain(Box::new(socket)))
}

#[cfg(not(unix))]
pub(crate) fn connect_unix(_: &Path) -> io::Result<Link> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes the TCP links of a run, all with or all without TLS.
pub(crate) struct Linker {
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

#[cfg(not(feature = "tls"))]
impl Linker {
    pub(crate) fn new(_: &crate::args::Args) -> io::Result<Linker> {
        Ok(Linker {})
    }

    pub(crate) fn link(&self, socket: TcpStream) -> io::Result<Link> {
        let Linker {} = self;
        Ok(Link::Plain(Box::new(socket)))
    }
}

#[cfg(feature = "tls")]
impl Linker {
    pub(crate) fn new(args: &crate::args::Args) -> io::Result<Linker> {
        if !args.tls {
            return Ok(Linker { tls: None });
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(std::sync::Arc::new(tls::AnyCertificate(provider)))
            .with_no_client_auth();
        Ok(Linker {
            tls: Some(std::sync::Arc::new(config)),
        })
    }

    pub(crate) fn link(&self, socket: TcpStream) -> io::Result<Link> {
        let Some(config) = &self.tls else {
            return Ok(Link::Plain(Box::new(socket)));
        };
        let name = rustls::pki_types::ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
        let session = rustls::ClientConnection::new(std::sync::Arc::clone(config), name)
            .map_err(io::Error::other)?;
        let mut stream = rustls::StreamOwned::new(session, socket);
        // The client speaks first, also where it only receives afterwards.
        stream.conn.write_tls(&mut stream.sock)?;
        Ok(Link::Tls(Box::new(stream)))
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    /// Accepts any certificate: the server is our own and has a new self-signed one.
    #[derive(Debug)]
    pub(super) struct AnyCertificate(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
