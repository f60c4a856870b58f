"""Writes the clips of the built-in data set: a table of videos with captions, and questions."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blip.data.scenes.clips import Clip, draw_clip, paint_clip
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.questions import questions
from blip.files import write_json
from blip.installed import need

VIDEOS, QUESTIONS = "videos.parquet", "test_qa.json"
"""What the folder of clips holds, in the layouts of MSVD and MSVD-QA."""
RATE = 4
"""Frames of a clip a second."""
LASTING = ("colour", "shape", "size", "background")
"""Kinds of questions whose answer does not change while things move."""
STREAM = 101
"""Sets the random source of clips apart from those of pictures."""


def film_clips(config: ScenesConfig, folder: Path) -> None:
    """Write `config.clips` clips into `folder`; their bytes depend on the configuration alone.

    Raises UsageError if PyAV is not installed.
    """
    rows: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []
    for number in range(config.clips):
        rng = np.random.Generator(np.random.PCG64([config.seed, STREAM, number]))
        clip, key = draw_clip(config, rng), f"clip-{number:06d}"
        video = encode(clip, config.image_size, int(rng.integers(1 << 31)))
        rows.append({"key": key, "video": video, "caption": list(clip.captions)})
        fullest = max(clip.frames, key=lambda scene: len(scene.things))
        for question in questions(fullest, 100, config, rng):
            if question.kind in LASTING:
                row = {"id": len(asked), "video_id": key, "question": question.text}
                asked.append({**row, "answer": [question.answer, *question.also_right]})
    pq.write_table(pa.Table.from_pylist(rows), folder / VIDEOS)
    write_json(folder / QUESTIONS, asked)


def encode(clip: Clip, size: int, seed: int) -> bytes:
    """The clip as an mp4; of one thread, so that the same frames give the same bytes."""
    av, buffer = need("av", "PyAV", "video"), io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        options = {"threads": "1", "crf": "12", "preset": "veryfast"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        # Colours of their own for each pixel: things are small.
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv444p"
        for number, picture in enumerate(paint_clip(clip, size, seed)):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()
