"""Files on disk: read as data that may be damaged or hostile."""
