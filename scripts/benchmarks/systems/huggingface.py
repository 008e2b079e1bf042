"""Hugging Face's Trainer on PyTorch."""

from typing import Any

from scripts.benchmarks import machine
from scripts.benchmarks.systems.common import (
    BATCH,
    DECAY,
    EPOCHS,
    MASKED,
    MULTIPLE,
    Job,
    Logits,
    Start,
)


def train(job: Job, start: Start) -> Logits:
    """https://huggingface.co/docs/transformers/tasks/sequence_classification.

    Masked words: .../tasks/masked_language_modeling, a text a row. Pairs: .../tasks/translation.
    """
    import datasets
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.set_seed(job.seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.weights)
    made = {
        "classification": (transformers.AutoModelForSequenceClassification, {"num_labels": 2}),
        "masked": (transformers.AutoModelForMaskedLM, {}),
        "text_to_text": (transformers.AutoModelForSeq2SeqLM, {}),
    }
    kind, more = made[job.objective]
    model = kind.from_pretrained(job.weights, **more)
    cut = {"truncation": True, "max_length": job.length}
    pairs = job.objective == "text_to_text"

    def encode(rows: Any) -> Any:
        if pairs:
            return tokenizer(rows["source"], text_target=rows["target"], **cut)
        return tokenizer(rows["text"], **cut)

    data = datasets.Dataset.from_list(job.reviews).map(encode, batched=True)
    if job.grouped:  # its own sampler groups too few at once when there are few reviews
        data = data.select([row for rows in job.grouped for row in rows])
    padding = {"pad_to_multiple_of": MULTIPLE} if job.grouped else {}
    collator: Any = transformers.DataCollatorWithPadding(tokenizer, **padding)
    left_out = {"text", "source", "target"}
    if job.objective == "masked":
        left_out.add("label")
        collator = transformers.DataCollatorForLanguageModeling(
            tokenizer, mlm_probability=MASKED, **padding
        )
    elif pairs:
        collator = transformers.DataCollatorForSeq2Seq(tokenizer, model, **padding)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side, dtype = machine.SIDE, getattr(torch, machine.best_type())
    matrix = torch.randn(side, side, dtype=dtype, device=device)
    rounds = start(lambda count: float([matrix @ matrix for _ in range(count)][-1][0, 0]))

    def collate(rows: Any) -> Any:
        batch = collator([{k: v for k, v in row.items() if k not in left_out} for row in rows])
        counted = batch["labels"] != -100 if pairs else batch["attention_mask"]
        rounds.plan(counted.sum(1).tolist(), counted.numel())
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
