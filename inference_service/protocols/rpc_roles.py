"""Which role each rpc of the inference port asks for, in all of its protocols."""

from __future__ import annotations

from collections.abc import Mapping

from service_kit.auth.roles import OPEN_TO_ALL, Role

_ROLES_OF: Mapping[str, Mapping[str, Role | None]] = {
    "pbserve.inference.v1.InferenceService": {
        "Predict": Role.PREDICT,
        "StreamPredict": Role.PREDICT,
        "ListModels": Role.READ,
        "GetModel": Role.READ,
        "LoadModel": Role.ADMIN,
        "UnloadModel": Role.ADMIN,
        "SetLabel": Role.ADMIN,
    },
    "inference.GRPCInferenceService": {
        # The protocol's health.
        "ServerLive": OPEN_TO_ALL,
        "ServerReady": OPEN_TO_ALL,
        "ModelReady": OPEN_TO_ALL,
        "ServerMetadata": Role.READ,
        "ModelMetadata": Role.READ,
        "ModelConfig": Role.READ,
        "ModelStatistics": Role.READ,
        "RepositoryIndex": Role.READ,
        "ModelInfer": Role.PREDICT,
        "ModelStreamInfer": Role.PREDICT,
        "SystemSharedMemoryStatus": Role.PREDICT,
        "SystemSharedMemoryRegister": Role.PREDICT,
        "SystemSharedMemoryUnregister": Role.PREDICT,
        "CudaSharedMemoryStatus": Role.PREDICT,
        "CudaSharedMemoryRegister": Role.PREDICT,
        "CudaSharedMemoryUnregister": Role.PREDICT,
        "RepositoryModelLoad": Role.ADMIN,
        "RepositoryModelUnload": Role.ADMIN,
        "TraceSetting": Role.ADMIN,
        "LogSettings": Role.ADMIN,
    },
    "tensorflow.serving.PredictionService": {
        "Predict": Role.PREDICT,
        "Classify": Role.PREDICT,
        "Regress": Role.PREDICT,
        "MultiInference": Role.PREDICT,
        "PredictStreamed": Role.PREDICT,
        "GetModelMetadata": Role.READ,
    },
    "tensorflow.serving.ModelService": {
        "GetModelStatus": Role.READ,
        "HandleReloadConfigRequest": Role.ADMIN,
    },
}

RPC_ROLES: Mapping[str, Role | None] = {
    f"/{service}/{method}": role
    for service, methods in _ROLES_OF.items()
    for method, role in methods.items()
}
