"""Metadata and dependencies of Thaw. BUILD.md says what each dependency is for."""

from setuptools import find_packages, setup

REQUIRES = [
    "absl-py",
    "filelock",
    "huggingface_hub",
    "importlib_resources",  # tensorflow-datasets imports it and does not declare it
    "jinja2",
    "keras>=3.15,<4",
    "matplotlib",
    "ml-collections",
    "numpy",
    "pillow",
    "protobuf",
    "pyyaml",
    "regex",
    "rich",
    "safetensors",
    "scikit-learn",
    "scipy",
    "setuptools",  # tensorflow and tensorboard ask for it; a venv of Python 3.12+ comes without
    "tensorboard",
    "tensorflow==2.21.*",
    "tensorflow-datasets",
    "tokenizers",
    "tqdm",
    "transformers>=5,<6",
]

EXTRAS = {
    "gpu": ["tensorflow[and-cuda]==2.21.*"],
    # Separate, as there are no wheels for every platform that TensorFlow runs on.
    "text": ["tensorflow-text==2.21.*"],
    "profile": ["xprof"],
    "dev": [
        "build",
        "kubeflow-trainer-api",
        "kubernetes-validate",
        "mypy",
        "pre-commit",
        "psutil",
        "pytest",
        "pytest-timeout",
        "pytest-xdist",
        "ruff",
        "sentencepiece",
        "tensorflow-text==2.21.*",
        "types-PyYAML",
        "types-tqdm",
        "xprof",
    ],
}

setup(
    name="thaw",
    version="0.1.0",
    description="Train Transformers from scratch, or freeze and thaw BERT, on TensorFlow and Keras",
    author="The Thaw authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["trainer", "trainer.*", "launch", "launch.*"]),
    package_data={
        f"trainer.{package}": ["templates/*"] for package in ("export", "prediction", "reports")
    },
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
