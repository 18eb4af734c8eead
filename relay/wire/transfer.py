"""How many of the bytes that were written to a TCP connection have arrived at its other end."""

import socket
import struct
import sys
from asyncio import Transport
from typing import Final

from relay.rooms.connection import Transfer

if sys.platform != "win32":
    import fcntl
    import termios

_BYTES_ACKED: Final = 120
"""Offset of `tcpi_bytes_acked`, 64 bits, in Linux's `struct tcp_info` (linux/tcp.h)."""

_ESTABLISHED: Final = 1
"""The state of an open connection, in the first byte of `struct tcp_info` (linux/tcp_states.h)."""

_TCP_INFO: Final = struct.Struct(f"={_BYTES_ACKED}xQ")


def transfer_of(transport: Transport, *, ended: bool = False) -> Transfer | None:
    """Return how much was written, and how much of it the other end's TCP has acknowledged; None if that is not known.

    The acknowledged bytes, the bytes in the system's buffer, and the bytes in the transport's buffer are together
    exactly the written bytes. With TLS it is not: the transport counts bytes before they are encrypted. So
    there, all has arrived while nothing waits, and nothing else is known. Costs two system calls, or three while bytes
    are on their way.

    With `ended`, the transport reports its end right now: the system still knows how much has arrived, but the bytes
    in the transport's buffer do not count as written any more. One byte that never arrives does, so that no message
    counts as received that the connection drops from now on.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or (transport.is_closing() and not ended) or not sys.platform.startswith("linux"):
        return None
    try:
        waiting = _unacknowledged(sock.fileno())
        if transport.get_extra_info("sslcontext") is not None:
            idle = waiting == 0 and transport.get_write_buffer_size() == 0
            return Transfer(1 + ended, int(idle))
        while True:
            (received,) = _TCP_INFO.unpack(_tcp_info(sock.fileno(), _TCP_INFO.size))
            # Bytes that were acknowledged between the two calls would count twice, and so never as received. Each round
            # but the last one finds fewer of them.
            still = _unacknowledged(sock.fileno()) if waiting else 0
            if still == waiting:
                break
            waiting = still
    except (OSError, ValueError, struct.error):
        # A unix socket, an old kernel, or a socket that was closed meanwhile.
        return None
    return Transfer(received + waiting + transport.get_write_buffer_size() + ended, received)


def is_open(transport: Transport) -> bool:
    """Return whether both ends of a connection are open, as far as the system knows.

    The other end's FIN or RST may wait while the event loop is busy, or was stopped. Costs one system call on Linux;
    elsewhere, the transport is asked.
    """
    sock = transport.get_extra_info("socket")
    if transport.is_closing() or sock is None or not sys.platform.startswith("linux"):
        return not transport.is_closing()
    try:
        return _tcp_info(sock.fileno(), 1)[0] == _ESTABLISHED
    except (OSError, ValueError):
        # A unix socket, or one that was closed meanwhile.
        return not transport.is_closing()


def _tcp_info(descriptor: int, size: int) -> bytes:
    """Return the first `size` bytes of the connection's `struct tcp_info`."""
    # The socket that a transport of uvloop shows makes one of Python's for each call, which costs more than the call.
    # Neither the system nor this option cares for the family.
    borrowed = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, descriptor)
    try:
        return borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    finally:
        borrowed.detach()


def _unacknowledged(descriptor: int) -> int:
    """Bytes in the system's send buffer: not sent, or sent and not acknowledged (TIOCOUTQ of tcp(7))."""
    if sys.platform == "win32":
        return 0
    answer = bytearray(4)
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, answer)
    return int.from_bytes(answer, sys.byteorder)
