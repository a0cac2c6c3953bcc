"""Do all processes of a run come, each once and with the same settings?

Asked before JAX joins them: JAX ends a process whose companions do not come, and says
little. The first process listens at the port of the coordinator, the others tell it
who they are, and it answers all of them with the same line.
"""

import contextlib
import socket
import time
from typing import NamedTuple

from egojax.errors import UsageError

GO = "go"
PATIENCE = 2.0  # Seconds that a caller has to say who it is.
PAUSE = 0.1  # Seconds between two attempts to reach the first process.
LONGEST = 1000  # Bytes of a line.


class Member(NamedTuple):
    """One of the processes of a run."""

    coordinator: str  # HOST:PORT of the first one.
    count: int
    index: int

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def check(member: Member) -> None:
    """Refuses what is no member of any run.

    Raises:
      UsageError: a number is out of range, or the address is none.
    """
    problems = []
    if member.count < 1:
        problems.append(f"hosts.count = {member.count}: must be at least 1")
    elif not 0 <= member.index < member.count:
        problems.append(
            f"hosts.index = {member.index}: must be from 0 to {member.count - 1}, "
            f"since hosts.count = {member.count}"
        )
    host, _, port = member.coordinator.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        problems.append(
            f"hosts.coordinator = {member.coordinator!r}: expected HOST:PORT of the "
            "first process, such as node7:9876"
        )
    if problems:
        raise UsageError.from_problems(problems)


def roll_call(member: Member, timeout: float) -> None:
    """Returns once all processes are known to be there.

    Raises:
      UsageError: they are not, within `timeout` seconds; the first process cannot be
        reached, or its port is taken; the settings of two of them do not agree.
    """
    if member.index:
        with _reach_first(member, timeout) as first:
            answer = _tell(first, member, timeout)
    else:
        with _listen(member) as server, contextlib.ExitStack() as stack:
            answer = _gather(server, member, timeout, stack)
    if answer != GO:
        raise UsageError(answer)


def _listen(member: Member) -> socket.socket:
    port = member.address[1]
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as err:
        raise UsageError(
            f"hosts.coordinator = {member.coordinator}: port {port} cannot be opened "
            f"here ({err.strerror}); choose another"
        ) from None


def _gather(
    server: socket.socket, member: Member, timeout: float, stack: contextlib.ExitStack
) -> str:
    """Hears the others, and returns what they have been told."""
    end = time.monotonic() + timeout
    callers: list[socket.socket] = []
    absent = set(range(1, member.count))
    answer = GO
    while absent and answer == GO:
        server.settimeout(max(end - time.monotonic(), 1e-3))
        try:
            caller = stack.enter_context(server.accept()[0])
        except TimeoutError:
            names = ", ".join(str(index) for index in sorted(absent))
            answer = f"hosts: process {names} did not come within {timeout:g} s"
            break
        identity = _identity(caller)
        if identity is None:
            continue  # A stranger.
        callers.append(caller)
        answer = _judge(*identity, member.count, absent)
        absent.discard(identity[0])
    for caller in callers:
        with contextlib.suppress(OSError):
            caller.sendall(f"{answer}\n".encode())
    return answer


def _judge(index: int, count: int, expected: int, absent: set[int]) -> str:
    if count != expected:
        return (
            f"hosts.count = {count} at process {index}, {expected} at the first one: "
            "give all the same number"
        )
    if index not in absent:
        return f"hosts.index = {index} came twice: give each process its own"
    return GO


def _identity(caller: socket.socket) -> tuple[int, int] | None:
    """Index and count of a process, or None if it is no process of ours."""
    words = _line(caller, PATIENCE).split()
    if len(words) != 3 or words[0] != "egojax":
        return None
    return (int(words[1]), int(words[2])) if "".join(words[1:]).isdecimal() else None


def _reach_first(member: Member, timeout: float) -> socket.socket:
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        try:
            return socket.create_connection(member.address, max(left, PAUSE))
        except OSError as err:
            if left > 0:
                time.sleep(PAUSE)
                continue
            raise UsageError(
                f"hosts.coordinator = {member.coordinator}: not reached within "
                f"{timeout:g} s ({err.strerror or err}); is the first process there?"
            ) from None


def _tell(first: socket.socket, member: Member, timeout: float) -> str:
    """Says who this is, and returns what the first process says then."""
    with contextlib.suppress(OSError):
        first.sendall(f"egojax {member.index} {member.count}\n".encode())
    # It may have come later than this one, and waits as long.
    answer = _line(first, 2 * timeout).strip()
    return answer or (
        f"hosts.coordinator = {member.coordinator}: the first process is gone; see "
        "what it says"
    )


def _line(peer: socket.socket, timeout: float) -> str:
    """A line of text; empty if none comes."""
    peer.settimeout(timeout)
    try:
        return peer.makefile("rb").readline(LONGEST).decode(errors="replace")
    except OSError:
        return ""
