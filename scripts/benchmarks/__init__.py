"""Measurements of speed: beside other systems (peers), of our parts (speed), at scale (scaling)."""
