"""Starts the policy pack. Constructing a `PolicyPack` serves it and does not return, so nothing else happens here."""

from pulumi_policy import PolicyPack
from sophia_policies.pack import NAME, policies

PolicyPack(NAME, policies())
