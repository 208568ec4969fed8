"""What every test stands on: one thread, a cache of its own, no connection to anywhere, and a visible skip where data is missing."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")
torch.set_num_threads(1)
pytest.register_assert_rewrite("generated_tasks", "gradient_world")  # what they check shows its figures where it fails


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the data mirror, by name, where there is none."""
    if not os.environ.get("METAMEDICA_DATA"):
        for item in items:
            if item.get_closest_marker("mirror"):
                item.add_marker(pytest.mark.skip(reason="needs the data mirror: METAMEDICA_DATA is not set"))


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Undo what a shell does to jobs in the background: it lets them ignore Ctrl-C, and their children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METAMEDICA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _no_connections() -> Iterator[None]:
    """Refuse every connection but to this machine: the product makes none."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and not (
            isinstance(address, tuple) and str(address[0]) in ("127.0.0.1", "::1", "localhost")
        ):
            raise AssertionError(f"a connection to {address!r} was tried; the product makes none")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        yield
