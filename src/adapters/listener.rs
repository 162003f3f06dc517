//! A TCP listener of one interface (SO_BINDTODEVICE): changing addresses need nothing, and nobody elsewhere is served.

use std::io;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, listen,
    setsockopt, socket, sockopt,
};
use tokio::net::TcpListener;

/// Listens on an interface, for both families, or for IPv4 where the kernel has no other. `line`: how many connections wait
/// in the kernel until they are accepted; it holds no more than `net.core.somaxconn`.
pub fn listener_on(interface: &str, port: u16, line: i32) -> io::Result<TcpListener> {
    let any6 = SockaddrIn6::from(SocketAddrV6::new([0_u16; 8].into(), port, 0, 0));
    bound(interface, AddressFamily::Inet6, &any6, line).or_else(|_| {
        let any4 = SockaddrIn::from(SocketAddrV4::new([0; 4].into(), port));
        bound(interface, AddressFamily::Inet, &any4, line)
    })
}

fn bound(
    interface: &str,
    family: AddressFamily,
    address: &dyn SockaddrLike,
    line: i32,
) -> io::Result<TcpListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::BindToDevice, &interface.into())?;
    if family == AddressFamily::Inet6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    bind(fd.as_raw_fd(), address)?;
    listen(&fd, Backlog::new(line).unwrap_or(Backlog::MAXCONN))?;
    TcpListener::from_std(fd.into())
}
