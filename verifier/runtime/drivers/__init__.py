"""Drivers: how a payload reaches its runtime."""
