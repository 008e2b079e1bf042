"""Hugging Face's Trainer on PyTorch."""

from typing import Any

from scripts.benchmarks import machine
from scripts.benchmarks.systems.common import BATCH, DECAY, EPOCHS, MULTIPLE, Job, Logits, Start


def train(job: Job, start: Start) -> Logits:
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
