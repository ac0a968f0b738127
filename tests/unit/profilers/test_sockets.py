import os
import socket

from hypothesis import given
from hypothesis import strategies as st

from supervisor.profilers import sockets


@given(st.text(max_size=500))
def test_any_table_of_sockets_is_read(text: str) -> None:
    sockets.parse_sockets(text)


def test_listening_sockets_of_this_process_are_found_with_their_address() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        found = {(each.host, each.port): each for each in sockets.own_listeners(os.getpid())}
        assert ("127.0.0.1", four.getsockname()[1]) in found
        assert found["::1", six.getsockname()[1]].local
        with socket.create_connection(four.getsockname()) as connected:
            assert ("127.0.0.1", connected.getsockname()[1]) not in {
                (each.host, each.port) for each in sockets.own_listeners(os.getpid())
            }


def test_this_process_is_in_its_own_network() -> None:
    assert not sockets.other_network(os.getpid())
