"""What the tools take and return. The limits are part of the tools' schemas, so that a client sees them beforehand."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

MAX_CONTENT = 8000
MAX_TAGS = 20
MAX_METADATA = 32
MAX_METADATA_TEXT = 1000
MAX_IDS = 100
MAX_RECALL = 50
MAX_PAGE = 100

# Larger than any valid call: 8000 characters of 4 bytes, escaped, with metadata.
MAX_BODY_BYTES = 256 * 1024


def _storable(value: str) -> str:
    """Postgres stores any text but NUL; half a surrogate pair is no text at all."""
    if "\x00" in value:
        raise ValueError("contains the character NUL, which cannot be stored; remove it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("contains half a surrogate pair, which is not valid Unicode; remove it") from None
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; give it some text")
    return value


def _distinct(tags: list[str]) -> list[str]:
    return sorted(set(tags))


Text = Annotated[str, AfterValidator(_storable)]
Namespace = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$"),
    Field(description="Whose memories these are; namespaces do not see each other. Letters, digits and . _ : / @ -, 128 at most."),
]
Content = Annotated[
    Text,
    Field(min_length=1, max_length=MAX_CONTENT, description="The memory as text; a sentence or a paragraph works best."),
    AfterValidator(_not_blank),
]
Query = Annotated[
    Text,
    Field(min_length=1, max_length=MAX_CONTENT, description="What to look for, in ordinary words."),
    AfterValidator(_not_blank),
]
Tag = Annotated[Text, StringConstraints(pattern=r"^[^\s,]{1,64}$")]
Tags = Annotated[
    list[Tag],
    Field(max_length=MAX_TAGS, description="Labels, 1-64 characters each without blanks and commas."),
    AfterValidator(_distinct),
]
Metadata = Annotated[
    dict[
        Annotated[Text, StringConstraints(min_length=1, max_length=64)],
        Annotated[Text, StringConstraints(max_length=MAX_METADATA_TEXT)]
        | bool
        | Annotated[int, Field(ge=-(2**63), lt=2**63)]
        | Annotated[float, Field(allow_inf_nan=False)]
        | None,
    ],
    Field(max_length=MAX_METADATA, description="Flat facts about the memory: texts, numbers, booleans."),
]
MemoryId = Annotated[UUID, Field(description="Id of a memory, as store, recall and list return it.")]


class Memory(BaseModel):
    """One memory."""

    id: MemoryId
    namespace: str
    content: str
    tags: list[str]
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class Stored(BaseModel):
    """What `store` did."""

    memory: Memory
    created: bool = Field(description="False where the namespace had a memory with exactly this content: it was updated.")


class Match(BaseModel):
    """A recalled memory and why it is here."""

    memory: Memory
    score: float = Field(description="0 (unrelated) to 1: 0.7 * similarity + 0.3 * coverage.")
    similarity: float = Field(description="Closeness in meaning: cosine of the embeddings, -1 to 1.")
    coverage: float = Field(description="Share of the query's words that the memory contains, 0 to 1.")


class Recalled(BaseModel):
    """The memories that fit best, best first."""

    matches: list[Match]


class Page(BaseModel):
    """A part of a namespace, newest first."""

    memories: list[Memory]
    next_cursor: str | None = Field(description="Give it to the next call to continue; null at the end.")


class Forgotten(BaseModel):
    """What `forget` did."""

    forgotten: int = Field(description="Number of memories that were deleted; those that did not exist do not count.")
