"""The one place where OpenVINO is imported."""

from __future__ import annotations

import sys
import threading
from typing import Any

# Its converter, which a server has no use for: it reads graphs by `read_model`. Importing it brings
# a package that sends telemetry, and takes time and memory.
_CONVERTER = "openvino.tools.ovc"
_importing = threading.Lock()


def import_openvino() -> Any:
    """Returns the module `openvino`, without its converter.

    Raises:
        ImportError: it is not installed, or cannot be loaded here.
    """
    with _importing:
        kept_out = "openvino" not in sys.modules and _CONVERTER not in sys.modules
        if kept_out:
            # Whoever imports this now is told that it is not there, which `openvino` allows for.
            sys.modules[_CONVERTER] = None  # type: ignore[assignment]
        try:
            import openvino

            return openvino
        finally:
            if kept_out:
                del sys.modules[_CONVERTER]
