"""Tasks: what is learned from a row, a file each."""
