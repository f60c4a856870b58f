"""What a client can ask a model: captions, matches, answers, features, attention, search."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel

from blip.data.captions import check_words
from blip.generation.config import check_captions
from blip.inference.pixels import NormalisedImage
from blip.serve import schemas
from blip.serve.models import Answers, Attention, Captions, Features, Functionality, Matches, Search
from blip.serve.service import Service

ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"model": schemas.Problem, "description": "No checkpoint of the service can do this."},
    408: {"model": schemas.Problem, "description": "The request did not come in time."},
    413: {"model": schemas.Problem, "description": "The request is too large."},
    415: {"model": schemas.Problem, "description": "Neither JSON nor a form."},
    422: {"model": schemas.Problem, "description": "A field, or the picture, cannot be used."},
    429: {"model": schemas.Problem, "description": "Too many requests wait; see Retry-After."},
    500: {"model": schemas.Problem, "description": "The model, or the service, failed."},
    503: {"model": schemas.Problem, "description": "The deadline passed while it waited."},
    504: {"model": schemas.Problem, "description": "The deadline passed while it was worked on."},
}

router = APIRouter(prefix="/v1", tags=["model"])


def service_of(request: Request) -> Service:
    """The service of the application."""
    return request.app.state.service


TheService = Annotated[Service, Depends(service_of)]


def takes(schema: type[BaseModel]) -> dict[str, Any]:
    """The arguments of a route whose requests come as JSON or as a form."""
    content = {
        "application/json": {
            "schema": schemas.json_schema(schema),
            "examples": _examples(schema),
        },
        "multipart/form-data": {"schema": schemas.form_schema(schema)},
    }
    body = {"required": True, "content": content}
    return {"responses": ERRORS, "openapi_extra": {"requestBody": body}}


def _examples(schema: type[BaseModel]) -> dict[str, Any]:
    examples = schemas.json_schema(schema)["examples"]
    return {f"example {number}": {"value": one} for number, one in enumerate(examples, 1)}


@router.post("/caption", summary="Captions of a picture", **takes(schemas.CaptionRequest))
async def caption(request: Request, service: TheService) -> schemas.CaptionAnswer:
    """Write captions, each with its likelihood under the model."""

    async def work(
        fields: schemas.CaptionRequest, image: NormalisedImage | None, deadline: float
    ) -> schemas.CaptionAnswer:
        decoding = fields.decoding()
        check_captions(fields.captions, decoding)
        seeds = [fields.seed + number for number in range(fields.captions)]
        found = await service.submit(Captions(decoding, fields.captions), (image, seeds), deadline)
        captions = [
            schemas.ScoredCaption(
                text=one.text,
                log_likelihood=one.log_likelihood,
                log_likelihood_per_token=one.log_likelihood_per_token,
                tokens=one.tokens,
            )
            for one in found
        ]
        return schemas.CaptionAnswer(model=_model(service, "caption"), captions=captions)

    return await service.answer(request, "caption", schemas.CaptionRequest, work)


@router.post("/match", summary="How well texts match a picture", **takes(schemas.MatchRequest))
async def match(request: Request, service: TheService) -> schemas.MatchAnswer:
    """The probability of a match (ITM) and the cosine of the features (ITC) of each text."""

    async def work(
        fields: schemas.MatchRequest, image: NormalisedImage | None, deadline: float
    ) -> schemas.MatchAnswer:
        for text in fields.texts:
            check_words("texts", text)
        found = await service.submit(Matches(), (image, fields.texts), deadline)
        scores = [
            schemas.Score(text=text, probability=score.probability, cosine=score.cosine)
            for text, score in zip(fields.texts, found, strict=True)
        ]
        return schemas.MatchAnswer(model=_model(service, "match"), scores=scores)

    return await service.answer(request, "match", schemas.MatchRequest, work)


@router.post("/ask", summary="Answers to questions about a picture", **takes(schemas.AskRequest))
async def ask(request: Request, service: TheService) -> schemas.AskAnswer:
    """Written answers, or the likeliest of `candidates`.

    A model for dialogues reads the questions one after another, each after those before it.
    """

    async def work(
        fields: schemas.AskRequest, image: NormalisedImage | None, deadline: float
    ) -> schemas.AskAnswer:
        candidates = None if fields.candidates is None else tuple(fields.candidates)
        found = await service.submit(Answers(candidates), (image, fields.questions), deadline)
        answers = [
            schemas.Answer(question=question, answer=answer)
            for question, answer in zip(fields.questions, found, strict=True)
        ]
        return schemas.AskAnswer(model=_model(service, "ask"), answers=answers)

    return await service.answer(request, "ask", schemas.AskRequest, work)


@router.post(
    "/features", summary="Features of a picture and of texts", **takes(schemas.FeaturesRequest)
)
async def features(request: Request, service: TheService) -> schemas.FeaturesAnswer:
    """Unit vectors, whose inner products are the cosines (ITC)."""

    async def work(
        fields: schemas.FeaturesRequest, image: NormalisedImage | None, deadline: float
    ) -> schemas.FeaturesAnswer:
        if image is None and fields.texts is None:
            raise HTTPException(422, "`image` or `texts` must be there")
        of_image = of_texts = None
        if image is not None:
            of_image = (await service.submit(Features("image"), image, deadline)).tolist()
        if fields.texts is not None:
            of_texts = (await service.submit(Features("text"), fields.texts, deadline)).tolist()
        return schemas.FeaturesAnswer(
            model=_model(service, "features"), image=of_image, texts=of_texts
        )

    return await service.answer(request, "features", schemas.FeaturesRequest, work)


@router.post(
    "/attention", summary="Which patches a word looks at", **takes(schemas.AttentionRequest)
)
async def attention(request: Request, service: TheService) -> schemas.AttentionAnswer:
    """Cross-attention of each word of a text over the picture's patches."""

    async def work(
        fields: schemas.AttentionRequest, image: NormalisedImage | None, deadline: float
    ) -> schemas.AttentionAnswer:
        found = await service.submit(Attention(), (image, fields.text), deadline)
        words = [schemas.WordLook(word=one.word, weights=one.weights.tolist()) for one in found]
        return schemas.AttentionAnswer(model=_model(service, "attention"), words=words)

    return await service.answer(request, "attention", schemas.AttentionRequest, work)


@router.post("/search", summary="Pictures of the index", **takes(schemas.SearchRequest))
async def search(request: Request, service: TheService) -> schemas.SearchAnswer:
    """Pictures of the index that match a text, or are like a picture."""

    async def work(
        fields: schemas.SearchRequest, image: NormalisedImage | None, deadline: float
    ) -> schemas.SearchAnswer:
        if (image is None) == (fields.text is None):
            raise HTTPException(422, "`text` or `image` must be there, and one of them only")
        query = fields.text if image is None else image
        found = await service.submit(Search(fields.results, fields.rerank), query, deadline)
        pictures = [None] * len(found)
        if fields.thumbnails:
            pictures = await service.thumbnails(found, deadline)
        hits = [
            schemas.SearchHit(
                rank=rank,
                key=hit.row.key,
                texts=list(hit.row.texts),
                cosine=hit.cosine,
                probability=hit.probability,
                thumbnail=picture,
            )
            for rank, (hit, picture) in enumerate(zip(found, pictures, strict=True), 1)
        ]
        return schemas.SearchAnswer(hits=hits)

    return await service.answer(request, "search", schemas.SearchRequest, work)


def _model(service: Service, job: Functionality) -> str:
    return service.models.can()[job]
