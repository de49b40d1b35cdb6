"""A process without a network: the kernel kills it at its first internet socket, native code's included."""

import ctypes
import platform
import socket
import struct

# machine -> its number for the kernel's audit, and of the system call `socket`
MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # of Berkeley packet filters
KILL, ALLOW = 0x80000000, 0x7FFF0000
NUMBER, MACHINE, FAMILY = (
    0,
    4,
    16,
)  # offsets of what the filter sees of a call: the family is `socket`'s first argument


class Unsupported(Exception):
    """This system has no such filter."""


def forbid() -> None:
    """Kill this process, by SIGSYS, as soon as it or a thread or child of it asks for an internet socket.

    Call it before anything that starts threads.

    Raises
    ------
    Unsupported
        With the reason.
    """
    if platform.machine() not in MACHINES:
        raise Unsupported(f"no filter for {platform.system()} on {platform.machine()}")
    machine, number = MACHINES[platform.machine()]
    program = [
        (LOAD, 0, 0, MACHINE),
        (IF_EQUAL, 0, 5, machine),
        (LOAD, 0, 0, NUMBER),
        (IF_EQUAL, 0, 3, number),
        (LOAD, 0, 0, FAMILY),
        (IF_EQUAL, 2, 0, socket.AF_INET),
        (IF_EQUAL, 1, 0, socket.AF_INET6),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, KILL),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    whole = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, whole, 0, 0)):
        if libc.prctl(*call):
            raise Unsupported(f"the kernel refuses a filter of system calls (errno {ctypes.get_errno()})")
