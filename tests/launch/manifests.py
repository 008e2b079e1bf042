"""Checks that Kubernetes knows every word of a manifest, by its API's schemas; needs no cluster."""

import functools
import importlib.resources
import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate

JOB_SET = ("jobset.x-k8s.io/v1alpha2", "JobSet")
VERSIONS = (
    "1.31",
    "1.37",
)  # the oldest of docs/clusters/kubernetes.md, the newest known here
# The schemas list the values of these in the text of their descriptions only.
CHOICES = {"action", "completionMode", "effect", "operator", "restartPolicy"}


class Refused(Exception):
    """Mistakes, and where they are."""


def check(document: dict[str, Any], version: str = VERSIONS[-1]) -> None:
    """Raises Refused for a document that the API would not take as it stands."""
    if (document.get("apiVersion"), document.get("kind")) == JOB_SET:
        _check_job_set(document)
        for job in document["spec"]["replicatedJobs"]:
            check({"apiVersion": "batch/v1", "kind": "Job", **job["template"]}, version)
    else:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refused(f"{'.'.join(map(str, error.path))}: {error.message}") from error
        except kubernetes_validate.SchemaNotFoundError as error:  # its own program only warns
            raise Refused(error.message) from error
    for key, value in _strings(document):
        if key in CHOICES and not re.search(rf"\b{re.escape(value)}\b", _described(version)[key]):
            raise Refused(f"{key}: {value!r} is not a choice")


def _check_job_set(document: dict[str, Any]) -> None:
    from kubeflow_trainer_api import models  # which takes seconds, in one process of several

    try:
        known = models.JobsetV1alpha2JobSet.from_dict(document).to_dict()
    except ValueError as error:
        raise Refused(str(error)) from error
    if different := _difference(document, known):  # a model drops what it does not know
        raise Refused(different)


def _difference(ours: Any, known: Any, path: str = "") -> str:
    """The first place where ours is not in what is known; empty if there is none."""
    if isinstance(ours, dict) and isinstance(known, dict):
        if unknown := ours.keys() - known.keys():
            return f"{path} has unknown keys: {sorted(unknown)}"
        pairs = [(key, value, known[key]) for key, value in ours.items()]
    elif isinstance(ours, list) and isinstance(known, list) and len(ours) == len(known):
        pairs = [(i, value, known[i]) for i, value in enumerate(ours)]
    else:
        return "" if ours == known else f"{path}: {ours!r} is read as {known!r}"
    return next(filter(None, (_difference(a, b, f"{path}.{key}") for key, a, b in pairs)), "")


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a document, with the key it is under."""
    if isinstance(value, str):
        yield key, value
    for name, child in value.items() if isinstance(value, dict) else ():
        yield from _strings(child, name)
    for child in value if isinstance(value, list) else ():
        yield from _strings(child, key)


@functools.cache
def _described(version: str) -> dict[str, str]:
    """All that the schemas say of a key, by key."""
    from kubeflow_trainer_api import models

    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
    file = folder / f"v{version}.0-local-strict" / "_definitions.json"
    said = dict.fromkeys(CHOICES, "")
    for definition in json.loads(file.read_text())["$defs"].values():
        for key, schema in definition.get("properties", {}).items():
            if key in CHOICES:
                said[key] += schema.get("description", "")
    said["action"] += models.JobsetV1alpha2FailurePolicyRule.model_fields["action"].description
    return said
