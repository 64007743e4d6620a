"""What do the collectors of the telemetry contract count at this site?"""
