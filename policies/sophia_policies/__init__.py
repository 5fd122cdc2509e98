"""Rules for Kubernetes workloads. The rules know nothing of Pulumi; `pack` turns them into its policies."""
