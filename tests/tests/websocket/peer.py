"""A server and a client of WebSockets: serve ADDRESS PORT, or call ADDRESS PORT CASE."""

import os
import socket
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

# Nothing but what is sent here.
QUIET = {"ping_interval": None}


def echo(connection):
    try:
        for message in connection:
            if message == "fail":
                connection.close(1011, "out of order")
            else:
                connection.send(message)
    except ConnectionClosed:
        pass


def exchange(connection):
    """Three messages there and back, the third in fragments, and a ping."""
    for message in ("hello", b"\0" * 70_000):
        connection.send(message)
        assert connection.recv() == message
    assert connection.ping().wait(60), "no pong"
    connection.send(["ab", "cd", "e"])
    assert connection.recv() == "abcde"


def call(uri, case):
    compression = "deflate" if case == "deflate" else None
    protocols = ["lab.v2", "lab.v1"]
    with connect(uri, compression=compression, subprotocols=protocols, proxy=None, **QUIET) as connection:
        exchange(connection)
        if case == "gone":
            os._exit(0)
        if case == "fail":
            connection.send("fail")
            try:
                connection.recv()
            except ConnectionClosed as closed:
                assert closed.rcvd.code == 1011, closed
            else:
                raise AssertionError("not closed")
        else:
            connection.close(1000, "done")


if __name__ == "__main__":
    what, address, port, *case = sys.argv[1:]
    if what == "serve":
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with serve(echo, address, int(port), family=family, subprotocols=["lab.v1"], **QUIET) as server:
            server.serve_forever()
    host = f"[{address}]" if ":" in address else address
    call(f"ws://{host}:{port}/room?token=c2VjcmV0", *case)
    print("all answers are right")
