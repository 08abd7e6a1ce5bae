import shutil
from pathlib import Path

import pytest
from deb_throwaway import Throwaway

from lab import checkout, deb


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's files as they were when the package was built, which somebody may be working on."""
    to = tmp_path_factory.mktemp("source")
    for name in checkout.files():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checkout.ROOT / name, to / name)
    return to


@pytest.fixture(scope="session")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> deb.Built:
    """The package, built from the checkout once for all tests."""
    return deb.build(tmp_path_factory.mktemp("deb"))


@pytest.fixture
def throwaway(built: deb.Built, tmp_path: Path) -> Throwaway:
    """Somewhere to install it."""
    return Throwaway(tmp_path, built.deb)
