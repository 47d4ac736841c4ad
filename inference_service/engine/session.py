"""How TensorFlow sessions are set up for the devices of the service."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

# Pools inside ops belong to one session, not to the process: its first session would otherwise
# size them for all. Read when the first session is made.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")

import tensorflow.compat.v1 as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from inference_service.engine.devices import Device


def device_name(device: Device, devices: Sequence[Device]) -> str:
    """Returns TensorFlow's name of a device in sessions that see `devices` alone."""
    return f"/device:{device.kind.upper()}:{list(devices).index(device)}"


def session_config(
    devices: Sequence[Device],
    *,
    intra_op_threads: int,
    gpu_memory_bytes: int | None,
    channels_first: bool = False,
) -> Any:
    """Returns the configuration of a session.

    Args:
        devices: all devices of the service, in their order; CPU devices become logical ones.
        intra_op_threads: threads inside an op.
        gpu_memory_bytes: that the process takes at most on each GPU; None: as needed.
        channels_first: whether layers of the graph have their channels first.
    """
    config = tf.ConfigProto(
        # Ops that a device has no kernel for run on the CPU.
        allow_soft_placement=True,
        intra_op_parallelism_threads=intra_op_threads,
        inter_op_parallelism_threads=len(devices),
        use_per_session_threads=True,
    )
    # A constant is placed with the tower that reads it, when nothing else of the graph is looked
    # at; over the whole graph every constant would land on the first device.
    config.graph_options.place_pruned_graph = True
    if channels_first and all(device.kind == "cpu" for device in devices):
        # An optimizer turns such layers round, and it runs on whole graphs alone. Lanes of the CPU
        # have one memory for their constants in any case.
        config.graph_options.place_pruned_graph = False
        config.graph_options.rewrite_options.cpu_layout_conversion = RewriterConfig.NCHW_TO_NHWC
    # Without these every prepared call keeps another copy of the graph: measured 50 MB a call
    # for a DenseNet-169.
    config.experimental.optimize_for_static_graph = True
    config.experimental.disable_output_partition_graphs = True
    gpus = [device.index for device in devices if device.kind == "gpu"]
    config.device_count["CPU"] = max(1, len(devices) - len(gpus))
    config.device_count["GPU"] = len(gpus)
    config.gpu_options.allow_growth = True
    if gpus:
        config.gpu_options.visible_device_list = ",".join(map(str, gpus))
    if gpus and gpu_memory_bytes is not None:
        limit = gpu_memory_bytes / 2**20
        for _ in gpus:
            config.gpu_options.experimental.virtual_devices.add(memory_limit_mb=[limit])
    return config
