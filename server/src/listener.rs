//! Listening sockets, and the hand-over of accepted connections to the workers.
//!
//! One thread accepts and gives each connection to the worker that serves the fewest, so that a
//! handful of busy clients is spread evenly however the kernel would hash them.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::UnboundedSender;

use crate::config::Config;
use crate::error::ServerError;
use crate::session::Origin;
use crate::state::ServerState;

/// A client that was just accepted, not yet bound to a runtime.
pub enum Accepted {
    Tcp(std::net::TcpStream, Origin),
    Unix(std::os::unix::net::UnixStream, Origin),
}

/// Where a worker takes its new connections from, and how many it serves.
pub struct Inbox {
    pub sender: UnboundedSender<Accepted>,
    pub load: Arc<AtomicUsize>,
}

/// The sockets the server listens on.
pub struct Listeners {
    tcp: Vec<std::net::TcpListener>,
    unix: Option<(std::os::unix::net::UnixListener, PathBuf)>,
}

/// Protected mode's answer, Redis's to the letter.
const DENIED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n";
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

impl Listeners {
    /// Opens all sockets of the configuration.
    ///
    /// # Errors
    /// An address without a leading `-` that cannot be listened on, or none at all.
    pub fn open(config: &Config) -> Result<Self, ServerError> {
        let mut tcp = Vec::new();
        if config.port != 0 {
            for word in &config.bind {
                tcp.extend(listen_tcp(word, config)?);
            }
            if tcp.is_empty() && !config.bind.is_empty() {
                return Err(ServerError::NowhereToListen);
            }
        }
        let unix = match config.unixsocket.as_str() {
            "" => None,
            path => Some(listen_unix(Path::new(path), config)?),
        };
        if tcp.is_empty() && unix.is_none() {
            return Err(ServerError::NowhereToListen);
        }
        Ok(Listeners { tcp, unix })
    }

    /// Accepts until the future is dropped. Must be called inside a runtime.
    pub async fn accept(self, state: Arc<ServerState>, inboxes: Vec<Inbox>) -> io::Result<()> {
        let inboxes = Arc::new(inboxes);
        let mut tasks = tokio::task::JoinSet::new();
        for listener in self.tcp {
            tasks.spawn(accept_tcp(TcpListener::from_std(listener)?, state.clone(), inboxes.clone()));
        }
        if let Some((listener, path)) = self.unix {
            tasks.spawn(accept_unix(UnixListener::from_std(listener)?, path, state, inboxes));
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }
}

/// Listens on one word of `bind`; `None` if it is optional and not there.
fn listen_tcp(word: &str, config: &Config) -> Result<Option<std::net::TcpListener>, ServerError> {
    let (address, is_optional) = match word.strip_prefix('-') {
        Some(address) => (address, true),
        None => (word, false),
    };
    let port = u16::try_from(config.port).expect("the parameter's bounds");
    let result = resolve(address, port).and_then(|address| open_tcp(address, config));
    match result {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is_optional && is_absence(&error) => Ok(None),
        Err(source) => Err(ServerError::Listen { address: format!("{address}:{port}"), source }),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || matches!(
            error.raw_os_error(),
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOENT | libc::ESOCKTNOSUPPORT)
        )
}

fn resolve(address: &str, port: u16) -> io::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    match address {
        "*" => Ok((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into()),
        "::*" => Ok((IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into()),
        name => (name, port).to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into()),
    }
}

fn open_tcp(address: SocketAddr, config: &Config) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // So that `* ::*` can name both families with the same port.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(config))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn backlog(config: &Config) -> i32 {
    i32::try_from(config.tcp_backlog).expect("the parameter's bounds")
}

fn listen_unix(
    path: &Path,
    config: &Config,
) -> Result<(std::os::unix::net::UnixListener, PathBuf), ServerError> {
    let open = || -> io::Result<std::os::unix::net::UnixListener> {
        // A socket file left by a server that was killed; one in use loses its name, as in Redis.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&socket2::SockAddr::unix(path)?)?;
        if config.unixsocketperm != 0 {
            let mode = u32::try_from(config.unixsocketperm).expect("the parameter's bounds");
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        socket.listen(backlog(config))?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    match open() {
        Ok(listener) => Ok((listener, path.to_path_buf())),
        Err(source) => Err(ServerError::UnixSocket { path: path.to_path_buf(), source }),
    }
}

async fn accept_tcp(listener: TcpListener, state: Arc<ServerState>, inboxes: Arc<Vec<Inbox>>) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                after_failed_accept(&error).await;
                continue;
            }
        };
        let is_loopback = peer.ip().to_canonical().is_loopback();
        let origin = Origin {
            peer: peer.to_string(),
            local: stream.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            fd: stream.as_raw_fd(),
            is_unix: false,
            is_loopback,
        };
        let config = state.config.load();
        if let Err(error) = tune(&stream, &config) {
            tracing::debug!(%peer, %error, "could not set the options of a socket");
        }
        if let Some(refusal) = refusal(&inboxes, &config, is_loopback) {
            // The client is turned away; whether it still reads the reason is its affair.
            let _ = stream.try_write(refusal);
            state.rejected_connections.fetch_add(1, Relaxed);
            continue;
        }
        match stream.into_std() {
            Ok(stream) => hand_over(&state, &inboxes, Accepted::Tcp(stream, origin)),
            Err(error) => tracing::warn!(%peer, %error, "lost a connection"),
        }
    }
}

async fn accept_unix(
    listener: UnixListener,
    path: PathBuf,
    state: Arc<ServerState>,
    inboxes: Arc<Vec<Inbox>>,
) {
    let address = format!("{}:0", path.display());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                after_failed_accept(&error).await;
                continue;
            }
        };
        let config = state.config.load();
        if let Some(refusal) = refusal(&inboxes, &config, true) {
            // As above.
            let _ = stream.try_write(refusal);
            state.rejected_connections.fetch_add(1, Relaxed);
            continue;
        }
        let origin = Origin {
            peer: address.clone(),
            local: address.clone(),
            fd: stream.as_raw_fd(),
            is_unix: true,
            is_loopback: true,
        };
        match stream.into_std() {
            Ok(stream) => hand_over(&state, &inboxes, Accepted::Unix(stream, origin)),
            Err(error) => tracing::warn!(%error, "lost a connection"),
        }
    }
}

/// Without file descriptors the same connection would be tried again at once, for ever.
async fn after_failed_accept(error: &io::Error) {
    tracing::warn!(%error, "accepting a client connection failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Why a new client is turned away, if it is.
///
/// Connections that no worker has looked at yet count as well: each holds a descriptor.
fn refusal(inboxes: &[Inbox], config: &Config, is_local: bool) -> Option<&'static [u8]> {
    let connections: usize = inboxes.iter().map(|inbox| inbox.load.load(Relaxed)).sum();
    if connections as u64 >= config.maxclients.unsigned_abs() {
        return Some(TOO_MANY);
    }
    let is_protected = config.protected_mode && config.requirepass.is_empty();
    (is_protected && !is_local).then_some(DENIED)
}

fn tune(stream: &tokio::net::TcpStream, config: &Config) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(seconds) = u64::try_from(config.tcp_keepalive).ok().filter(|seconds| *seconds > 0) else {
        return Ok(());
    };
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(seconds))
        .with_interval(Duration::from_secs((seconds / 3).max(1)))
        .with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Gives the connection to the worker with the fewest. The last one is spared for clients that come while a
/// script is busy: the others may wait for its locks, and somebody must be able to end it.
fn hand_over(state: &ServerState, inboxes: &[Inbox], accepted: Accepted) {
    let Some((spare, regular)) = inboxes.split_last() else { return };
    let is_spared = !state.scripts.runs.is_busy();
    let least = regular.iter().filter(|_| is_spared).min_by_key(|inbox| inbox.load.load(Relaxed));
    let inbox = least.unwrap_or(spare);
    inbox.load.fetch_add(1, Relaxed);
    if inbox.sender.send(accepted).is_err() {
        // The worker has stopped: so does the server, and the client sees a closed connection.
        inbox.load.fetch_sub(1, Relaxed);
    }
}
