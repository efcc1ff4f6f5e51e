"""A server and a client of gRPC whose messages are plain bytes: serve ADDRESS, or call ADDRESS."""

import sys
from concurrent import futures

import grpc

SERVICE = "lab.v1.Echo"


def fail(_, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "caf\u00e9 100%")


def serve(address):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
        "ServerStream": grpc.unary_stream_rpc_method_handler(
            lambda request, _: (b"%02d" % number for number in range(int(request)))
        ),
        "ClientStream": grpc.stream_unary_rpc_method_handler(lambda requests, _: b"".join(requests)),
        "Both": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    assert server.add_insecure_port(address), address
    server.start()
    server.wait_for_termination()


def status(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    return None


def call(address):
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options) as channel:

        def method(kind, name):
            made = getattr(channel, kind)(f"/{SERVICE}/{name}")
            metadata = (("x-lab", "yes"), ("authorization", "Bearer hunter2"))
            return lambda request: made(request, timeout=30, metadata=metadata, wait_for_ready=True)

        unary = method("unary_unary", "Unary")
        assert unary(b"hello") == b"hello"
        large = bytes(300_000)
        assert unary(large) == large
        numbers = list(method("unary_stream", "ServerStream")(b"20"))
        assert numbers == [b"%02d" % number for number in range(20)]
        parts = [b"x" * size for size in range(10)]
        assert method("stream_unary", "ClientStream")(iter(parts)) == b"x" * 45
        parts = [bytes([number]) * 1000 for number in range(15)]
        assert list(method("stream_stream", "Both")(iter(parts))) == parts
        failed = status(lambda: method("unary_unary", "Fail")(b"x"))
        assert failed == (grpc.StatusCode.FAILED_PRECONDITION, "caf\u00e9 100%"), failed
        missing = status(lambda: method("unary_unary", "Missing")(b"x"))
        assert missing[0] == grpc.StatusCode.UNIMPLEMENTED, missing
    print("all answers are right")


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](sys.argv[2])
