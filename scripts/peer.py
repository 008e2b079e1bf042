"""One system of `make bench`: it trains on command, in an environment of its own; see peers.py.

  python scripts/peer.py '{"system": "kerashub", "tuned": false, "folder": ..., "weights": ...}'

Each line on standard input lets it train a round of `STEPS` batches, and is answered by one of JSON
on standard output: what the round took, and the rate of matrix products right before it. With
"learn" in the settings it trains to the end on the first line, and answers with its accuracy.
"""

import collections
import dataclasses
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import machine

BATCH, LENGTH, RATE, DECAY = 16, 512, 2e-5, 0.01
STEPS = 5  # of a round
EPOCHS = 100  # more than anybody asks for
MULTIPLE = 8  # that a tuned peer pads to


class Rounds:
    """Stops a training after every round, until the next one is asked for.

    Args:
      product: see machine.product_rate.
      answers: where the rounds are told.
      steps: of a round.
    """

    def __init__(self, product: Callable[[int], Any], answers: Any, steps: float = STEPS):
        self._product, self._answers, self._steps = product, answers, steps
        self.made: collections.deque[tuple[int, ...]] = collections.deque()
        self._began = time.perf_counter()
        self._wait()

    def _wait(self) -> None:
        if not sys.stdin.readline():
            os._exit(0)
        self._flops = machine.product_rate(self._product)
        self._done: list[tuple[int, ...]] = []
        self._began = time.perf_counter()

    def plan(self, lengths: Iterable[int], slots: int) -> None:
        """Says what the next batch holds: the tokens of its examples, and with padding."""
        tokens = [int(length) for length in lengths]
        self.made.append((len(tokens), sum(tokens), sum(n * n for n in tokens), slots))

    def step(self, loss: float) -> None:
        """Says that a batch was trained; returns when the next one may be."""
        self._done.append(self.made.popleft())
        if len(self._done) < self._steps:
            return
        seconds = time.perf_counter() - self._began
        sums = map(sum, zip(*self._done, strict=True))
        found = dict(zip(("examples", "tokens", "squares", "slots"), sums, strict=True))
        found |= {"seconds": seconds, "loss": loss, "flops": self._flops, "peak_mb": peak()}
        self._answers.write(json.dumps(found) + "\n")
        self._answers.flush()
        self._wait()


def peak() -> float:
    """The most memory this process held, in MB of 10^6 bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").split("VmHWM:")[1]
    return int(status.split()[0]) * 1024 / 1e6


Reviews = list[dict[str, Any]]
Start = Callable[[Callable[[int], Any]], Rounds]
Plan = list[list[int]]
Pack = Callable[[Any, Any], Any]
Logits = Callable[[Any, Any], Any]  # of int32 ids and mask [B, T], after the training


@dataclasses.dataclass(frozen=True)
class Job:
    """A system's training data. Tuned: in the batches of `grouped`, otherwise there are none."""

    reviews: Reviews
    weights: Path
    grouped: Plan
    folder: Path  # for what a system writes
    length: int = LENGTH
    rate: float = RATE
    seed: int = 0
    precision: str = "mixed_bfloat16"  # of config.runtime


def random_batches(reviews: int) -> Plan:
    """Random batches of EPOCHS epochs."""
    numbers, made = random.Random(0), []
    for _ in range(EPOCHS):
        order = numbers.sample(range(reviews), reviews)
        made += [order[i : i + BATCH] for i in range(0, reviews, BATCH)]
    return made


def tokens(reviews: Reviews, weights: Path, length: int) -> list[list[int]]:
    """Up to `length` token ids, as the tokenizer that comes with the weights cuts them."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    return [each.ids for each in tokenizer.encode_batch([review["text"] for review in reviews])]


def arrays(
    reviews: Reviews, ids: list[list[int]], rows: list[int], length: int
) -> tuple[Any, Any, Any]:
    """Padded ids and mask [B, T], and labels [B]."""
    import numpy as np

    batch = np.zeros([len(rows), length], np.int32)
    for place, row in enumerate(rows):
        batch[place, : len(ids[row])] = ids[row]
    mask = np.arange(length) < np.array([len(ids[row]) for row in rows])[:, None]
    return batch, mask.astype(np.int32), np.array([reviews[row]["label"] for row in rows], np.int32)


def multiple_of(length: int, longest: int) -> int:
    return min(-(-length // MULTIPLE) * MULTIPLE, longest)


# Hugging Face's Trainer on PyTorch


def hugging_face(job: Job, start: Start) -> Logits:
    """https://huggingface.co/docs/transformers/tasks/sequence_classification."""
    import datasets
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.set_seed(job.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.weights)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        job.weights, num_labels=2
    )
    data = datasets.Dataset.from_list(job.reviews).map(
        lambda rows: tokenizer(rows["text"], truncation=True, max_length=job.length), batched=True
    )
    if job.grouped:  # its own sampler groups too few at once when there are few reviews
        data = data.select([row for rows in job.grouped for row in rows])
    padding = {"pad_to_multiple_of": MULTIPLE} if job.grouped else {}
    collator = transformers.DataCollatorWithPadding(tokenizer, **padding)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side, dtype = machine.SIDE, getattr(torch, machine.best_type())
    matrix = torch.randn(side, side, dtype=dtype, device=device)
    rounds = start(lambda count: float([matrix @ matrix for _ in range(count)][-1][0, 0]))

    def collate(rows: Any) -> Any:
        batch = collator([{k: v for k, v in row.items() if k != "text"} for row in rows])
        rounds.plan(batch["attention_mask"].sum(1).tolist(), batch["input_ids"].numel())
        return batch

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            if device == "cuda":
                torch.cuda.synchronize()
            rounds.step(0.0)  # the Trainer keeps its losses on the device

    arguments = transformers.TrainingArguments(
        str(job.folder / "trainer"),
        num_train_epochs=1 if job.grouped else EPOCHS,
        per_device_train_batch_size=BATCH,
        learning_rate=job.rate,
        lr_scheduler_type="constant" if job.grouped else "linear",
        seed=job.seed,
        weight_decay=DECAY,
        bf16=job.precision == "mixed_bfloat16",
        fp16=job.precision == "mixed_float16",
        use_cpu=device == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        train_sampling_strategy="sequential" if job.grouped else "random",
    )
    transformers.Trainer(model, arguments, collate, data, callbacks=[Stop()]).train()
    model.eval()

    def logits(ids: Any, mask: Any) -> Any:
        with torch.no_grad():
            inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
            return model(**{k: v.to(model.device) for k, v in inputs.items()}).logits.cpu()

    return logits


# Keras


def products(tf: Any) -> Callable[[int], Any]:
    """The products that machine.product_rate takes, in TensorFlow."""
    matrix = tf.cast(tf.random.normal([machine.SIDE] * 2), machine.best_type())
    return lambda count: [matrix @ matrix for _ in range(count)][-1][0, 0].numpy()


def _dataset(tf: Any, reviews: Any, ids: Any, lengths: Any, plan: Plan, pack: Pack) -> Any:
    """Batches as `plan` has them, as a tf.data.Dataset; `lengths` are what rows are padded to."""

    def generate() -> Iterator[Any]:
        for rows in plan:
            batch, mask, labels = arrays(reviews, ids, rows, max(lengths[row] for row in rows))
            yield pack(batch, mask), labels

    whole = tf.TensorSpec([None, None], tf.int32)
    signature = (pack(whole, whole), tf.TensorSpec([None], tf.int32))
    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(4)


def _plan(ids: list[list[int]], lengths: list[int], grouped: Plan, rounds: Rounds) -> Plan:
    made = grouped or random_batches(len(ids))
    for rows in made:
        slots = len(rows) * max(lengths[row] for row in rows)
        rounds.plan([len(ids[row]) for row in rows], slots)
    return made


def kerashub(job: Job, start: Start) -> Logits:
    """https://keras.io/keras_hub/api/models/bert/bert_text_classifier: `fit` on raw texts.

    Tuned: on token ids in grouped batches, without XLA, which would compile each length anew.
    """
    import keras
    import keras_hub
    import tensorflow as tf

    keras.utils.set_random_seed(job.seed)
    keras.config.set_dtype_policy(job.precision)
    model = keras_hub.models.BertTextClassifier.from_preset(
        str(job.weights), num_classes=2, dropout=0.1, dtype=job.precision
    )
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(job.rate, weight_decay=DECAY),
        jit_compile=False if job.grouped else "auto",
    )
    rounds = start(products(tf))
    ids = tokens(job.reviews, job.weights, job.length)
    lengths = [multiple_of(len(each), job.length) if job.grouped else job.length for each in ids]
    plan = _plan(ids, lengths, job.grouped, rounds)

    def pack(batch: Any, mask: Any) -> dict[str, Any]:
        zeros = batch if isinstance(batch, tf.TensorSpec) else 0 * batch
        return {"token_ids": batch, "padding_mask": mask, "segment_ids": zeros}

    if job.grouped:
        model.preprocessor = None
        data = _dataset(tf, job.reviews, ids, lengths, plan=plan, pack=pack)
    else:
        rows = [row for batch in plan for row in batch]
        texts = [job.reviews[row]["text"] for row in rows]
        labels = [job.reviews[row]["label"] for row in rows]
        data = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(BATCH).prefetch(4)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            rounds.step(float(logs["loss"]))

    model.fit(data, epochs=1, verbose=0, callbacks=[Stop()])
    return lambda ids, mask: model(pack(ids, mask))


def tf_bert(job: Job, start: Start) -> Logits:
    """https://huggingface.co/docs/transformers/v4.57.6/tasks/sequence_classification, in Keras 2.

    Each batch is padded to its longest review, as `prepare_tf_dataset` does.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf
    import tf_keras
    import transformers
    from safetensors.numpy import load_file
    from transformers.modeling_tf_pytorch_utils import load_pytorch_state_dict_in_tf2_model

    transformers.logging.set_verbosity_error()
    tf_keras.utils.set_random_seed(job.seed)
    tf_keras.mixed_precision.set_global_policy(job.precision)
    shape = transformers.AutoConfig.from_pretrained(job.weights, num_labels=2)
    model = transformers.TFBertForSequenceClassification(shape)
    # Its own reader wants PyTorch, or a safetensors of its day.
    held = {
        f"bert.{k}": tf.constant(v) for k, v in load_file(job.weights / "model.safetensors").items()
    }
    load_pytorch_state_dict_in_tf2_model(model, held, allow_missing_keys=True)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=tf_keras.optimizers.AdamW(job.rate, weight_decay=DECAY), loss=loss)
    rounds = start(products(tf))
    ids = tokens(job.reviews, job.weights, job.length)
    lengths = [multiple_of(len(each), job.length) if job.grouped else len(each) for each in ids]
    plan = _plan(ids, lengths, job.grouped, rounds)

    def pack(batch: Any, mask: Any) -> dict[str, Any]:
        return {"input_ids": batch, "attention_mask": mask}

    class Stop(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            rounds.step(float(logs["loss"]))

    data = _dataset(tf, job.reviews, ids, lengths, plan=plan, pack=pack)
    model.fit(data, epochs=1, verbose=0, callbacks=[Stop()])
    return lambda ids, mask: model(pack(ids, mask)).logits


def bare(job: Job, start: Start) -> Logits:
    """A loop of GradientTape and tf.function over Keras's own layers; see bare.py."""
    import keras
    import tensorflow as tf
    from bare import Bert, train_step
    from synthetic import Shape

    keras.utils.set_random_seed(job.seed)
    keras.config.set_dtype_policy(job.precision)
    model = Bert(Shape.of(job.weights))
    model.load(job.weights)
    step = train_step(model, keras.optimizers.AdamW(job.rate, weight_decay=DECAY))
    rounds = start(products(tf))
    ids = tokens(job.reviews, job.weights, job.length)
    lengths = [multiple_of(len(each), job.length) if job.grouped else job.length for each in ids]
    plan = _plan(ids, lengths, job.grouped, rounds)
    data = _dataset(
        tf, job.reviews, ids, lengths, plan=plan, pack=lambda batch, mask: (batch, mask)
    )
    for (batch, mask), labels in data:
        rounds.step(float(step(batch, mask, labels)))
    return lambda ids, mask: model(ids, mask)


# Ours


def thaw(job: Job, start: Start) -> Logits:
    """The step of configs/minilm_imdb.py with this batch, length and rate."""
    import csv
    import tempfile

    from launch import main as program

    program.import_tensorflow()
    import tensorflow as tf

    from configs import minilm_imdb
    from trainer.config import Data
    from trainer.data.progress import quiet
    from trainer.loop import Loop
    from trainer.run import Run
    from trainer.runtime import devices
    from trainer.step import STEP_METRICS
    from trainer.storage.workdir import Workdir

    folder = Path(tempfile.mkdtemp(dir=job.folder))
    others = [{"text": f"no review {i}", "label": i % 2} for i in range(4)]
    for name, held in (("train", job.reviews), ("validation", others[:2]), ("test", others[2:])):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("text", "label"))
            table.writerows((review["text"], "np"[review["label"]]) for review in held)
    config = minilm_imdb.get_config()
    files = {name: str(folder / f"{name}.csv") for name in ("train", "validation", "test")}
    config.data = Data(
        source="files",
        **files,
        max_length=job.length,
        cut="head",
        buckets=config.data.buckets,
    )
    config.model.pretrained, config.seed = str(job.weights), job.seed
    rate = {"learning_rate": job.rate, "schedule": "constant", "warmup_steps": 0}
    config.phases = [dataclasses.replace(config.phases[-1], epochs=1000, layer_decay=1, **rate)]
    config.optimizer.weight_decay, config.optimizer.beta2 = DECAY, 0.999  # as the others have it
    config.runtime.precision, config.global_batch_size = job.precision, BATCH
    strategy = devices.start(config.runtime, config.seed)
    run = Run(
        config, Workdir(folder / "run"), folder / "cache", strategy, progress=quiet, say=print
    )
    loop = Loop(run, print)
    step_function, steps = loop.step_function(), len(job.grouped)
    rounds = start(products(tf))
    lengths, first = run.split("train").lengths, next(iter(run.train_batches(loop.plan, 0, 1)))
    ids = tokens(job.reviews, job.weights, job.length)
    theirs = arrays(job.reviews, ids, job.grouped[0], first["input_ids"].shape[1])
    if (first["input_ids"].numpy() != theirs[0]).any() or any(
        loop.plan.batch(step)[0].tolist() != rows for step, rows in enumerate(job.grouped)
    ):
        raise RuntimeError("the tuned peers get other batches than these")
    batches = iter(run.train_batches(loop.plan, 0, steps))
    for first in range(0, steps, STEPS):
        for step in range(first, first + STEPS):
            rows, length = loop.plan.batch(step)
            rounds.plan(lengths[rows[rows >= 0]], len(rows) * length)
        called = step_function.run(batches, tf.constant(STEPS), tf.constant(False))
        loss = float(called.metrics.numpy()[STEP_METRICS.index("loss")])
        for _ in range(STEPS):
            rounds.step(loss)

    def logits(ids: Any, mask: Any) -> Any:
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids}
        return run.model({name: tf.constant(value) for name, value in inputs.items()})

    return logits


SYSTEMS: dict[str, Callable[[Job, Start], Logits]] = {
    "thaw": thaw,
    "huggingface": hugging_face,
    "kerashub": kerashub,
    "tfbert": tf_bert,
    "bare": bare,
}


def accuracy(reviews: Reviews, job: Job, logits: Logits) -> float:
    """The share of the reviews that are labelled right."""
    import numpy as np

    ids = tokens(reviews, job.weights, job.length)
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    right = 0
    for first in range(0, len(order), 4 * BATCH):
        rows = order[first : first + 4 * BATCH]
        batch, mask, labels = arrays(reviews, ids, rows, max(len(ids[row]) for row in rows))
        right += int((np.asarray(logits(batch, mask)).argmax(-1) == labels).sum())
    return right / len(reviews)


def main() -> None:
    """Trains until standard input ends, or until it has learned."""
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    folder, learn = Path(settings["folder"]), settings["learn"]

    def read(name: str) -> Reviews:
        with (folder / name).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    grouped = plan if settings["tuned"] else []
    job = Job(read("reviews.jsonl"), Path(settings["weights"]), grouped, folder, **settings["job"])
    steps = float("inf") if learn else STEPS
    logits = SYSTEMS[settings["system"]](job, lambda p: Rounds(p, answers, steps))
    if learn:
        found = {"accuracy": accuracy(read("test.jsonl"), job, logits), "peak_mb": peak()}
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
