"""One exported folder for all tests, which only read it."""

import pytest

from tests.support.exported_models import Exported, export_tiny


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_tiny(tmp_path_factory.mktemp("exported"))
