"""Metadata and dependencies of Thaw. BUILD.md says what each dependency is for."""

from pathlib import Path

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
    "pyarrow",
    "pyyaml",
    "regex",
    "rich",
    "sacrebleu",
    "safetensors",
    "scikit-learn",
    "scipy",
    "sentencepiece",
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
        "ipykernel",
        "mypy",
        "nbclient",
        "nbformat",
        "pre-commit",
        "psutil",
        "pytest",
        "pytest-timeout",
        "pytest-xdist",
        "ruff",
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
    packages=[
        *find_packages(include=["trainer", "trainer.*", "thaw", "thaw.*", "launch", "launch.*"]),
        # configs/ and its folders; none in the Dockerfile's first step
        *sorted({f"thaw.shipped.{'.'.join(p.parts[:-1])}" for p in Path().glob("configs/**/*.py")}),
    ],
    package_dir={"thaw.shipped.configs": "configs"},
    package_data={
        "trainer": ["py.typed"],
        "thaw": ["py.typed"],
        **{f"trainer.{each}": ["templates/*"] for each in ("export", "prediction", "reports")},
    },
    entry_points={"console_scripts": ["thaw = launch.command:main"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
