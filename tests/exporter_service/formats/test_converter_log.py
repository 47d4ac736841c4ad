from __future__ import annotations

import logging

import pytest

from exporter_service.formats.converter_log import failures_logged

CONVERSION = logging.getLogger("tf2onnx.tfonnx")


def test_errors_of_the_conversion_are_kept_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with failures_logged() as failures:
        CONVERSION.warning("slow")
        logging.getLogger("tf2onnx.rewriter.loop_rewriter").error("tried and given up")
        logging.getLogger("tensorflow").warning("deprecated")
        CONVERSION.error(
            "Failed to convert node %r (fct=%r)\n%r", "x", print, "its inputs",
            exc_info=ValueError("not along this axis"),
        )  # fmt: skip
    assert failures == ["Failed to convert node 'x': not along this axis"]
    assert not caplog.records
    assert not "".join(capfd.readouterr())


def test_afterwards_logging_is_as_it_was() -> None:
    converter, tensorflow = logging.getLogger("tf2onnx"), logging.getLogger("tensorflow")
    before = (converter.propagate, list(converter.handlers), tensorflow.level)
    with failures_logged():
        pass
    assert (converter.propagate, list(converter.handlers), tensorflow.level) == before
