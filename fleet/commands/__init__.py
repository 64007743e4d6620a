"""The commands of `waybill fleet`, and what they share."""
