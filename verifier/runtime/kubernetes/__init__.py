"""Kubernetes, as far as it is read: what a kubeconfig says, a small client, and rules about objects."""
