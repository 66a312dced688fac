"""The methods of TensorFlow Serving's `PredictionService` and `ModelService`.

In:      the octets of messages.
Out:     two `Service`s: Predict asks policies; GetModelMetadata and GetModelStatus tell of models.
Refuses: what is not the method's message (RequestMalformed), unknown models, versions and labels; Classify, Regress,
         MultiInference and HandleReloadConfigRequest (Unimplemented).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from rlway_client.common.quote import clipped
from rlway_client.contract.errors import RequestMalformed, RlwayError, Unimplemented
from rlway_client.protos import tensorflow_pb2 as tf
from rlway_client.protos import tensorflow_serving_pb2 as pb
from rlway_serve.gateway.endpoint import Endpoint
from rlway_serve.gateway.rpc import Service
from rlway_serve.gateway.rpc_messages import tell
from rlway_serve.protocols.tfs.errors import in_serving_words, not_implemented
from rlway_serve.protocols.tfs.grpc.route import GrpcRoutes, find_policy, pin_of
from rlway_serve.protocols.tfs.signatures import PREDICT, TensorInfo, signatures_of
from rlway_serve.protocols.tfs.status import version_states
from rlway_serve.settings import Settings

SIGNATURE_DEF = "signature_def"  # the one metadata field that there is
MAP_URL = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
RELOAD = "HandleReloadConfigRequest: not implemented, since the server follows its models folder by itself."


def prediction_services(endpoint: Endpoint, settings: Settings) -> list[Service]:
    """Both services of one server."""
    methods = Methods(endpoint, settings)
    prediction = Service(
        "tensorflow.serving.PredictionService",
        pb.DESCRIPTOR,
        asks={"Predict": GrpcRoutes(endpoint, settings).ask},
        streams={},
        tells={
            "GetModelMetadata": tell(pb.GetModelMetadataRequest, methods.metadata),
            **{name: partial(_refuse, not_implemented(name)) for name in ("Classify", "Regress", "MultiInference")},
        },
    )
    model = Service(
        "tensorflow.serving.ModelService",
        pb.DESCRIPTOR,
        asks={},
        streams={},
        tells={
            "GetModelStatus": tell(pb.GetModelStatusRequest, methods.status),
            "HandleReloadConfigRequest": partial(_refuse, Unimplemented(RELOAD)),
        },
    )
    return [prediction, model]


def _refuse(error: Unimplemented, _: bytes) -> bytes:
    raise Unimplemented(str(error))


class Methods:
    """What the server tells of its models."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint = endpoint
        self._settings = settings

    def metadata(self, request: pb.GetModelMetadataRequest) -> Any:
        if not request.metadata_field:
            raise RequestMalformed(
                f'GetModelMetadataRequest must specify at least one metadata_field: "{SIGNATURE_DEF}".'
            )
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise RequestMalformed(f'Metadata field {clipped(field)} is not supported; ask for "{SIGNATURE_DEF}".')
        pin = pin_of(request.model_spec)
        policy = find_policy(self._endpoint, request.model_spec)
        try:
            version = policy.choose(pin)
        except RlwayError as error:
            raise in_serving_words(error, policy.name, pin) from None
        signatures = pb.SignatureDefMap()
        for signature in signatures_of(version.manifest):
            written = signatures.signature_def[signature.name]
            written.method_name = PREDICT
            _write_infos(signature.input_infos, written.inputs)
            _write_infos(signature.output_infos, written.outputs)
        answer = pb.GetModelMetadataResponse(model_spec=pb.ModelSpec(name=policy.name))
        answer.model_spec.version.value = version.number
        held = answer.metadata[SIGNATURE_DEF]
        held.type_url, held.value = MAP_URL, signatures.SerializeToString()
        return answer

    def status(self, request: pb.GetModelStatusRequest) -> Any:
        pin = pin_of(request.model_spec)
        policy = find_policy(self._endpoint, request.model_spec)
        answer = pb.GetModelStatusResponse()
        for state in version_states(policy, pin, self._settings.keep_versions):
            status = pb.StatusProto(error_code=state.error_code, error_message=state.error_message)
            answer.model_version_status.add(version=state.version, state=state.state, status=status)
        return answer


def _write_infos(infos: Mapping[str, TensorInfo], written: Any) -> None:
    for name, info in infos.items():
        shape = tf.TensorShapeProto(dim=[tf.TensorShapeProto.Dim(size=size) for size in info.shape])
        written[name].CopyFrom(tf.TensorInfo(name=info.node, dtype=info.data_type.name, tensor_shape=shape))
