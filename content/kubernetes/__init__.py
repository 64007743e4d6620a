"""Manifests of Kubernetes: the images that they name, rendered from a chart or written by hand."""
