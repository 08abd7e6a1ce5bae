"""The system calls that each process may make from the end of its start on (seccomp(2), by libseccomp).

What is on no list fails with EPERM, and the kernel's log names it. Names that an architecture does not have do no harm.
"""

import errno
import os
import socket

import seccomp

OTHERWISE = seccomp.ERRNO(errno.EPERM)
"""What happens to a call that nobody foresaw."""

_MEMORY = "brk madvise mremap munmap"
_THREADS = (
    "exit exit_group futex futex_time64 get_robust_list getpid getppid gettid membarrier restart_syscall rseq rt_sigaction "
    "rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield set_robust_list set_tid_address set_tls sigaltstack sigreturn"
)
_TIME = (
    "clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 gettimeofday "
    "nanosleep time"
)
_WAITING = (
    "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait poll ppoll ppoll_time64 pselect6 "
    "pselect6_time64 select _newselect"
)
# Which files is Landlock's part.
_FILES = (
    "_llseek access close close_range dup dup3 faccessat faccessat2 fadvise64 fcntl fcntl64 fdatasync flock fstat fstat64 "
    "fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 getcwd getdents getdents64 lseek lstat lstat64 newfstatat open "
    "openat pread64 preadv pwrite64 pwritev read readlink readlinkat readv rename renameat renameat2 stat stat64 statx "
    "umask unlink unlinkat write writev"
)
_WHOM = (
    "getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getrandom getresgid getresgid32 getresuid "
    "getresuid32 getrusage getuid getuid32 sysinfo times ugetrlimit getrlimit uname"
)
_SOCKETS = (
    "getpeername getsockname getsockopt recv recvfrom recvmmsg recvmsg send sendmmsg sendmsg sendto setsockopt shutdown"
)
_BOTH = f"{_MEMORY} {_THREADS} {_TIME} {_WAITING} {_FILES} {_WHOM} {_SOCKETS}"
_GATE = "bind setitimer wait4 waitid"  # netlink; the watchdog; the portal's end
_PORTAL = "accept accept4 listen setpriority"  # without a socket to bind there is nothing new to listen on

# Whoever calls these is no SafeIP.
_ATTACK = (
    "_sysctl acct add_key adjtimex afs_syscall bpf chroot clock_adjtime clock_settime create_module delete_module execve "
    "execveat fanotify_init finit_module fork fsconfig fsmount fsopen fspick get_kernel_syms init_module io_uring_enter "
    "io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind "
    "migrate_pages modify_ldt mount mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at "
    "open_tree perf_event_open personality pidfd_getfd pivot_root pkey_mprotect process_madvise process_vm_readv "
    "process_vm_writev ptrace query_module quotactl quotactl_fd reboot request_key set_mempolicy setdomainname "
    "sethostname setns settimeofday stime swapoff swapon syslog umount umount2 unshare uselib userfaultfd vfork vhangup"
)

# linux/mman.h, linux/sched.h, asm-generic/ioctls.h, linux/netlink.h, linux/sockios.h
_PROT_EXEC = 0x4
_CLONE_THREAD = 0x1_0000
_CLONE_NAMESPACES = 0x7E02_0080
_TERMINAL_AND_SIZE = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
_SOCK_TYPE_MASK = 0xF
_SIOCGIFNAME = 0x8910
_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12


def filter_gate() -> None:
    """The gate from here on. For a process with one thread. Raises RuntimeError."""
    filtered = _filter(_GATE)
    # libnftables looks up the interfaces that custom.nft names, and ends the process where it cannot ask for them
    for protocol in (_NETLINK_NETFILTER, _NETLINK_ROUTE):
        _allow(filtered, "socket", _is(0, socket.AF_NETLINK), _is(2, protocol))
    _load(filtered)


def filter_portal() -> None:
    """The portal from here on. For a process with one thread. Raises RuntimeError."""
    filtered = _filter(_PORTAL)
    _allow(filtered, "ioctl", _is(1, _SIOCGIFNAME))  # by which interface a connection came in (portal.arrival)
    # the journal's (access.journal)
    _allow(filtered, "socket", _is(0, socket.AF_UNIX), seccomp.Arg(1, seccomp.MASKED_EQ, _SOCK_TYPE_MASK, socket.SOCK_DGRAM))
    _load(filtered)


def _filter(own: str) -> seccomp.SyscallFilter:
    filtered = seccomp.SyscallFilter(OTHERWISE)
    filtered.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)  # 32-bit calls have other numbers
    filtered.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)  # a binary tree
    filtered.set_attr(seccomp.Attr.CTL_LOG, 1)
    for name in f"{_BOTH} {own}".split():
        _allow(filtered, name)
    for name in _ATTACK.split():
        if seccomp.resolve_syscall(seccomp.Arch(), name) != -1:  # newer than this libseccomp
            filtered.add_rule(seccomp.KILL_PROCESS, name)
    for name in ("mmap", "mmap2", "mprotect"):
        _allow(filtered, name, _without(2, _PROT_EXEC))
    # threads, by the call whose flags can be seen
    _allow(filtered, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD | _CLONE_NAMESPACES, _CLONE_THREAD))
    for request in _TERMINAL_AND_SIZE:
        _allow(filtered, "ioctl", _is(1, request))
    _allow(filtered, "prlimit64", _is(0, 0), _is(2, 0))  # looked at, not changed
    _allow(filtered, "tgkill", _is(0, os.getpid()))  # abort(3)
    _allow(filtered, "clone3")
    return filtered


def _load(filtered: seccomp.SyscallFilter) -> None:
    """Both filters: the one that glibc asks in vain, which tells nobody, and the one that tells."""
    silent = seccomp.SyscallFilter(seccomp.ALLOW)
    # its flags cannot be seen: as on a kernel without it, pthread_create(3) goes on with clone
    silent.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    for one in (silent, filtered):
        one.load()


def _allow(filtered: seccomp.SyscallFilter, name: str, *arguments: seccomp.Arg) -> None:
    filtered.add_rule(seccomp.ALLOW, name, *arguments)


def _is(argument: int, value: int) -> seccomp.Arg:
    return seccomp.Arg(argument, seccomp.EQ, value)


def _without(argument: int, bits: int) -> seccomp.Arg:
    return seccomp.Arg(argument, seccomp.MASKED_EQ, bits, 0)
