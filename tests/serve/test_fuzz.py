"""Requests made from the OpenAPI, right and wrong ones: never 5xx, and only documented answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from blip import Index
from blip.inference.load import load
from blip.serve.config import ServiceConfig
from blip.serve.models import Models
from tests.support.picture_index import write_tar
from tests.support.saved_models import save_tiny
from tests.support.service import serving_in_thread

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
PATHS = ("caption", "match", "ask", "features", "attention", "search")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a service in another thread, with everything that one can do."""
    folder: Path = tmp_path_factory.mktemp("service")
    med, vqa = save_tiny(folder / "med"), save_tiny(folder / "vqa", "vqa")
    index = Index.build([str(write_tar(folder / "a.tar", range(3)))], folder / "index", med)
    models = Models([load(med), load(vqa)], index)
    with serving_in_thread(models, ServiceConfig(max_wait=0.0)) as found:
        yield found


@pytest.fixture(scope="module")
def api(address: str) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_requests_of_every_kind_get_documented_answers(
    address: str, api: schemathesis.schemas.BaseSchema, path: str, mode: GenerationMode
) -> None:
    rejected = [negative_data_rejection] if mode is GenerationMode.NEGATIVE else []

    @settings(max_examples=6, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=api[f"/v1/{path}"]["POST"].as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        answer = case.call(base_url=address, timeout=30)
        case.validate_response(answer, checks=[*CHECKS, *rejected])

    check()
