"""Feature types that a prepared TFDS folder may name: its features.json names Python classes.

TFDS imports the module of any class that stands there, so a folder from elsewhere would run code.
"""

import contextlib
from collections.abc import Iterator

import tensorflow_datasets as tfds


@contextlib.contextmanager
def only_known() -> Iterator[None]:
    """While a builder is made, its features.json may name classes of TFDS only."""
    connector = tfds.features.FeatureConnector
    own = vars(connector)["cls_from_name"]

    def checked(cls: type, name: str) -> type:
        if not name.startswith("tensorflow_datasets."):
            raise ValueError(f"features.json names {name[:100]!r}, which is no feature of TFDS")
        return own.__func__(cls, name)

    connector.cls_from_name = classmethod(checked)
    try:
        yield
    finally:
        connector.cls_from_name = own
