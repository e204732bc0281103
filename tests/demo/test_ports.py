"""Which port a part of the demo takes."""

from __future__ import annotations

import socket

from demo import ports


def test_the_next_free_port_is_one_that_is_neither_taken_nor_given_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = held.getsockname()[1]
        first = ports.next_free(taken)
        assert first > taken
        assert ports.next_free(taken, but=(first,)) > first
