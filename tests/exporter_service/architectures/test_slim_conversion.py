"""A net of tf_slim, converted as a whole: defaults, towers, proof."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from exporter_service.graphs.session import session_config
from exporter_service.specs.conversion import TowerOptions
from tests.support.digits import convert_and_prove, digits_spec
from tests.support.random_checkpoint import write_random_checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "mean", "output"),
    [
        ("slim/resnet_v1_50", (64, 64), 123.68, "predictions"),
        ("slim/inception_v1", None, 127.5, "Predictions"),
    ],
)
def test_a_net_of_slim_is_converted_with_its_own_defaults(
    tmp_path: Path, name: str, size: tuple[int, int] | None, mean: float, output: str
) -> None:
    (tmp_path / "run").mkdir()
    spec = write_random_checkpoint(tmp_path / "run", name)
    conversion_spec = digits_spec(
        "run", architecture=spec, root=tmp_path, preprocessing=None,
        towers=TowerOptions(cards=2, image_size=size),
    )  # fmt: skip
    done = convert_and_prove(conversion_spec, tmp_path)
    assert done.preprocessing.mean[0] == mean
    assert [tower.outputs[0].tensor_name for tower in done.towers] == [
        f"Card_{index}/{output}:0" for index in range(2)
    ]
    with tf.Graph().as_default(), tf.Session(config=session_config()) as session:
        content = (tmp_path / done.graph.file_name).read_bytes()
        tf.import_graph_def(tf.GraphDef.FromString(content), name="")
        shape = (2, *(size or (224, 224)), 3)
        images = np.random.default_rng(2).uniform(0, 255, shape)
        found = session.run(f"Card_1/{output}:0", {"Card_1/input:0": images})
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
