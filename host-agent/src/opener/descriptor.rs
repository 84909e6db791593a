//! Passing descriptors: the only place where the opener and its client touch raw ones.
#![expect(
    unsafe_code,
    reason = "a descriptor that the kernel made for us can only be taken over as a raw number"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Sends `line` and, if given, one descriptor.
pub(super) fn send(stream: &UnixStream, line: &[u8], fd: Option<&OwnedFd>) -> io::Result<()> {
    let raw: Vec<RawFd> = fd.map(AsRawFd::as_raw_fd).into_iter().collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<UnixAddr>(stream.as_raw_fd(), &[IoSlice::new(line)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives at most `buffer` bytes and at most one descriptor; more are closed.
pub(super) fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let mut taken = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else
            // knows their numbers.
            taken.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, taken.into_iter().next()))
}

/// The listening socket that the service manager passed (sd_listen_fds(3)), if it passed one.
pub(super) fn activated() -> Option<UnixListener> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS") != Some(1) {
        return None;
    }
    // SAFETY: the protocol of sd_listen_fds(3) hands descriptor 3 to this process, and this function is
    // called once, at its start, before anything else could have opened it.
    Some(unsafe { UnixListener::from_raw_fd(3) })
}
