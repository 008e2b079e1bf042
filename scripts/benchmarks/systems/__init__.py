"""Systems of `make bench`, a file each: `train(job, start)` trains and returns the `Logits`."""
