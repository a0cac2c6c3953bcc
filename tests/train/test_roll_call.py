"""All processes of a run hear whether all have come."""

import contextlib
import socket
import threading
import time

import pytest

from egojax.errors import UsageError
from egojax.train.roll_call import Member, roll_call


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def test_a_first_process_that_is_not_there_is_told():
    member = Member(f"localhost:{free_port()}", 2, 1)
    with pytest.raises(UsageError, match=r"localhost:\d+: not reached within 0.3 s"):
        roll_call(member, timeout=0.3)


def test_a_host_without_an_address_is_told():
    with pytest.raises(UsageError, match=r"nowhere\.invalid:80: not reached"):
        roll_call(Member("nowhere.invalid:80", 2, 1), timeout=0.1)


def test_a_port_that_is_taken_is_told():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} cannot be opened"):
            roll_call(Member(f"localhost:{port}", 2, 0), timeout=1.0)


def told_by_all(members: list[Member], timeout: float = 20.0) -> list[str]:
    """What each of them gets to hear at the roll call."""
    told = [""] * len(members)

    def call(at: int) -> None:
        try:
            roll_call(members[at], timeout)
        except UsageError as err:
            told[at] = str(err)

    threads = [threading.Thread(target=call, args=(at,)) for at in range(len(members))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def test_all_hear_who_did_not_come():
    address = f"localhost:{free_port()}"
    told = told_by_all([Member(address, 4, 0), Member(address, 4, 2)], timeout=1.0)
    assert told == ["hosts: process 1, 3 did not come within 1 s"] * 2


def test_all_hear_that_two_have_the_same_number():
    address = f"localhost:{free_port()}"
    told = told_by_all([Member(address, 3, 0), *[Member(address, 3, 1)] * 2])
    assert told == ["hosts.index = 1 came twice: give each process its own"] * 3


def test_all_hear_that_they_count_differently():
    address = f"localhost:{free_port()}"
    told = told_by_all([Member(address, 2, 0), Member(address, 3, 1)])
    assert set(told) == {
        "hosts.count = 3 at process 1, 2 at the first one: give all the same number"
    }


def test_strangers_at_the_port_are_passed_over():
    port = free_port()
    address = f"localhost:{port}"
    told: list[str] = []
    run = threading.Thread(
        target=lambda: told.extend(told_by_all([Member(address, 2, 0)]))
    )
    run.start()
    for _ in range(100):
        with contextlib.suppress(ConnectionRefusedError):
            with socket.create_connection(("localhost", port)) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            break
        time.sleep(0.05)
    told += told_by_all([Member(address, 2, 1)])
    run.join()
    assert told == ["", ""]
