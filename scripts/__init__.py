"""Tools of this repository: programs that nothing in trainer/ and launch/ needs."""
