"""The calls of the protocol over gRPC."""

import asyncio

from service.openinference import calls, protobuf
from service.openinference import inference_pb2 as pb
from service.rpc.calls import Call, Method


async def server_live(call: Call) -> bytes:
    """As /livez. Its request is empty, so it need not arrive; so for the next two."""
    return pb.ServerLiveResponse(live=True).SerializeToString()


async def server_ready(call: Call) -> bytes:
    """As /readyz."""
    return pb.ServerReadyResponse(ready=call.runtime.is_ready).SerializeToString()


async def server_metadata(call: Call) -> bytes:
    """Name, version, and the extensions of the protocol."""
    server = calls.server()
    return pb.ServerMetadataResponse(
        name=server.name, version=server.version, extensions=server.extensions
    ).SerializeToString()


async def model_ready(call: Call) -> bytes:
    """As /readyz, for a model of this process."""
    asked = await call.read(pb.ModelReadyRequest)
    calls.find(call.runtime, asked.name, asked.version or None)
    return pb.ModelReadyResponse(ready=call.runtime.is_ready).SerializeToString()


async def model_metadata(call: Call) -> bytes:
    """A model's inputs and outputs."""
    asked = await call.read(pb.ModelMetadataRequest)
    detector = calls.find(call.runtime, asked.name, asked.version or None)
    return protobuf.model_metadata(detector).SerializeToString()


async def model_infer(call: Call) -> bytes:
    """Image files to detections, or pixels to the network's own boxes and scores."""
    runtime = call.runtime
    runtime.check_open()
    with runtime.memory.hold() as held:
        message = await call.read(pb.ModelInferRequest, held)
        detector = calls.find(runtime, message.model_name, message.model_version or None)
        detector.batcher.check_room(deadline=call.deadline)
        request = protobuf.request(message)
        inference = calls.Inference.of(detector, request, call.deadline)
        received = protobuf.received(message, request)
        inferred = await inference.run(received, runtime.settings.max_images)
        raw = protobuf.is_raw(message)
    call.log_fields = inference.log_fields(inferred)
    if inferred.timings is not None:
        call.trailing.append(("server-timing", inferred.timings.server_timing()))
    return await asyncio.to_thread(protobuf.respond, detector, request, inferred.outputs, raw=raw)


METHODS = (
    Method("ServerLive", server_live, is_open=True),
    Method("ServerReady", server_ready, is_open=True),
    Method("ModelReady", model_ready),
    Method("ServerMetadata", server_metadata),
    Method("ModelMetadata", model_metadata),
    Method("ModelInfer", model_infer),
)
