"""The keys of a batch: what the arrays of a step are called. Those of a task are its own.

B are rows of this worker, T tokens of the longest of them; at padding all are 0, but where told.
"""

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
INPUTS = (IDS, MASK, TYPES)  # int32 [B, T]: what models take
FEATURES = "features"  # float [B, D], of a frozen encoder: stands in the place of INPUTS
WEIGHT = "weight"  # float32 [B]: 0 for a row of padding
ID = "id"  # int64 [B]: of the row in its split, -1 for padding
STEP = "step"  # int64 scalar: from 0 on
ROW_START = "row_start"  # int64 scalar: place of the first row in the global batch
