"""What all tests share: no deadline for a property's example, because a busy machine is slow in bursts."""

from hypothesis import settings

settings.register_profile("waybill", deadline=None)
settings.load_profile("waybill")
