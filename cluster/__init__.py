"""The one-machine Kubernetes: upstream binaries, started and watched by one launcher, with everything of its own.

`cluster.api` is the door for other rooms; `python -m cluster` the one for people.
"""
