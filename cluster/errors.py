"""The one exception of this room."""

from __future__ import annotations


class ClusterError(Exception):
    """Something the cluster cannot do here. The message is one line: what, why, and what to do instead."""
