"""Loads the folder of a job with texts and classes as its users do and prints what came out, as JSON.

captions.py CACHE DIRECTORY: {"types", "datasets", "webdataset", "kept", "size", "without"}: what `datasets` takes the
members txt and cls for; key, text and class of each sample with either loader; how many samples pass
open_clip's filter, and how many it expects. The last is a control: the same two of the last shard when samples
without a text have no member txt, as what `datasets` raises and what open_clip keeps.
"""

import glob
import json
import os
import sys
import tarfile

cache, directory = sys.argv[1:]
# Before the import: nothing is fetched, and nothing is kept outside the directory given.
os.environ.update(HF_HOME=cache, HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets  # noqa: E402
import webdataset  # noqa: E402


def filter_no_caption_or_no_image(sample):
    """As in open_clip's data.py."""
    has_caption = "txt" in sample
    has_image = "png" in sample or "jpg" in sample or "jpeg" in sample or "webp" in sample
    return has_caption and has_image


def get_dataset_size(shards_list):
    """As in open_clip's data.py."""
    dir_path = os.path.dirname(shards_list[0])
    sizes = json.load(open(os.path.join(dir_path, "sizes.json")))
    return sum(int(sizes[os.path.basename(shard)]) for shard in shards_list)


rows = datasets.load_dataset(directory, split="train", cache_dir=cache)
shards = sorted(glob.glob(os.path.join(directory, "chunks", "*.tar")))
raw = webdataset.WebDataset(shards, shardshuffle=False)
decoded = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
tuples = decoded.to_tuple("jpg", "txt", "cls", "__key__")

bare = os.path.join(cache, "bare.tar")
with tarfile.open(shards[-1]) as whole, tarfile.open(bare, "w") as part:
    for member in whole:
        if member.size or not member.name.endswith(".txt"):
            part.addfile(member, whole.extractfile(member))
try:
    datasets.load_dataset("webdataset", data_files=[bare], split="train", cache_dir=cache)
    refusal = ""
except Exception as error:
    refusal = str(error)
bare_samples = webdataset.WebDataset([bare], shardshuffle=False)

found = {
    "types": [rows.features[name].dtype for name in ("txt", "cls")],
    "datasets": sorted([row["__key__"], row["txt"], row["cls"]] for row in rows),
    "webdataset": sorted([key, text, number] for image, text, number, key in tuples if image.size),
    "kept": sum(1 for sample in raw if filter_no_caption_or_no_image(sample)),
    "size": get_dataset_size(shards),
    "without": [refusal, sum(1 for sample in bare_samples if filter_no_caption_or_no_image(sample))],
}
json.dump(found, sys.stdout)
