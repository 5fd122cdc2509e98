"""The embedding model: the published numbers, and what they are for."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_images.ai_memory.embedding import Embedder, model_folder
from app_images.ai_memory.minilm import BATCH, MiniLM, batches
from app_images.ai_memory.ranking import score


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM(model_folder())


def test_similarities_are_those_of_the_published_model(model):
    """The example in the documentation of sentence-transformers for all-MiniLM-L6-v2."""
    vectors = model.embed(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, published, atol=6e-5)


@pytest.mark.parametrize(
    ("query", "right", "wrong"),
    [
        ("a fast car", "the automobile drives at high speed", "the recipe needs two eggs"),
        ("database crashed", "Postgres stopped responding", "the meeting is on Monday"),
        ("What is my dog called?", "The puppy's name is Rex", "The cat food is in the kitchen"),
        ("holiday by the sea", "vacation at the beach", "quarterly tax report"),
    ],
)
def test_texts_that_mean_the_same_are_closer(model, query, right, wrong):
    asked, near, far = model.embed([query, right, wrong])
    assert asked @ near > asked @ far + 0.15


def test_a_text_has_one_vector_whatever_it_is_computed_with(model):
    texts = ["short", "a somewhat longer sentence about gardens", "x " * 400, "short"]
    together = model.embed(texts)
    alone = np.concatenate([model.embed([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_the_end_of_a_long_text_counts(model):
    filler = "The minutes of the meeting were approved without changes. " * 40
    asked, plain, with_end = model.embed(["Where is the spare key?", filler, filler + "The spare key is under the flower pot. " * 20])
    assert asked @ with_end > asked @ plain + 0.1


@pytest.mark.parametrize("text", ["", " ", "\u4f60\u597d", "\U0001f600" * 50, "a" * 5000, "[CLS] [SEP]"])
def test_any_text_has_a_vector(model, text):
    vector = model.embed([text])[0]
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@given(st.lists(st.integers(2, 256), max_size=60))
def test_batches_hold_every_text_once_and_little_padding(lengths):
    groups = batches(lengths)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        inside = [lengths[index] for index in group]
        assert len(group) <= BATCH
        assert max(inside) <= 1.5 * min(inside) + 4


def test_callers_that_come_together_get_each_its_own_vector(model):
    texts = [f"text number {index}" for index in range(20)]

    async def run():
        embedder = Embedder()
        await embedder.initialize()
        gone = asyncio.create_task(embedder.embed("never mind"))
        tasks = [asyncio.create_task(embedder.embed(text)) for text in texts]
        await asyncio.sleep(0)
        gone.cancel()
        results = await asyncio.gather(*tasks)
        await embedder.shutdown()
        return results

    np.testing.assert_allclose(asyncio.run(run()), model.embed(texts), atol=2e-6)


def test_a_broken_computation_reaches_its_caller_and_not_the_next(monkeypatch):
    async def run():
        embedder = Embedder()
        await embedder.initialize()
        good = embedder._model.embed
        monkeypatch.setattr(embedder._model, "embed", lambda texts: good(texts) if texts == ["good"] else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await embedder.embed("bad")
        assert len(await embedder.embed("good")) == 384
        await embedder.shutdown()
        with pytest.raises(RuntimeError):
            await embedder.embed("late")

    asyncio.run(run())


@given(st.floats(-1, 1), st.floats(0, 1))
def test_the_score_is_between_0_and_1_and_grows_with_both(similarity, coverage):
    assert 0 <= score(similarity, coverage) <= 1
    assert score(1, coverage) >= score(similarity, coverage) >= score(-1, coverage)
    assert score(similarity, 1) >= score(similarity, coverage) >= score(similarity, 0)
