"""TensorFlow and scikit-learn's metrics, imported at their first use.

A config names a task, and a task computes with both. So a flag is refused, a cluster launched and a
config read without waiting for them. A module that uses `tf` from here needs
`from __future__ import annotations`, as annotations would be a first use.
"""

import importlib
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sklearn.metrics as sklearn_metrics
    import tensorflow as tf
else:

    class _Lazy(types.ModuleType):
        """Stands for a module, and imports it when something of it is asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self.__name__), name)

    tf, sklearn_metrics = _Lazy("tensorflow"), _Lazy("sklearn.metrics")

__all__ = ["sklearn_metrics", "tf"]
