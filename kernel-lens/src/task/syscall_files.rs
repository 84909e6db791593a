//! Which arguments of a system call are file descriptors.

/// Names with the same arguments, separated by spaces.
const FILES: &[(&[u8], &str)] = &[
    (
        &[0],
        "read write close fstat lseek ioctl pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 \
         fcntl flock fsync fdatasync ftruncate getdents getdents64 fchdir fchmod fchown fstatfs syncfs \
         fadvise64 fallocate sync_file_range readahead dup fgetxattr fsetxattr flistxattr fremovexattr \
         finit_module cachestat vmsplice",
    ),
    (
        &[0],
        "connect accept accept4 sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown bind listen \
         getsockname getpeername setsockopt getsockopt",
    ),
    (
        &[0],
        "epoll_wait epoll_pwait epoll_pwait2 inotify_add_watch inotify_rm_watch fanotify_mark signalfd \
         signalfd4 timerfd_settime timerfd_gettime io_uring_enter io_uring_register mq_timedsend \
         mq_timedreceive mq_notify mq_getsetattr setns pidfd_send_signal pidfd_getfd \
         process_madvise process_mrelease landlock_add_rule landlock_restrict_self fsconfig fsmount \
         open_by_handle_at",
    ),
    (
        &[0],
        "openat openat2 newfstatat unlinkat mkdirat mknodat fchownat fchmodat fchmodat2 readlinkat faccessat \
         faccessat2 utimensat futimesat execveat statx name_to_handle_at open_tree open_tree_attr fspick \
         mount_setattr setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr",
    ),
    (&[0, 1], "dup2 dup3 sendfile tee"),
    (&[0, 2], "epoll_ctl splice copy_file_range renameat renameat2 linkat move_mount"),
    (&[1], "symlinkat"),
    (&[4], "mmap"),
];

/// The arguments of a call that are file descriptors, from 0.
pub(super) fn file_arguments(name: &str) -> &'static [u8] {
    let found = FILES.iter().find(|(_, names)| names.split_ascii_whitespace().any(|it| it == name));
    found.map_or(&[], |(arguments, _)| arguments)
}

#[cfg(test)]
mod tests {
    use super::super::syscall_names::{GENERIC, SHARED, X86_64};
    use super::*;

    #[test]
    fn descriptors_are_where_the_manual_has_them() {
        assert_eq!(file_arguments("read"), [0]);
        assert_eq!(file_arguments("splice"), [0, 2]);
        assert_eq!(file_arguments("mmap"), [4]);
        assert!(file_arguments("open").is_empty() && file_arguments("").is_empty());
    }

    #[test]
    fn every_name_here_is_a_call_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for name in FILES.iter().flat_map(|(_, names)| names.split_ascii_whitespace()) {
            let known = [&X86_64[..], &GENERIC[..], &SHARED[..]].iter().any(|it| it.contains(&name));
            assert!(known && seen.insert(name), "{name}");
        }
    }
}
