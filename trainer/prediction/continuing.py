"""A trained model that writes: it continues texts, or writes others for them."""

from collections.abc import Callable, Sequence

from trainer.data.columns import Row
from trainer.errors import UserError
from trainer.models.cached import CachedNetwork
from trainer.models.encoder_decoder import CachedDecoder, EncoderDecoder
from trainer.models.generate import LanguageModel
from trainer.models.network import Network
from trainer.models.writing import Writing
from trainer.prediction.predictor import Answered
from trainer.prediction.writer import Writer
from trainer.tasks.task import Task
from trainer.tasks.text_to_text import TextToText
from trainer.tasks.writing import Continuing
from trainer.trained import TrainedModel


class ContinuingPredictor:
    """Continues the texts of rows, or writes a text for each; draws go by the rows' numbers.

    Args:
      trained: the model.
      task: its use, of `Task.continuing`.
      writing: the settings.
      seed: of the draws.
      stop: asked between blocks of tokens.

    Attributes:
      writer: continues texts.
      cut: number of texts that were too long for the model, and lost a part.

    Raises:
      UserError: the settings do not fit the model, or it has not this library's encoder.
    """

    at_once = 64

    def __init__(
        self,
        trained: TrainedModel,
        task: Task,
        writing: Writing,
        seed: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ):
        model = trained.model
        if isinstance(model, EncoderDecoder) and isinstance(task, TextToText):
            writes: LanguageModel = CachedDecoder(model, task.start_id)
            positions = model.architecture.target_length
        elif isinstance(model, Network):
            writes, positions = CachedNetwork(model), model.architecture.max_length
        else:
            raise UserError(
                "texts are continued by the encoder of this library, the model is of"
                f" {trained.config.model.factory!r}: give --score"
            )
        assert isinstance(task, Continuing | TextToText)
        self.task: Task = task
        self.cut, self._encoder = 0, trained.encoder
        self.writer = Writer(
            writes,
            trained.tokenizer,
            self.prompts,
            writing,
            trained.strategy,
            vocabulary=model.architecture.vocab_size,
            positions=positions,
            end_id=task.end_id,
            seed=seed,
            stop=stop,
        )

    @property
    def note(self) -> str:
        """A remark on the texts that were cut; empty if none was."""
        if not self.cut:
            return ""
        cut = f"{self.cut:,} of the texts had more than {self._encoder.max_length:,} tokens"
        return f"{cut} (config.data.max_length): they were cut"

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts that the writer is given; `cut` counts those that were too long."""
        if isinstance(self.task, Continuing):
            return self.task.prompts(texts, self._encoder)
        assert isinstance(self.task, TextToText)
        found = self.task.sources(texts, self._encoder)
        self.cut += sum(each.cut for each in found)
        return [each.ids.tolist() for each in found]

    def run(self, rows: Sequence[Row]) -> list[Answered]:
        """The continuations of rows, in their order. Raises: see `Writer.continue_texts`."""
        texts = ["".join(row[column.key] for column in self.task.text_columns) for row in rows]
        found = self.writer.continue_texts(texts, [row.id for row in rows])
        return [Answered([], each._asdict()) for each in found]
