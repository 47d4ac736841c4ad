"""TensorFlow's and TensorFlow Serving's messages, without TensorFlow.

No small package has them: `tensorflow-serving-api` requires TensorFlow. So those that are used
here are written down in `protos/foreign`, with the packages, names and numbers of the originals.
They live in a pool of descriptors of their own, where they do not clash with TensorFlow's in the
same process; the two exchange bytes, and no messages.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def _pool() -> Any:
    made = descriptor_pool.DescriptorPool()
    image = files("pbserve").joinpath("tensorflow.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(image).file:
        made.AddSerializedFile(file.SerializeToString())
    return made


POOL = _pool()


def message_class(name: str) -> Any:
    """Returns the class of a message by its full name, `tensorflow.GraphDef` for example.

    Raises:
        KeyError: it is not among those that are used here.
    """
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


GraphDef = message_class("tensorflow.GraphDef")
NodeDef = message_class("tensorflow.NodeDef")
