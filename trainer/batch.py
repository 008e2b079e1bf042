"""The keys of a batch: what the arrays of a step are called. Those of a task are its own.

B are rows of this worker, T tokens of the longest of them, M of the longest target; at padding all
are 0, but where told.
"""

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
INPUTS = (IDS, MASK, TYPES)  # int32 [B, T]: what models take
TARGET, TARGET_MASK = "target_ids", "target_mask"  # int32 [B, M]: what a decoder is to write
DECODER_IDS = "decoder_input_ids"  # int32 [B, M]: the target behind a start token, without its end
POSITIONS = "positions"  # int32 [B, K]: places whose outputs are wanted, where not all are
SELECTED = "selected"  # float [B, K]: 0 at positions that only fill up a row
SAMPLE = "sample"  # float [B, K]: uniform numbers below 1, by which tokens there are drawn
FEATURES = "features"  # float [B, D], of a frozen encoder: stands in the place of INPUTS
WEIGHT = "weight"  # float32 [B]: 0 for a row of padding
ID = "id"  # int64 [B]: of the row in its split, -1 for padding
STEP = "step"  # int64 scalar: from 0 on
ROW_START = "row_start"  # int64 scalar: place of the first row in the global batch
