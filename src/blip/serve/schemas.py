"""What clients send and get: checked by pydantic, described in the OpenAPI."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from blip.generation.config import DecodingConfig

PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8z8DAwMDAxMDAwMDAAAANHQEDasKb6QAA"
    "AABJRU5ErkJggg=="
)
"""A PNG of two by two pixels, for the examples."""

Base64 = Annotated[
    str,
    Field(
        min_length=1,
        description="The bytes of a picture file in base64. Addresses are not fetched.",
        json_schema_extra={"contentEncoding": "base64"},
    ),
]
Text = Annotated[str, Field(max_length=1000)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=64)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CaptionRequest(_Request):
    """A picture, and how its captions are written."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"image": PICTURE},
                {"image": PICTURE, "decode": "nucleus", "top_p": 0.9, "captions": 3, "seed": 7},
            ]
        }
    )

    image: Base64
    decode: Literal["greedy", "beam", "nucleus"] = "beam"
    captions: Annotated[int, Field(ge=1, le=16)] = 1
    """Of greedy decoding 1, of beam search at most as many as beams."""
    beams: Annotated[int, Field(ge=1, le=16)] = 3
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    temperature: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    min_length: Annotated[int, Field(ge=0, le=64)] = 5
    max_length: Annotated[int, Field(ge=2, le=64)] = 20
    seed: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Of nucleus sampling: the same request gives the same captions."""
    prompt: Annotated[str, Field(max_length=200)] = ""
    """What the captions continue."""

    def decoding(self) -> DecodingConfig:
        """As the captioner takes it; raises RangeError for numbers that do not fit together."""
        return DecodingConfig(
            kind=self.decode,
            beams=self.beams,
            top_p=self.top_p,
            temperature=self.temperature,
            min_length=self.min_length,
            max_length=self.max_length,
            prompt=self.prompt,
        )


class MatchRequest(_Request):
    """A picture, and the texts that are matched against it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": PICTURE, "texts": ["a red circle", "two blue stars"]}]
        }
    )

    image: Base64
    texts: Texts


class AskRequest(_Request):
    """A picture and questions about it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": PICTURE, "questions": ["what colour is it?"]}]}
    )

    image: Base64
    questions: Annotated[list[Text], Field(min_length=1, max_length=16)]
    candidates: Annotated[list[Text], Field(min_length=1, max_length=1000)] | None = None
    """Answers to choose from; without them the model writes its own."""


class FeaturesRequest(_Request):
    """A picture, texts, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"image": PICTURE, "texts": ["a red circle"]}],
            "anyOf": [{"required": ["image"]}, {"required": ["texts"]}],
        }
    )

    image: Base64 | None = None
    texts: Texts | None = None


class AttentionRequest(_Request):
    """A picture, and the text whose words are looked up in it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": PICTURE, "text": "a red circle"}]}
    )

    image: Base64
    text: Annotated[str, Field(min_length=1, max_length=1000)]


class SearchRequest(_Request):
    """A text or a picture that is searched for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"text": "a red circle", "results": 5}],
            "oneOf": [{"required": ["text"]}, {"required": ["image"]}],
        }
    )

    text: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    image: Base64 | None = None
    results: Annotated[int, Field(ge=1, le=100)] = 10
    rerank: Annotated[int, Field(ge=0, le=100)] = 20
    """Best pictures of a text that ITM orders; 0 leaves the order by cosine."""
    thumbnails: bool = False


class ScoredCaption(BaseModel):
    """A caption and its likelihood under the model."""

    text: str
    log_likelihood: float
    log_likelihood_per_token: float
    tokens: int


class CaptionAnswer(BaseModel):
    """The captions, the best first."""

    model: str
    captions: list[ScoredCaption]


class Score(BaseModel):
    """How well a text matches: the probability (ITM), and the cosine of features (ITC)."""

    text: str
    probability: float
    cosine: float


class MatchAnswer(BaseModel):
    """The scores in the order of the texts."""

    model: str
    scores: list[Score]


class Answer(BaseModel):
    """The answer to a question."""

    question: str
    answer: str


class AskAnswer(BaseModel):
    """The answers in the order of the questions."""

    model: str
    answers: list[Answer]


class FeaturesAnswer(BaseModel):
    """Unit vectors, whose inner products are the cosines (ITC); null for what was not sent."""

    model: str
    image: list[float] | None
    texts: list[list[float]] | None


class WordLook(BaseModel):
    """A word, and the share of its attention that each patch has, row by row; together 1."""

    word: str
    weights: list[list[float]]


class AttentionAnswer(BaseModel):
    """The words of the text as the model reads it."""

    model: str
    words: list[WordLook]


class SearchHit(BaseModel):
    """A picture of the index."""

    rank: int
    key: str
    texts: list[str]
    cosine: float
    probability: float | None
    """ITM; null where it was not re-ranked."""
    thumbnail: str | None
    """A JPEG as a data address."""


class SearchAnswer(BaseModel):
    """What was found, the best first."""

    hits: list[SearchHit]


class ServiceFacts(BaseModel):
    """What the service does."""

    version: str
    can: dict[str, str]
    """Each functionality with the checkpoint, or the index, that does it."""
    pictures: int | None
    """Pictures of the index."""


class Problem(BaseModel):
    """What is wrong, in one line."""

    detail: str


class Health(BaseModel):
    """Whether the service works."""

    status: str


def json_schema(request: type[BaseModel]) -> dict[str, Any]:
    """The schema of a request in JSON."""
    return request.model_json_schema()


def form_schema(request: type[BaseModel]) -> dict[str, Any]:
    """The schema of a request as a form, whose picture is a file."""
    schema = request.model_json_schema()
    properties = {name: _of_form(value) for name, value in schema["properties"].items()}
    properties["image"] = {"type": "string", "format": "binary", "description": "A picture file."}
    kept = {name: schema[name] for name in ("required", "anyOf", "oneOf") if name in schema}
    return {"type": "object", "properties": properties, **kept}


def _of_form(schema: dict[str, Any]) -> dict[str, Any]:
    """A field that may be null in JSON is left out of a form."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**rest, **kinds[0]} if kinds else schema
