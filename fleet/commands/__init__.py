"""The commands of `waybill fleet`, one module for each."""
