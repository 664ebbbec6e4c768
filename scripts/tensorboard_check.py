"""Compares the event files of a run, as TensorBoard reads them, with its metrics.csv. Usage:
tensorboard_check.py RUN [IMAGE.png], into which the newest confusion matrix is written"""

import csv
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = pathlib.Path(sys.argv[1])
events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
rows = list(csv.DictReader(open(run / "metrics.csv")))

columns = {
    "loss/train": "train_loss",
    "loss/test": "test_loss",
    "accuracy/train": "train_acc",
    "accuracy/test": "test_acc",
    "speed/examples per second": "examples_per_second",
}
for tag, column in columns.items():
    read = [(event.step, event.value) for event in events.Scalars(tag)]
    assert len(read) == len(rows), (tag, read)
    for (step, value), row in zip(read, rows):
        assert step == int(row["step"]), (tag, step)
        assert math.isclose(value, float(row[column]), rel_tol=1e-6), (tag, value, row[column])

steps = [event.step for event in events.Scalars("loss/step")]
assert steps == list(range(1, int(rows[-1]["step"]) + 1)), steps
assert [event.step for event in events.Scalars("lr")] == steps

assert "settings/text_summary" in tags["tensors"] or "settings" in tags["tensors"], tags
name = "settings" if "settings" in tags["tensors"] else "settings/text_summary"
text = events.Tensors(name)[-1].tensor_proto.string_val[0].decode()
assert "batch_size = 64" in text, text
assert events.SummaryMetadata(name).plugin_data.plugin_name == "text"

images = events.Images("confusion/test")
assert [image.step for image in images] == [int(row["step"]) for row in rows], images
for image in images:
    assert image.encoded_image_string.startswith(b"\x89PNG"), image
    assert image.width > 300 and image.height > 300, (image.width, image.height)
if len(sys.argv) > 2:
    pathlib.Path(sys.argv[2]).write_bytes(images[-1].encoded_image_string)

print(f"{len(steps)} steps, {len(rows)} epochs, their images and the settings are as TensorBoard reads them")
