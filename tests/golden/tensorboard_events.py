"""An event file by TensorBoard's own writer, for crates/diff-train/tests/tensorboard.rs.

    python tests/golden/tensorboard_events.py crates/diff-train/tests/fixtures [events file]

Needs torch, tensorboard and pillow (written with torch 2.15, tensorboard 2.21). Writes `events.png`
and `events.bin`, which the Rust test repeats byte for byte, then reads the file back with
TensorBoard's reader and checks every value. With a second argument only that file is read.
"""

import io
import math
import pathlib
import shutil
import sys
import tempfile

from PIL import Image
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import scalar, text

START = 1.7e9
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d0000001849444154789c63f8cfc0c0"
    "f09f8181e13f232313330400002d5e031798fee5030000000049454e44ae426082")
PIXELS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (1, 2, 3), (4, 5, 6), (7, 8, 9)]
TEXT = "# grüße\n\nlr = 1e-3"
SCALARS = {
    "loss/total": [(0.25, 0, 0.125), (1.5, 300, 1 / 3), (2.0, 2**32, math.nan)],
    "train/lr": [(1.5, 300, 0.0)],
}


def events():
    picture = Summary.Image(height=2, width=3, colorspace=3, encoded_image_string=PNG)
    loss, rate = SCALARS["loss/total"], SCALARS["train/lr"]
    yield Event(wall_time=START, file_version="brain.Event:2")
    for tag, (after, step, value) in [("loss/total", loss[0]), ("loss/total", loss[1]),
                                      ("train/lr", rate[0]), ("loss/total", loss[2])]:
        yield Event(wall_time=START + after, step=step, summary=scalar(tag, value))
    image = Summary(value=[Summary.Value(tag="samples", image=picture)])
    yield Event(wall_time=START + 3, step=301, summary=image)
    yield Event(wall_time=START + 4, step=0, summary=text("config", TEXT))


def check(path):
    """Reads `path` as TensorBoard does."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(path, pathlib.Path(folder) / "events.out.tfevents.1700000000.host.1.0")
        found = event_accumulator.EventAccumulator(folder)
        found.Reload()
        assert set(found.Tags()["scalars"]) == set(SCALARS), found.Tags()
        for tag, expected in SCALARS.items():
            rows = found.Scalars(tag)
            assert [(row.wall_time - START, row.step) for row in rows] == [(t, s) for t, s, _ in expected]
            for row, (_, _, value) in zip(rows, expected):
                close = math.isclose(row.value, value, rel_tol=1e-7)
                assert close or math.isnan(row.value) and math.isnan(value), (row, value)
        [picture] = found.Images("samples")
        assert (picture.step, picture.width, picture.height) == (301, 3, 2), picture
        image = Image.open(io.BytesIO(picture.encoded_image_string))
        assert [image.getpixel((x, y)) for y in range(2) for x in range(3)] == PIXELS
        [words] = found.Tensors("config/text_summary")
        assert words.tensor_proto.string_val[0].decode() == TEXT
        plugin = found.SummaryMetadata("config/text_summary").plugin_data.plugin_name
        assert plugin == "text", plugin


def main(folder, read=None):
    folder = pathlib.Path(folder)
    if read is None:
        (folder / "events.png").write_bytes(PNG)
        with open(folder / "events.bin", "wb") as file:
            writer = RecordWriter(file)
            for event in events():
                writer.write(event.SerializeToString())
    check(read or folder / "events.bin")
    print("every value is as it was written")


if __name__ == "__main__":
    main(*sys.argv[1:])
