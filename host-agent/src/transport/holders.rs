//! Who is connected to a listening unix socket: tells *busy* from *stuck*.
//!
//! QEMU's QMP and gdb sockets serve one client. A second one is accepted by the kernel, waits in the
//! backlog and hears nothing, just as with a QEMU that hangs. The kernel knows the difference:
//! `NETLINK_SOCK_DIAG` lists accepted connections with the peer's inode (`linux/unix_diag.h`), and
//! `/proc/net/unix` lists them without peers where the `unix_diag` module is missing. Both show only
//! sockets of our own network namespace.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::process::process_name;

/// A client that is being served on the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process that has the client's end open; `None` when the kernel or `/proc` would not say.
    pub pid: Option<u32>,
    /// Its name.
    pub name: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pid, &self.name) {
            (Some(pid), Some(name)) => write!(f, "{name} (pid {pid})"),
            (Some(pid), None) => write!(f, "pid {pid}"),
            _ => f.write_str("a process that cannot be seen from here"),
        }
    }
}

/// What the kernel says of a socket path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupancy {
    /// Clients served, other than the connection that asks.
    pub holders: Vec<Holder>,
    /// Whether the server has accepted the asking connection; `None` when that cannot be seen.
    pub ours_accepted: Option<bool>,
}

/// How long the search for a holder's process may take.
const SCAN_LIMIT: Duration = Duration::from_millis(300);
const ESTABLISHED: u8 = 1;

/// Looks up `path`; `our_inode` is the inode of our own connection's socket. Blocking, bounded to
/// about a second: call it off the reactor.
///
/// # Errors
/// When neither netlink nor `/proc/net/unix` can be read, or the path is gone.
pub fn occupancy(path: &Path, our_inode: Option<u64>) -> io::Result<Occupancy> {
    let file = std::fs::metadata(path)?;
    match diag_sockets() {
        Ok(sockets) => Ok(from_diag(&sockets, path, &file, our_inode)),
        Err(_) => from_proc(&std::fs::read("/proc/net/unix")?, path),
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct DiagSocket {
    inode: u32,
    state: u8,
    peer: Option<u32>,
    name: Option<Vec<u8>>,
    vfs: Option<(u32, u32)>,
}

fn from_diag(
    sockets: &[DiagSocket],
    path: &Path,
    file: &std::fs::Metadata,
    our_inode: Option<u64>,
) -> Occupancy {
    use std::os::unix::ffi::OsStrExt;
    let ours = our_inode.and_then(|inode| {
        sockets.iter().find(|s| u64::from(s.inode) == inode).map(|s| s.peer.filter(|p| *p != 0))
    });
    let wanted = path.as_os_str().as_bytes();
    let on_path = |s: &&DiagSocket| match s.vfs {
        Some((inode, _)) => u64::from(inode) == (file.st_ino() & 0xffff_ffff),
        None => s.name.as_deref() == Some(wanted),
    };
    let our_peer = ours.flatten();
    let clients: Vec<u32> = sockets
        .iter()
        .filter(|s| s.state == ESTABLISHED && Some(s.inode) != our_peer)
        .filter(on_path)
        .map(|s| s.peer.unwrap_or(0))
        .collect();
    let owners = owners_of(&clients);
    Occupancy {
        holders: clients
            .iter()
            .map(|inode| {
                let pid = owners.get(inode).copied();
                Holder { pid, name: pid.and_then(process_name) }
            })
            .collect(),
        ours_accepted: ours.map(|peer| peer.is_some()),
    }
}

/// `/proc/net/unix` has no peers, and a connection in the backlog has inode 0: what is left with
/// state 03 and our path is being served. Ours cannot be told from others, so nothing is said of it.
fn from_proc(table: &[u8], path: &Path) -> io::Result<Occupancy> {
    use std::os::unix::ffi::OsStrExt;
    let wanted = path.as_os_str().as_bytes();
    let served = table
        .split(|b| *b == b'\n')
        .filter(|line| {
            let mut fields = line.split(|b| *b == b' ').filter(|f| !f.is_empty());
            let state = fields.nth(5);
            let inode = fields.next();
            let name = fields.next();
            state == Some(b"03") && inode != Some(b"0") && name == Some(wanted)
        })
        .count();
    Ok(Occupancy { holders: vec![Holder { pid: None, name: None }; served], ours_accepted: None })
}

/// All unix stream sockets with name, file and peer.
fn diag_sockets() -> io::Result<Vec<DiagSocket>> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(300))?;
    sendto(fd.as_raw_fd(), &request(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut sockets = Vec::new();
    let mut buffer = vec![0u8; 64 << 10];
    let deadline = Instant::now() + Duration::from_millis(600);
    while Instant::now() < deadline && sockets.len() < 200_000 {
        let length = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if parse_dump(buffer.get(..length).unwrap_or_default(), &mut sockets)? {
            return Ok(sockets);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn request() -> Vec<u8> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const REQUEST_DUMP: u16 = 0x1 | 0x300;
    const SHOW_NAME_VFS_PEER: u32 = 0x1 | 0x2 | 0x4;
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(&40u32.to_ne_bytes());
    out.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    out.extend_from_slice(&[0; 8]); // sequence, port
    out.extend_from_slice(&[1, 0, 0, 0]); // AF_UNIX, protocol, padding
    out.extend_from_slice(&u32::MAX.to_ne_bytes()); // all states
    out.extend_from_slice(&0u32.to_ne_bytes()); // any inode
    out.extend_from_slice(&SHOW_NAME_VFS_PEER.to_ne_bytes());
    out.extend_from_slice(&[0xff; 8]); // no cookie
    out
}

/// Reads one datagram of the dump; true when it was the last.
fn parse_dump(mut bytes: &[u8], sockets: &mut Vec<DiagSocket>) -> io::Result<bool> {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    loop {
        let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) else {
            return Ok(false);
        };
        let length = length as usize;
        if length < 16 || length > bytes.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match kind {
            DONE => return Ok(true),
            ERROR => return Err(io::ErrorKind::Unsupported.into()),
            _ => {
                if let Some(one) = bytes.get(16..length).and_then(parse_socket) {
                    sockets.push(one);
                }
            }
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(false);
        }
    }
}

fn parse_socket(bytes: &[u8]) -> Option<DiagSocket> {
    let mut socket = DiagSocket { state: *bytes.get(2)?, inode: u32_at(bytes, 4)?, ..DiagSocket::default() };
    let mut attributes = bytes.get(16..)?;
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        if length < 4 {
            break;
        }
        let value = attributes.get(4..length)?;
        match kind {
            0 => socket.name = Some(value.strip_suffix(&[0]).unwrap_or(value).to_vec()),
            1 => socket.vfs = Some((u32_at(value, 0)?, u32_at(value, 4)?)),
            2 => socket.peer = u32_at(value, 0),
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(socket)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Which process has each socket inode open, as far as `/proc` lets us see.
fn owners_of(inodes: &[u32]) -> HashMap<u32, u32> {
    let mut found = HashMap::new();
    let wanted: Vec<u32> = inodes.iter().copied().filter(|i| *i != 0).collect();
    if wanted.is_empty() {
        return found;
    }
    let deadline = Instant::now() + SCAN_LIMIT;
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return found;
    };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let Ok(fds) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for fd in fds.flatten() {
            if Instant::now() > deadline || found.len() == wanted.len() {
                return found;
            }
            let inode = std::fs::read_link(fd.path()).ok().and_then(|link| {
                let link = link.to_str()?;
                let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
                number.parse::<u32>().ok()
            });
            if let Some(inode) = inode.filter(|i| wanted.contains(i)) {
                found.insert(inode, pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn inode_of(stream: &UnixStream) -> u64 {
        let fd = stream.as_raw_fd();
        std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().st_ino()
    }

    #[test]
    fn a_client_that_is_served_is_named_and_the_one_in_the_backlog_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let first = UnixStream::connect(&path).unwrap();
        let served = listener.accept().unwrap();
        let second = UnixStream::connect(&path).unwrap();

        let seen = occupancy(&path, Some(inode_of(&second))).unwrap();
        assert_eq!(seen.holders.len(), 1, "{seen:?}");
        if let Some(pid) = seen.holders.first().unwrap().pid {
            assert_eq!(pid, std::process::id());
        }
        assert_ne!(seen.ours_accepted, Some(true));
        drop((first, served));
    }

    #[test]
    fn a_connection_of_our_own_that_was_accepted_is_not_a_foreign_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let ours = UnixStream::connect(&path).unwrap();
        let served = listener.accept().unwrap();
        let seen = occupancy(&path, Some(inode_of(&ours))).unwrap();
        // Without unix_diag the table cannot say which connection is ours.
        if seen.ours_accepted.is_some() {
            assert_eq!(seen.ours_accepted, Some(true));
            assert_eq!(seen.holders, []);
        }
        drop(served);
    }

    #[test]
    fn the_plain_table_counts_served_connections_only() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 100 /run/q\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 101 /run/q\n\
            0000000000000000: 00000003 00000000 00000000 0001 02     0 /run/q\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 102 /run/other\n";
        let seen = from_proc(table, Path::new("/run/q")).unwrap();
        assert_eq!(seen.holders.len(), 1);
    }

    proptest! {
        #[test]
        fn any_netlink_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            let _ = parse_dump(&bytes, &mut out);
            let _ = parse_socket(&bytes);
        }
    }
}
