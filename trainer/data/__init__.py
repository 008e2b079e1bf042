"""Text to token ids on disk, to planned batches, to tf.data."""
