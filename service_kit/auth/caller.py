"""The caller and the method of the rpc that runs, for whoever counts by them."""

from __future__ import annotations

from contextvars import ContextVar

# Of callers when there is nothing to know them by.
ANONYMOUS = "anonymous"

current_caller: ContextVar[str] = ContextVar("current_caller", default=ANONYMOUS)

# Full name: `/package.Service/Method`; empty: what runs was asked for in another way than by rpc.
current_method: ContextVar[str] = ContextVar("current_method", default="")
