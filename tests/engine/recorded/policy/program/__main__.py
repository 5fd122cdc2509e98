"""Judged by the pack beside it: step 1 violates a mandatory rule, step 2 only an advisory one, and one is remediated."""

import os
import pulumi_kubernetes as k8s

step = int(os.environ["STEP"])
k8s.core.v1.ConfigMap("bad", metadata={"name": "golden-bad", "namespace": "default"}, data={"port": "8500" if step == 1 else "9001"})
k8s.core.v1.ConfigMap("plain", metadata={"name": "golden-plain", "namespace": "default"}, data={"a": "b"})
