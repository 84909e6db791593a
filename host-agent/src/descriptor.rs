//! Passing descriptors between processes: the only place that touches raw ones.
#![expect(
    unsafe_code,
    reason = "a descriptor that the kernel made for us can only be taken over as a raw number"
)]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Descriptors in one message at most (Linux `SCM_MAX_FD`, include/net/scm.h).
pub(crate) const MAX_AT_ONCE: usize = 253;

/// Sends `line` and the descriptors with it.
pub(crate) fn send(stream: &impl AsFd, line: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let slices = [IoSlice::new(line)];
    sendmsg::<UnixAddr>(stream.as_fd().as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives at most `buffer` bytes and the descriptors with them.
pub(crate) fn receive(stream: &impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_AT_ONCE]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(stream.as_fd().as_raw_fd(), &mut slices, Some(&mut space), flags)?;
    let mut taken = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else
            // knows their numbers.
            taken.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, taken))
}

/// The listening socket that the service manager passed (sd_listen_fds(3)), if it passed one.
pub(crate) fn activated() -> Option<UnixListener> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) || number("LISTEN_FDS") != Some(1) {
        return None;
    }
    // SAFETY: the protocol of sd_listen_fds(3) hands descriptor 3 to this process, and this function is
    // called once, at its start, before anything else could have opened it.
    Some(unsafe { UnixListener::from_raw_fd(3) })
}
