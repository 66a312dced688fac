"""The methods of `inference.GRPCInferenceService`.

In:      the octets of messages.
Out:     a `Service`: ModelInfer and ModelStreamInfer ask policies, the others tell of the server and its models.
Refuses: what is not the method's message (RequestMalformed), unknown models and versions (NotFound); loading and
         unloading (Unimplemented), since the server follows its models folder by itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from rlway_client.contract.errors import NotReady, Unimplemented
from rlway_client.protos import inference_pb2 as pb
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.rpc import Service, StreamedAsk
from rlway_serve.gateway.rpc_messages import tell
from rlway_serve.protocols.oip.configuration import model_configuration
from rlway_serve.protocols.oip.grpc.answer import refuse
from rlway_serve.protocols.oip.grpc.route import GrpcRoutes
from rlway_serve.protocols.oip.metadata import model_metadata, server_metadata
from rlway_serve.protocols.oip.models import find_version
from rlway_serve.protocols.oip.repository_index import repository_index
from rlway_serve.protocols.oip.statistics import model_statistics
from rlway_serve.settings import Settings

NAME = "inference.GRPCInferenceService"
OPEN = frozenset(("ServerLive", "ServerReady", "ServerMetadata"))  # without a key, as over REST


def inference_service(endpoint: Endpoint, settings: Settings) -> Service:
    """The service of one server."""
    methods = Methods(endpoint, settings)
    streamed = GrpcRoutes(endpoint, streamed=True)
    return Service(
        NAME,
        pb.DESCRIPTOR,
        asks={"ModelInfer": GrpcRoutes(endpoint, streamed=False).ask},
        streams={"ModelStreamInfer": StreamedAsk(streamed.ask, partial(refuse, streamed=True))},
        tells={
            "ServerLive": tell(pb.ServerLiveRequest, lambda _: pb.ServerLiveResponse(live=True)),
            "ServerReady": tell(pb.ServerReadyRequest, lambda _: pb.ServerReadyResponse(ready=endpoint.ready)),
            "ServerMetadata": tell(pb.ServerMetadataRequest, lambda _: pb.ServerMetadataResponse(**server_metadata())),
            "ModelReady": tell(pb.ModelReadyRequest, methods.ready),
            "ModelMetadata": tell(pb.ModelMetadataRequest, methods.metadata),
            "ModelConfig": tell(pb.ModelConfigRequest, methods.configuration),
            "ModelStatistics": tell(pb.ModelStatisticsRequest, methods.statistics),
            "RepositoryIndex": tell(pb.RepositoryIndexRequest, methods.index),
            "RepositoryModelLoad": tell(pb.RepositoryModelLoadRequest, methods.load),
            "RepositoryModelUnload": tell(pb.RepositoryModelUnloadRequest, methods.load),
        },
        open_tells=OPEN,
    )


class Methods:
    """What the server tells of its models."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._repository = endpoint.repository
        self._settings = settings

    def ready(self, request: pb.ModelReadyRequest) -> Any:
        try:
            find_version(self._repository, request.name, request.version)
        except NotReady:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def metadata(self, request: pb.ModelMetadataRequest) -> Any:
        version = find_version(self._repository, request.name, request.version)
        return pb.ModelMetadataResponse(**model_metadata(self._repository[request.name], version))

    def configuration(self, request: pb.ModelConfigRequest) -> Any:
        version = find_version(self._repository, request.name, request.version)
        return pb.ModelConfigResponse(config=model_configuration(version, self._settings))

    def statistics(self, request: pb.ModelStatisticsRequest) -> Any:
        if request.version:
            versions = [find_version(self._repository, request.name, request.version)]
        else:
            policies = [self._repository[request.name]] if request.name else list(self._repository)
            versions = [loaded for policy in policies for _, loaded in sorted(policy.loaded.items())]
        return pb.ModelStatisticsResponse(**model_statistics(versions))

    def index(self, request: pb.RepositoryIndexRequest) -> Any:
        return pb.RepositoryIndexResponse(models=repository_index(self._repository, self._settings, request.ready))

    def load(self, _: Any) -> Any:
        raise Unimplemented("the repository extension is not served: the server follows its models folder by itself.")
