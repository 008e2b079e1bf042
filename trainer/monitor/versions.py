"""The packages that a result depends on."""

import importlib.metadata
import platform

_PACKAGES = ("tensorflow", "keras", "numpy", "transformers", "tokenizers", "tensorflow-datasets")


def versions() -> dict[str, str]:
    """The versions that a result depends on; a package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
