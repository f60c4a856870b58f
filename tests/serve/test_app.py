"""The HTTP application: answers are those of direct calls, errors are one line and never 5xx."""

import asyncio
import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from blip import DecodingConfig, Embedder, Index
from blip.errors import BlipError, NotFiniteError
from blip.inference.load import load
from blip.processes import usable_cpus
from blip.serve.app import make_app
from blip.serve.config import ServiceConfig
from blip.serve.models import Models
from blip.serve.service import Service
from tests.support.picture_index import write_tar
from tests.support.pictures import bomb, encode, photo, pixels
from tests.support.saved_models import save_tiny
from tests.support.service import as_json, open_models, with_service


@pytest.fixture(scope="module")
def med(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("med"))


@pytest.fixture(scope="module")
def models(med: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    return open_models(med, save_tiny(tmp_path_factory.mktemp("vqa"), "vqa"))


TEXTS = ["a red circle", "two stars", "a dog"]


def test_many_clients_get_each_their_own_answers(models: Models) -> None:
    pictures = [photo(seed) for seed in range(8)]
    med, vqa = models.models

    async def work(client: httpx.AsyncClient, service: Service) -> list[httpx.Response]:
        requests = []
        for number, picture in enumerate(pictures):
            texts = TEXTS[: 1 + number % 3]
            requests += [
                client.post("/v1/caption", json=as_json(picture, max_length=9)),
                client.post(
                    "/v1/caption",
                    files={"image": picture},
                    data={"decode": "greedy", "max_length": 9},
                ),
                client.post("/v1/match", files={"image": picture}, data={"texts": texts}),
                client.post("/v1/ask", json=as_json(picture, questions=texts)),
                client.post("/v1/features", json=as_json(picture, texts=texts)),
            ]
        answers = await asyncio.gather(*requests)
        metrics = (await client.get("/metrics")).text
        assert 'blip_batch_size_count{functionality="caption"}' in metrics
        assert f'blip_requests_total{{path="/v1/match",status="200"}} {len(pictures)}.0' in metrics
        batches = service.metrics.registry.get_sample_value(
            "blip_batch_size_count", {"functionality": "match"}
        )
        assert batches is not None
        assert batches < len(pictures) / 2
        return answers

    answers = [answer.raise_for_status().json() for answer in with_service(models, work)]
    beams, greedy = (DecodingConfig(kind=kind, max_length=9) for kind in ("beam", "greedy"))
    for number, picture in enumerate(pictures):
        beam, plain, match, ask, features = answers[5 * number : 5 * number + 5]
        texts = TEXTS[: 1 + number % 3]
        assert beam["captions"][0]["text"] == med.caption(picture, beams)
        ((expected,),) = med.captioner.scored_captions([picture], 1, greedy)
        assert plain["captions"][0]["text"] == expected.text
        likelihood = plain["captions"][0]["log_likelihood"]
        assert likelihood == pytest.approx(expected.log_likelihood, abs=1e-4)
        scores = med.match(picture, texts)
        assert [score["text"] for score in match["scores"]] == texts
        for score, of in zip(match["scores"], scores, strict=True):
            assert score["probability"] == pytest.approx(of.probability, abs=1e-5)
            assert score["cosine"] == pytest.approx(of.cosine, abs=1e-5)
        assert [one["answer"] for one in ask["answers"]] == vqa.ask(picture, texts)
        assert features["image"] == pytest.approx(med.image_features(picture), abs=1e-5)
        for one, text in zip(features["texts"], texts, strict=True):
            assert one == pytest.approx(med.text_features(text), abs=1e-5)
    assert len({tuple(one["image"]) for one in answers[4::5]}) == len(pictures)


def test_captions_are_sampled_by_seed_and_candidates_are_chosen(models: Models) -> None:
    nucleus = {"decode": "nucleus", "captions": 3, "seed": 7, "max_length": 8}

    async def work(client: httpx.AsyncClient, _: Service) -> list[Any]:
        bodies = [as_json(photo(), **nucleus)] * 2 + [as_json(photo(), **nucleus | {"seed": 8})]
        sampled = [await client.post("/v1/caption", json=body) for body in bodies]
        asked = as_json(photo(), questions=["what?"], candidates=["red", "a dog"])
        return [one.json() for one in [*sampled, await client.post("/v1/ask", json=asked)]]

    first, again, other, chosen = with_service(models, work)
    assert first == again != other
    decoding = DecodingConfig(kind="nucleus", max_length=8)
    captions = models.models[0].captioner.captions([photo()], 3, decoding, seeds=[[7, 8, 9]])
    assert [one["text"] for one in first["captions"]] == captions[0]
    assert chosen["answers"][0]["answer"] in ("red", "a dog")


def test_the_words_of_a_text_look_at_patches(models: Models) -> None:
    async def work(client: httpx.AsyncClient, _: Service) -> Any:
        body = as_json(photo(), text="A red circle.")
        return (await client.post("/v1/attention", json=body)).raise_for_status().json()

    words = with_service(models, work)["words"]
    assert [one["word"] for one in words] == ["a", "red", "circle"]
    for one in words:
        assert [len(row) for row in one["weights"]] == [2, 2]
        assert sum(map(sum, one["weights"])) == pytest.approx(1)
    assert words[0]["weights"] != words[1]["weights"]


def test_an_index_is_searched_by_text_and_picture(med: Path, tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", range(5))
    index = Index.build([str(shard)], tmp_path / "index", med)

    async def work(client: httpx.AsyncClient, _: Service) -> list[httpx.Response]:
        return [
            await client.post("/v1/search", json={"text": "a dog", "results": 3}),
            await client.post(
                "/v1/search", files={"image": photo(3)}, data={"results": 2, "thumbnails": "true"}
            ),
            await client.post("/v1/search", json=as_json(photo(3), text="both")),
            await client.get("/v1/service"),
        ]

    served = Models([], index)
    text, picture, both, facts = with_service(served, work)
    expected = index.search("a dog", 3)
    hits = text.json()["hits"]
    assert [hit["key"] for hit in hits] == [hit.row.key for hit in expected]
    assert hits[0]["probability"] == pytest.approx(expected[0].probability, abs=1e-5)
    assert hits[0]["thumbnail"] is None
    best = picture.json()["hits"][0]
    assert (best["key"], best["texts"]) == ("0003", ["text 3"])
    assert best["cosine"] == pytest.approx(1, abs=1e-5)
    assert best["thumbnail"].startswith("data:image/jpeg;base64,")
    assert both.status_code == 422
    assert facts.json()["pictures"] == 5
    assert set(facts.json()["can"]) == {"search"}


def test_what_no_checkpoint_can_do_is_said_in_one_line(tmp_path: Path) -> None:
    served = open_models(save_tiny(tmp_path / "vqa", "vqa"))

    async def work(client: httpx.AsyncClient, _: Service) -> list[httpx.Response]:
        paths = ("caption", "match", "features", "attention", "search")
        return [await client.post(f"/v1/{path}", json=as_json(photo())) for path in paths]

    caption, *others = with_service(served, work)
    assert {one.status_code for one in (caption, *others)} == {404}
    assert caption.json()["detail"] == (
        "this service can do ask, but not caption; start it with "
        "hf:Salesforce/blip-image-captioning-base, too, or with another checkpoint that can"
    )
    assert others[-1].json()["detail"].endswith("start it with --index DIR")


def exif_bomb() -> bytes:
    """A sound header of a TIFF, and nothing behind it."""
    return encode(Image.fromarray(pixels()), "TIFF")[:60]


TWO_PICTURES = {"files": [("image", photo()), ("image", photo())]}
GARBAGE: list[tuple[int, dict[str, Any]]] = [
    (422, {"json": as_json(photo()[:200])}),
    (422, {"json": as_json(photo()[:-10], decode="greedy", captions=2)}),
    (422, {"json": as_json(bomb())}),
    (422, {"files": {"image": bomb()}}),
    (422, {"files": {"image": exif_bomb()}}),
    (422, {"files": {"image": b""}}),
    (422, {"files": {"image": b"GIF89a" + bytes(20)}}),
    (422, {"files": {"other": photo()}}),
    (422, TWO_PICTURES),
    (422, {"json": {"image": "https://example.org/photo.jpg"}}),
    (422, {"json": {"image": "data:image/png;base64,AAAA"}}),
    (422, {"json": {"image": "*"}}),
    (422, {"json": {"image": 7}}),
    (422, {"json": {}}),
    (422, {"json": []}),
    (422, {"content": b"", "headers": {"content-type": "application/json"}}),
    (422, {"content": b'{"image": "\\ud800"}', "headers": {"content-type": "application/json"}}),
    (422, {"content": b"[" * 10_000, "headers": {"content-type": "application/json"}}),
    (422, {"content": b"\xff\xfe", "headers": {"content-type": "application/json"}}),
    (422, {"json": as_json(photo(), beams=3.5)}),
    (422, {"json": as_json(photo(), beams=10**30)}),
    (422, {"json": as_json(photo(), decode="fast")}),
    (422, {"json": as_json(photo(), min_length=30)}),
    (422, {"json": as_json(photo(), captions=5)}),
    (422, {"json": as_json(photo(), max_length=64)}),
    (422, {"json": as_json(photo(), prompt="a " * 60)}),
    (422, {"json": as_json(photo(), more=1)}),
    (422, {"files": {"image": photo()}, "data": {"beams": "many"}}),
    (422, {"files": {"image": photo()}, "data": {"image": "text"}}),
    (422, {"data": {"image": "text"}, "files": {"prompt": b"x"}}),
    (422, {"content": b"", "headers": {"content-type": "multipart/form-data"}}),
    (422, {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}}),
    (
        422,
        {
            "content": b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--',
            "headers": {"content-type": "multipart/form-data; boundary=x; charset=punycode"},
        },
    ),
    (415, {"content": b"a=b", "headers": {"content-type": "application/x-www-form-urlencoded"}}),
    (415, {"content": photo()}),
    (413, {"files": {"image": bytes(2_000_001)}}),
]


def test_garbage_is_refused_in_one_line(models: Models) -> None:
    async def work(client: httpx.AsyncClient, service: Service) -> list[httpx.Response]:
        answers = [await client.post("/v1/caption", **request) for _, request in GARBAGE]
        sound = await client.post("/v1/caption", json=as_json(photo()))
        assert sound.status_code == 200
        assert service.receiver.held == 0
        return answers

    answers = with_service(models, work, ServiceConfig(max_body=2.0))
    assert [answer.status_code for answer in answers] == [status for status, _ in GARBAGE]
    details = [answer.json()["detail"] for answer in answers]
    twice = details[GARBAGE.index((422, TWO_PICTURES))]
    assert twice == "the form cannot be read: Too many files. Maximum number of files is 1."
    for answer in answers:
        assert set(answer.json()) == {"detail"}
        assert "\n" not in answer.json()["detail"]
        assert len(answer.content) < 1000


class Gate:
    """Holds the model until it may."""

    def __init__(self, models: Models) -> None:
        self.models, self.may, self.calls = models, threading.Event(), 0

    def run(self, work: Any, payloads: Sequence[Any]) -> Sequence[Any]:
        self.calls += 1
        assert self.may.wait(30)
        return self.models.run(work, payloads)


def held(service: Service) -> Gate:
    gate = Gate(service.models)
    service.batcher._run = gate.run
    return gate


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def test_a_full_queue_gives_429_and_is_not_ready(models: Models) -> None:
    async def work(client: httpx.AsyncClient, service: Service) -> None:
        gate = held(service)
        post = [
            asyncio.create_task(client.post("/v1/caption", json=as_json(photo(n))))
            for n in range(3)
        ]
        await until(lambda: gate.calls == 1 and service.batcher.waiting == 2)
        for method in ("GET", "HEAD"):
            assert (await client.request(method, "/healthz")).status_code == 200
            assert (await client.request(method, "/readyz")).status_code == 503
        refused = await client.post("/v1/match", json=as_json(photo(), texts=["a"]))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        gate.may.set()
        assert [(await one).status_code for one in post] == [200] * 3
        assert (await client.get("/readyz")).json() == {"status": "ready"}

    with_service(models, work, ServiceConfig(queue=2, batch_size=1, max_wait=0.0))


def test_deadlines_give_503_in_the_queue_and_504_in_the_model(models: Models) -> None:
    async def work(client: httpx.AsyncClient, service: Service) -> None:
        gate = held(service)
        bodies = [as_json(photo(n)) for n in range(2)]
        first = asyncio.create_task(client.post("/v1/caption", json=bodies[0]))
        await until(lambda: gate.calls == 1)
        second = asyncio.create_task(client.post("/v1/caption", json=bodies[1]))
        answers = await asyncio.gather(first, second)
        assert [answer.status_code for answer in answers] == [504, 503]
        assert "retry-after" in answers[1].headers
        gate.may.set()
        assert (await client.post("/v1/caption", json=bodies[0])).status_code == 200

    with_service(models, work, ServiceConfig(deadline=0.7, batch_size=1, max_wait=0.0))


def test_thumbnails_are_read_within_the_deadline_and_keep_no_picture_waiting(
    med: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.build([str(write_tar(tmp_path / "a.tar", range(3)))], tmp_path / "index", med)
    read, may, threads = Index.pictures, threading.Event(), list[str]()

    def wait_and_read(*given: Any, **named: Any) -> Any:
        threads.append(threading.current_thread().name)
        assert may.wait(30)
        return read(*given, **named)

    monkeypatch.setattr(Index, "pictures", wait_and_read)
    # What is imported for the first search must not take the time.
    index.search("a dog")

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        body = {"text": "a dog", "thumbnails": True}
        searches = [client.post("/v1/search", json=body) for _ in range(usable_cpus() + 2)]
        for late in await asyncio.gather(*searches):
            assert late.status_code == 504
            assert late.json() == {"detail": "the deadline passed while thumbnails were read"}
        # The threads that read them are not free yet.
        match = await client.post("/v1/match", json=as_json(photo(), texts=TEXTS))
        match.raise_for_status()
        may.set()
        hits = (await client.post("/v1/search", json=body)).raise_for_status().json()["hits"]
        assert all(hit["thumbnail"] for hit in hits)

    models = Models([load(med, "cpu")], index)
    with_service(models, work, ServiceConfig(deadline=3.0, max_wait=0.0))
    assert {name.rpartition("_")[0] for name in threads} == {"blip-thumbnail"}


def test_a_client_that_leaves_is_not_computed_for(models: Models) -> None:
    async def work(client: httpx.AsyncClient, service: Service) -> int:
        gate = held(service)
        first = asyncio.create_task(client.post("/v1/caption", json=as_json(photo())))
        await until(lambda: gate.calls == 1)
        gone = asyncio.Event()
        leaving = asyncio.create_task(leave(client, gone))
        await until(lambda: service.batcher.waiting == 1)
        gone.set()
        await until(lambda: service.batcher.waiting == 0)
        assert await leaving == 499
        gate.may.set()
        assert (await first).status_code == 200
        assert service.receiver.held == 0
        assert "blip_clients_left_total 1.0" in (await client.get("/metrics")).text
        return gate.calls

    assert with_service(models, work, ServiceConfig(max_wait=0.0)) == 1


async def leave(client: httpx.AsyncClient, gone: asyncio.Event) -> int:
    """The status for a request whose client closes its connection while it waits."""
    request = client.build_request("POST", "/v1/caption", json=as_json(photo()))
    body, statuses = [request.read()], list[int]()

    async def receive() -> dict[str, Any]:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/caption",
        "raw_path": b"/v1/caption",
        "query_string": b"",
        "headers": [(k.lower(), v) for k, v in request.headers.raw],
        "server": ("service", 80),
        "scheme": "http",
    }
    await client._transport.app(scope, receive, send)
    (status,) = statuses
    return status


def test_a_body_that_does_not_come_in_time_gives_408(models: Models) -> None:
    async def slow():
        yield b'{"image": "'
        await asyncio.sleep(20)

    async def work(client: httpx.AsyncClient, service: Service) -> int:
        headers = {"content-type": "application/json"}
        answer = await client.post("/v1/caption", content=slow(), headers=headers)
        assert service.receiver.held == 0
        return answer.status_code

    assert with_service(models, work, ServiceConfig(deadline=0.1)) == 408


def test_all_bodies_together_are_bounded(models: Models) -> None:
    begun = asyncio.Event()

    async def half(rest: asyncio.Event):
        yield bytes(900_000)
        begun.set()
        await rest.wait()

    async def work(client: httpx.AsyncClient, service: Service) -> list[int]:
        headers, rest = {"content-type": "application/json"}, asyncio.Event()
        first = asyncio.create_task(client.post("/v1/caption", content=half(rest), headers=headers))
        await until(lambda: service.receiver.held > 0)
        second = await client.post("/v1/caption", content=bytes(900_000), headers=headers)
        rest.set()
        return [(await first).status_code, second.status_code]

    config = ServiceConfig(max_body=1.0, max_bodies=1.5)
    assert with_service(models, work, config) == [422, 429]


def test_one_image_is_read_in_many_forms(models: Models) -> None:
    image = Image.fromarray(pixels())
    kinds = [encode(image, kind) for kind in ("PNG", "BMP", "TIFF", "WEBP")]
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(turned, "PNG", exif=exif)

    async def work(client: httpx.AsyncClient, _: Service) -> list[Any]:
        return [
            (await client.post("/v1/features", files={"image": one})).json()["image"]
            for one in (*kinds, turned.getvalue())
        ]

    *same, rotated = with_service(models, work)
    assert same[0] == pytest.approx(same[1], abs=1e-5)
    assert same[0] == pytest.approx(same[2], abs=1e-5)
    assert rotated != pytest.approx(same[0], abs=1e-3)


def test_the_first_checkpoint_that_can_does_it(med: Path, tmp_path: Path) -> None:
    other = save_tiny(tmp_path / "other")
    served = open_models(other, med)
    assert set(served.can().values()) == {str(other)}
    assert served.model_for("caption") is served.models[0]
    assert Embedder.load(med).projection == load(other).embedder.projection


def test_it_is_described_with_examples_that_work(models: Models) -> None:
    async def work(client: httpx.AsyncClient, _: Service) -> None:
        described = (await client.get("/openapi.json")).json()
        for path in ("caption", "match", "ask", "features", "attention", "search"):
            operation = described["paths"][f"/v1/{path}"]["post"]
            content = operation["requestBody"]["content"]
            assert set(content) == {"application/json", "multipart/form-data"}
            if path == "search":
                continue
            for example in content["application/json"]["examples"].values():
                answer = await client.post(f"/v1/{path}", json=example["value"])
                assert answer.status_code == 200, answer.text

    with_service(models, work)


def test_it_answers_under_its_own_names_alone_and_loads_nothing_from_elsewhere(
    models: Models,
) -> None:
    app = make_app(models, hosts=("127.0.0.1", "proxy.example.org"))

    async def work() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8") as client:
            evil = await client.get("/v1/service", headers={"host": "evil.example.org"})
            proxy = await client.get("/v1/service", headers={"host": "proxy.example.org"})
            assert (evil.status_code, proxy.status_code) == (400, 200)
            answer = await client.get("/docs")
            assert answer.status_code == 404
            assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")

    asyncio.run(work())


def test_a_filter_matches_though_a_captioner_could(med: Path, tmp_path: Path) -> None:
    judge = save_tiny(tmp_path / "judge")
    served = Models([load(med, "cpu")], filter=load(judge, "cpu"))
    of = served.can()
    assert {name for name, source in of.items() if source == str(judge)} == {"match", "features"}
    assert served.model_for("match") is served.filter
    assert of["caption"] == of["attention"] == str(med)


@pytest.mark.parametrize("texts", [[""], ["..."], ["a dog", " # "]])
def test_texts_without_words_match_nothing(models: Models, texts: list[str]) -> None:
    async def work(client: httpx.AsyncClient, _: Service) -> list[httpx.Response]:
        return [
            await client.post("/v1/match", json=as_json(photo(), texts=texts)),
            await client.post("/v1/match", files={"image": photo()}, data={"texts": texts}),
        ]

    for answer in with_service(models, work):
        assert answer.status_code == 422
        said = f"`texts` is {texts[-1]!r}; allowed: a text with words"
        assert answer.json() == {"detail": said}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotFiniteError("the model gave NaN"), "the model gave NaN"),
        (BlipError("the checkpoint\nis gone"), "the checkpoint is gone"),
        (RuntimeError("/secret"), "the service failed; its log says why"),
    ],
)
def test_what_goes_wrong_in_the_service_is_json_as_well(
    models: Models, error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    async def ask() -> httpx.Response:
        app = make_app(models)
        service: Service = app.state.service
        service.batcher._run = fail
        # As a server does, it goes on after what is raised when the answer has been sent.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            service.running(),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            return await client.post("/v1/match", json=as_json(photo(), texts=TEXTS))

    answer = asyncio.run(ask())
    assert answer.status_code == 500
    assert answer.json() == {"detail": said}
    assert answer.headers["x-content-type-options"] == "nosniff"
    logged = f"/v1/match: {said}\n" if isinstance(error, BlipError) else ""
    assert logged in capsys.readouterr().err
