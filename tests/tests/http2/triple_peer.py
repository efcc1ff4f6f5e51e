"""A server and a client of Apache Dubbo's own Python implementation, over Triple, whose messages are plain bytes: serve
HOST PORT, or call HOST PORT."""

import sys
import threading

import dubbo
from dubbo.classes import EOF
from dubbo.configs import ReferenceConfig, ServiceConfig
from dubbo.proxy.handlers import RpcMethodHandler, RpcServiceHandler

SERVICE = "lab.v1.Echo"


def server_stream(stream):
    for number in range(int(stream.read())):
        stream.write(b"%02d" % number)
    stream.done_writing()


def client_stream(stream):
    stream.write(b"".join(stream))
    stream.done_writing()


def both(stream):
    for message in stream:
        stream.write(message)
    stream.done_writing()


def fail(_):
    raise ValueError("caf\u00e9 100%")


def serve(host, port):
    handlers = [
        RpcMethodHandler.unary(lambda request: request, method_name="Unary"),
        RpcMethodHandler.unary(fail, method_name="Fail"),
        RpcMethodHandler.server_stream(server_stream, method_name="ServerStream"),
        RpcMethodHandler.client_stream(client_stream, method_name="ClientStream"),
        RpcMethodHandler.bi_stream(both, method_name="Both"),
    ]
    service = ServiceConfig(RpcServiceHandler(SERVICE, handlers), host=host, port=port)
    dubbo.Dubbo().create_server(service).start()
    threading.Event().wait()


def failure(call):
    try:
        return f"no failure but {call()}"
    except Exception as error:  # Whatever it raises, it says.
        return f"{type(error).__name__}: {error}"


def call(host, port):
    client = dubbo.Client(ReferenceConfig(protocol="tri", service=SERVICE, host=host, port=port))
    unary = client.unary("Unary")
    assert unary(b"hello") == b"hello"
    large = bytes(300_000)
    assert unary(large) == large
    numbers = list(client.server_stream("ServerStream")(b"20"))
    assert numbers == [b"%02d" % number for number in range(20)], numbers
    parts = [b"x" * size for size in range(1, 11)]
    joined = client.client_stream("ClientStream")(iter(parts))
    assert joined.read() == b"x" * 55
    assert joined.read() is EOF
    stream = client.bi_stream("Both")()
    for number in range(15):
        stream.write(bytes([number]) * 1000)
        assert stream.read() == bytes([number]) * 1000
    stream.done_writing()
    assert stream.read() is EOF
    print("Fail:", failure(lambda: client.unary("Fail")(b"x")))
    print("Missing:", failure(lambda: client.unary("Missing")(b"x")))
    print("all answers are right", flush=True)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
