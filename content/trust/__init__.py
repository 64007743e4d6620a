"""The decision whether the head of a bundle is trusted."""
