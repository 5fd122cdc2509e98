"""How recalled memories are ranked: by meaning, and by the words they share with the query."""

from __future__ import annotations

# Share of the words in the score. Large enough that a name or a number the model has never seen decides between
# memories of similar meaning; small enough that a shared everyday word does not beat the right meaning.
LEXICAL_WEIGHT = 0.3


def score(similarity: float, coverage: float) -> float:
    """From 0 (unrelated) to 1 (same text).

    `similarity` is the cosine of the two meanings (below 0 counts as 0), `coverage` the share of the query's words, in
    their stems and without stop words, that the memory contains. A weighted sum of the two, and not the fusion of two
    rankings (reciprocal rank fusion): ranks forget distances, so that the best of many bad matches of one word would
    stand beside the one memory that means the same; and a sum has a scale, so that a caller can ask for a minimum.
    """
    return (1 - LEXICAL_WEIGHT) * max(0.0, min(1.0, similarity)) + LEXICAL_WEIGHT * max(0.0, min(1.0, coverage))
