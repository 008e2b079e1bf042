"""A cell of a notebook, interrupted while it trains, and run again in the same kernel."""

import os
import time

import pytest
import tickets
from programs import ROOT, assert_same_run, environment

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]
CELL = f"""
import dataclasses, thaw
config = thaw.read_config({str(ROOT / "configs" / "files.py")!r})
config.data.train = "tickets.csv"
config.model = dataclasses.replace(config.model, width=16, heads=2, ffn_width=16)
config.max_steps, config.save_every_steps = 4, 2
print(thaw.train(config, WORKDIR).steps, "steps done")
"""


@pytest.fixture
def kernel(tmp_path):
    """A kernel in an empty folder with a file of tickets."""
    from jupyter_client.manager import KernelManager

    with (tmp_path / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        tickets.write(file, 120)
    manager = KernelManager(kernel_name="python3")
    own = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    manager.start_kernel(cwd=str(tmp_path), env={**os.environ, **environment(), **own})
    yield manager
    manager.shutdown_kernel(now=True)


def run_cell(kernel, client, code, interrupt_at="\n\n"):
    """Runs a cell to its end; returns its printed text and the name of its error, or "".

    Once `interrupt_at` is printed, the kernel is interrupted, as by the button of a notebook.
    """
    number, said, error, deadline = client.execute(code), "", "", time.monotonic() + 200
    while time.monotonic() < deadline:
        message = client.get_iopub_msg(timeout=200)
        if message["parent_header"].get("msg_id") != number:
            continue
        content = message["content"]
        before, said = said, said + content.get("text", "")
        error = content.get("ename", error)
        if interrupt_at in said and interrupt_at not in before:
            kernel.interrupt_kernel()
        if content.get("execution_state") == "idle":
            return said, error
    raise AssertionError(f"the cell has not ended: {said}")


def test_a_cell_interrupted_in_its_first_step_saves_and_goes_on_when_run_again(kernel, tmp_path):
    client = kernel.client()
    client.start_channels()
    client.wait_for_ready(timeout=100)
    cut = CELL.replace("WORKDIR", "'cut'")
    said, error = run_cell(kernel, client, cut, interrupt_at="Phase 'all'")
    assert error == "Interrupted", said
    assert "Saving after the present step" in said
    assert "steps done" not in said
    said, error = run_cell(kernel, client, cut)
    assert not error, said
    assert "Resuming at step" in said
    assert "4 steps done" in said
    said, error = run_cell(kernel, client, CELL.replace("WORKDIR", "'whole'"))
    assert "4 steps done" in said
    client.stop_channels()
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
