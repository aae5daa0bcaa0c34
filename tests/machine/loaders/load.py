"""Loads shards as their users do and prints what came out, as JSON.

load.py CACHE GROUP...: one {"webdataset": found, "datasets": found} for each group of shards (paths with
commas between them), where found is a list of {key, member, size, sha256, orientation, sidecar}, or the
sentence with which the loader refused.
"""

import hashlib
import io
import json
import os
import sys

cache, *groups = sys.argv[1:]
# Before the import: nothing is fetched, and nothing is kept outside the directory given.
os.environ.update(HF_HOME=cache, HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets  # noqa: E402
import PIL.Image  # noqa: E402
import webdataset  # noqa: E402

ORIENTATION = 0x0112


def sample(key, member, image, data, sidecar):
    """What is compared: the decoded picture's size, and the member's bytes as they came."""
    orientation = PIL.Image.open(io.BytesIO(data)).getexif().get(ORIENTATION, 1)
    return {
        "key": key,
        "member": member,
        "size": image.size,
        "sha256": hashlib.sha256(data).hexdigest(),
        "orientation": orientation,
        "sidecar": sidecar,
    }


def members(row):
    """The one member of a row that is neither the sidecar nor the loader's own."""
    return [name for name in row if name != "json" and not name.startswith("__")]


def with_webdataset(shards):
    decoded = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
    raw = webdataset.WebDataset(shards, shardshuffle=False)
    for row, bare in zip(decoded, raw, strict=True):
        (member,) = members(row)
        yield sample(row["__key__"], member, row[member], bare[member], row["json"])


def with_datasets(shards):
    rows = datasets.load_dataset("webdataset", data_files=shards, split="train", cache_dir=cache)
    (member,) = members(rows.features)
    raw = rows.cast_column(member, datasets.Image(decode=False))
    for row, bare in zip(rows, raw, strict=True):
        yield sample(row["__key__"], member, row[member], bare[member]["bytes"], row["json"])


def attempt(load, shards):
    try:
        return list(load(shards))
    except Exception as error:  # What a user would see.
        return " / ".join(map(str, filter(None, [error, error.__cause__])))


shards_of = [group.split(",") for group in groups]
found = [
    {"webdataset": attempt(with_webdataset, shards), "datasets": attempt(with_datasets, shards)}
    for shards in shards_of
]
json.dump(found, sys.stdout)
