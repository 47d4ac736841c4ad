from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.graphs.graph_file import check_size
from service_kit import errors


def test_more_weights_than_a_file_holds_are_refused_before_anything_is_written() -> None:
    # As large as it says, without the memory.
    large = np.broadcast_to(np.float32(1), (600, 1_000_000))
    check_size(tf.Graph(), {"w": large[:500]})
    with pytest.raises(errors.Unconvertible, match=r"would have 2400000000 bytes.* SavedModel"):
        check_size(tf.Graph(), {"w": large})
