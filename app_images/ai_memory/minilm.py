"""The sentence-transformers model all-MiniLM-L6-v2, computed with numpy.

The model is small (22.7 million parameters, six layers), and a memory is a sentence or a paragraph. For that, numpy with
its BLAS takes milliseconds, in 20 MB of libraries; the usual runtime would bring about a gigabyte. The price: this file
knows the architecture (BERT), so that another model means another file. The numbers are those of the published model:
tests compare them with the similarities in its documentation.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

Array = npt.NDArray[np.float32]

DIMENSIONS = 384
MODEL_NAME = "all-MiniLM-L6-v2"

# Tokens of one pass, the two marks included: what the model was trained with (sentence_bert_config.json).
WINDOW_TOKENS = 256

# Windows of one pass: activations of a full batch take about 8 * 256 * 1536 * 4 bytes = 12 MiB a matrix.
BATCH = 8

_HEADS = 12
_LAYERS = 6
_EPSILON = np.float32(1e-12)
_MASKED = np.float32(-1e9)


class MiniLM:
    """Turns texts into vectors of length 1; the closer in meaning, the larger the scalar product.

    Safe to use from several threads: weights are only read. The table of words (half of the model) stays mapped from the
    file, so that replicas on one node share it; the matrices are copied in the order that BLAS reads fastest, 41 MiB for
    half the time. Raises `FileNotFoundError` where the folder holds no model.
    """

    def __init__(self, folder: Path) -> None:
        weights = _read_safetensors(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        # Longer texts are cut into windows, each with its own marks at both ends, and none of it is dropped.
        self._tokenizer.enable_truncation(WINDOW_TOKENS)
        self._word = weights["embeddings.word_embeddings.weight"]
        types = weights["embeddings.token_type_embeddings.weight"]
        self._position = weights["embeddings.position_embeddings.weight"] + types[0]
        self._norm = _norm_weights(weights, "embeddings.LayerNorm")
        self._layers = [_Layer(weights, f"encoder.layer.{index}") for index in range(_LAYERS)]

    def embed(self, texts: Sequence[str]) -> Array:
        """One row of 384 numbers for each text. A text longer than a window gets the mean over its windows."""
        windows: list[Encoding] = []
        owners: list[int] = []
        for index, text in enumerate(texts):
            first = self._tokenizer.encode(text)
            for encoding in (first, *first.overflowing):
                windows.append(encoding)
                owners.append(index)
        vectors = self._embed_windows(windows)
        result = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        weights = np.array([len(window.ids) for window in windows], dtype=np.float32)
        np.add.at(result, owners, vectors * weights[:, None])
        return _unit(result)

    def _embed_windows(self, windows: Sequence[Encoding]) -> Array:
        result = np.empty((len(windows), DIMENSIONS), dtype=np.float32)
        for batch in batches([len(window.ids) for window in windows]):
            result[batch] = self._forward([windows[index].ids for index in batch])
        return result

    def _forward(self, rows: Sequence[Sequence[int]]) -> Array:
        length = max(len(row) for row in rows)
        ids = np.zeros((len(rows), length), dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.float32)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        hidden = _normalize(self._word[ids] + self._position[:length], *self._norm).reshape(-1, DIMENSIONS)
        bias = ((1 - mask) * _MASKED)[:, None, None, :]
        for layer in self._layers:
            hidden = layer(hidden, bias)
        summed = np.einsum("blh,bl->bh", hidden.reshape(len(rows), length, DIMENSIONS), mask)
        return _unit(summed)


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in groups to be computed together: of similar length, so that little is computed for padding."""
    result: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if result and len(result[-1]) < BATCH and lengths[index] <= 1.5 * lengths[result[-1][0]] + 4:
            result[-1].append(index)
        else:
            result.append([index])
    return result


class _Layer:
    """One transformer layer. The three projections of attention are one matrix, which is one call to BLAS."""

    def __init__(self, weights: Mapping[str, Array], prefix: str) -> None:
        attention = [f"{prefix}.attention.self.{name}" for name in ("query", "key", "value")]
        self._qkv = np.ascontiguousarray(np.concatenate([weights[f"{name}.weight"] for name in attention]).T)
        self._qkv_bias = np.concatenate([weights[f"{name}.bias"] for name in attention])
        self._out, self._out_bias = _linear_weights(weights, f"{prefix}.attention.output.dense")
        self._out_norm = _norm_weights(weights, f"{prefix}.attention.output.LayerNorm")
        self._up, self._up_bias = _linear_weights(weights, f"{prefix}.intermediate.dense")
        self._down, self._down_bias = _linear_weights(weights, f"{prefix}.output.dense")
        self._down_norm = _norm_weights(weights, f"{prefix}.output.LayerNorm")

    def __call__(self, hidden: Array, bias: Array) -> Array:
        """`hidden` has a row for each token of the batch, so that each linear map is one call to BLAS."""
        tokens, width = hidden.shape
        batch, length = bias.shape[0], bias.shape[-1]
        projected = (hidden @ self._qkv + self._qkv_bias).reshape(batch, length, 3, _HEADS, width // _HEADS)
        query, key, value = projected.transpose(2, 0, 3, 1, 4)
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(width // _HEADS)) + bias
        mixed = (_softmax(scores) @ value).transpose(0, 2, 1, 3).reshape(tokens, width)
        hidden = _normalize(hidden + mixed @ self._out + self._out_bias, *self._out_norm)
        inner = _gelu(hidden @ self._up + self._up_bias)
        return _normalize(hidden + inner @ self._down + self._down_bias, *self._down_norm)


def _linear_weights(weights: Mapping[str, Array], name: str) -> tuple[Array, Array]:
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]


def _norm_weights(weights: Mapping[str, Array], name: str) -> tuple[Array, Array]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _normalize(values: Array, weight: Array, bias: Array) -> Array:
    centred = values - values.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    result: Array = centred / np.sqrt(variance + _EPSILON) * weight + bias
    return result


def _softmax(values: Array) -> Array:
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    result: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def _gelu(values: Array) -> Array:
    """x * P(X <= x) for a normal X. The error function by Abramowitz and Stegun 7.1.26: at most 1.5e-7 off,
    which is the precision of the numbers themselves."""
    scaled = np.abs(values) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * scaled)
    polynomial = np.zeros_like(t)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial = (polynomial + np.float32(coefficient)) * t
    erf = np.copysign(1 - polynomial * np.exp(-scaled * scaled), values)
    result: Array = np.float32(0.5) * values * (1 + erf)
    return result


def _unit(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: Array = rows / np.maximum(lengths, np.float32(1e-12))
    return result


def _read_safetensors(path: Path) -> dict[str, Array]:
    """The 32-bit tensors of the file, without copying them: 8 bytes length, a JSON table, the numbers."""
    with path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    start = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(bytes(content[8:start])).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (start + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(content[begin:end], dtype="<f4").reshape(entry["shape"])
    return tensors
