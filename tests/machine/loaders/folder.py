"""Loads a job's folder as its users do and prints what came out, as JSON.

folder.py CACHE DIRECTORY: {"columns", "keys", "sizes", "of_card"}; the keys are null when there are no rows of
pictures, the sizes are what open_clip adds up (get_dataset_size of its data.py), and of_card is how many
pictures each block of the card leaves, run as it stands in the folder.
"""

import glob
import json
import os
import re
import sys

cache, directory = sys.argv[1:]
# Before the import: nothing is fetched, and nothing is kept outside the directory given.
os.environ.update(HF_HOME=cache, HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets  # noqa: E402

try:
    rows = datasets.load_dataset(directory, split="train", cache_dir=cache)
except datasets.exceptions.DatasetGenerationError as error:  # Files that are no rows of one table.
    print(error.__cause__, file=sys.stderr)
    rows = None
are_pictures = rows is not None and isinstance(rows.features.get("jpg"), datasets.Image)
shards = glob.glob(os.path.join(directory, "chunks", "*.tar"))
sizes = json.load(open(os.path.join(directory, "chunks", "sizes.json")))
os.chdir(directory)
blocks = re.findall("```python\n(.*?)```", open("README.md").read(), re.S) if os.path.exists("README.md") else []
of_card, names = [], {}
for block in blocks:
    exec(block, names)  # What a reader of the card does.
    of_card.append(sum(1 for _ in names["pictures"]))

found = {
    "of_card": of_card,
    "columns": sorted(rows.features) if rows is not None else [],
    "keys": sorted(row["__key__"] for row in rows) if are_pictures else None,
    "sizes": sum(int(sizes[os.path.basename(shard)]) for shard in shards),
}
json.dump(found, sys.stdout)
