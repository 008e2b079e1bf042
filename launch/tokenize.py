"""Shows how tokenizers cut texts: pieces, ids, special and unknown tokens, side by side.

  python -m launch.tokenize --tokenizer=runs/quickstart/tokenizer "A naïve film, 7/10 🙂"
  python -m launch.tokenize --tokenizer=data/minilm,openai-community/gpt2 "one text" "another"

Each word of a text begins on a new line. Texts that begin with a dash go last, after `--`.
"""

import importlib
import sys
from pathlib import Path

if __name__ == "tokenize":  # `python launch/train.py` searches this folder first, and found this
    sys.path[0] = str(Path(__file__).parents[1])
    del sys.modules[__name__]
    sys.modules[__name__] = importlib.import_module(__name__)  # that of the standard library

if __name__ == "__main__":
    from launch import main as program
    from launch.token_table import main

    program.run(main, __doc__, texts=True)
