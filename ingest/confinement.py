"""What a parser process may not do, asked of the Linux kernel through its plain system calls.

Four layers, each of which holds without the others; where a kernel or container withholds one, the rest stay:

1. resource limits: memory, CPU time, file size, open files, processes, no core dump;
2. namespaces: the zygote leaves the network before it reads anything (no interface, not even loopback);
3. Landlock: files can be written only in the scratch folder, and read only where code and models are;
4. seccomp: no socket, no new process or program, no signal to others, no tracing, no mounts.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38

# Landlock's numbers are the same on every architecture.
_LANDLOCK_CREATE, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 444, 445, 446
_FS_EXECUTE, _FS_WRITE_FILE, _FS_READ_FILE, _FS_READ_DIR = 1, 2, 4, 8
_FS_ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_FS_ALL_NEWEST = (1 << 16) - 1
_NET_TCP = 3
_SCOPE_SOCKETS_AND_SIGNALS = 3

# Names of forbidden system calls with their numbers on x86-64 and arm64;
# -1 where there is no such call.
_FORBIDDEN: tuple[tuple[str, int, int], ...] = (
    # the network, other processes, other programs
    ("socket", 41, 198), ("connect", 42, 203), ("bind", 49, 200), ("execve", 59, 221), ("execveat", 322, 281),
    ("ptrace", 101, 117), ("process_vm_readv", 310, 270), ("process_vm_writev", 311, 271),
    ("pidfd_getfd", 438, 438), ("kill", 62, 129), ("tkill", 200, 130), ("tgkill", 234, 131),
    ("rt_sigqueueinfo", 129, 138), ("rt_tgsigqueueinfo", 297, 240), ("pidfd_send_signal", 424, 424),
    # priority and placement of other processes of the same user
    ("setpriority", 141, 140), ("ioprio_set", 251, 30), ("sched_setscheduler", 144, 119),
    ("sched_setparam", 142, 118), ("sched_setattr", 314, 274), ("sched_setaffinity", 203, 122),
    ("migrate_pages", 256, 238), ("move_pages", 279, 239),
    # memory that no limit counts or that outlives the process
    ("memfd_create", 319, 279), ("memfd_secret", 447, 447), ("shmget", 29, 194), ("semget", 64, 190),
    ("msgget", 68, 186), ("mq_open", 240, 180),
    # what Landlock leaves open to the owner of a file: mode, owner, times, attributes
    ("chmod", 90, -1), ("fchmod", 91, 52), ("fchmodat", 268, 53), ("fchmodat2", 452, 452), ("chown", 92, -1),
    ("lchown", 94, -1), ("fchown", 93, 55), ("fchownat", 260, 54), ("utime", 132, -1), ("utimes", 235, -1),
    ("futimesat", 261, -1), ("utimensat", 280, 88), ("setxattr", 188, 5), ("lsetxattr", 189, 6),
    ("fsetxattr", 190, 7), ("removexattr", 197, 14), ("lremovexattr", 198, 15), ("fremovexattr", 199, 16),
    ("setxattrat", 463, 463), ("removexattrat", 466, 466), ("file_setattr", 469, 469),
    # the kernel's wider surface
    ("mount", 165, 40), ("umount2", 166, 39), ("pivot_root", 155, 41), ("chroot", 161, 51),
    ("unshare", 272, 97), ("setns", 308, 268), ("bpf", 321, 280), ("perf_event_open", 298, 241),
    ("io_uring_setup", 425, 425), ("keyctl", 250, 219), ("add_key", 248, 217), ("userfaultfd", 323, 282),
    ("open_by_handle_at", 304, 265),
)  # fmt: skip
_FORK_CALLS = {"x86_64": (57, 58), "aarch64": ()}
_CLONE, _CLONE3 = {"x86_64": 56, "aarch64": 220}, 435
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

_PRLIMIT64 = {"x86_64": 302, "aarch64": 261}
_CAPABILITIES_V3 = 0x20080522
_LD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38


def leave_network() -> bool:
    """Move this process, which must have one thread, into an empty network namespace.

    Returns:
        False where the kernel allows neither a user namespace nor, for root, a network namespace.
    """
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) == 0:
        _map_own_ids(uid, gid)
        return True
    return bool(_libc.unshare(_CLONE_NEWNET) == 0)


def _map_own_ids(uid: int, gid: int) -> None:
    # Unmapped ids would work too, but show as "nobody" and make some libraries look for a home folder.
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError:
        return


def limit_resources(*, memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Bound what this process can use. Memory counts on top of what it has mapped already."""
    mapped = _mapped_bytes()
    limits = {
        resource.RLIMIT_AS: mapped + memory_bytes,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: 64,
        # Counts threads as well; no parser needs one. Root is exempt, and held by seccomp.
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (limit, limit))
    # At the soft limit comes a signal that names the cause, at the hard limit a kill that does not.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 2))
    os.nice(5)


def _mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def forbid_file_writes() -> None:
    """For kernels without Landlock: this process may create files, but put no byte into any."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def renounce_privileges() -> None:
    """Drop every capability, for good: what root could do, this process cannot.

    No set-uid program can raise it again, which the next two layers require.
    """
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITIES_V3, 0)
    _libc.capset(header, bytes(24))


def landlock_abi() -> int:
    """The kernel's Landlock version, 0 where it has none."""
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)))


def confine_files(*, readable: Iterable[Path], writable: Path) -> bool:
    """Allow reading below `readable`, everything below `writable`, nothing else; False without Landlock."""
    abi = landlock_abi()
    if abi < 1:
        return False
    every = _FS_ALL_BY_ABI.get(abi, _FS_ALL_NEWEST)
    net = (_NET_TCP,) if abi >= 4 else ()
    scopes = (_SCOPE_SOCKETS_AND_SIGNALS,) if abi >= 6 else ()
    words = (every, *net, *scopes)
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = _libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(ruleset, path, _FS_READ_FILE | _FS_READ_DIR | _FS_EXECUTE)
        _allow(ruleset, writable, every)
        _allow(ruleset, Path("/dev/null"), _FS_READ_FILE | _FS_WRITE_FILE)
        return bool(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            access &= _FS_READ_FILE | _FS_WRITE_FILE | _FS_EXECUTE
        _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", access, descriptor), 0)
    finally:
        os.close(descriptor)


def forbid_system_calls() -> bool:
    """Answer "not permitted" to every call in the list above. False on an architecture without a list."""
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        return False
    filters = _seccomp_program(machine)
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in filters)
    program = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("@HP", len(filters), ctypes.addressof(program))
    return bool(_libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0) == 0)


def _seccomp_program(machine: str) -> Sequence[tuple[int, int, int, int]]:
    is_x86 = machine == "x86_64"
    listed = {x86 if is_x86 else arm for _, x86, arm in _FORBIDDEN} - {-1}
    forbidden = sorted({*listed, *_FORK_CALLS[machine]})
    program: list[tuple[int, int, int, int]] = [
        (_LD_WORD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_LD_WORD, 0, 0, 0),
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
    ]
    for number in forbidden:
        program += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    # clone3 keeps its flags in memory, where a filter cannot look; without it libc falls back to clone.
    program += [(_JUMP_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    program += [
        (_JUMP_EQUAL, 0, 4, _CLONE[machine]),
        (_LD_WORD, 0, 0, 16),
        (_JUMP_SET, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
        # prlimit64: of this process only (pid 0); it would lower the limits of the desk as well.
        (_JUMP_EQUAL, 0, 3, _PRLIMIT64[machine]),
        (_LD_WORD, 0, 0, 16),
        (_JUMP_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return program
