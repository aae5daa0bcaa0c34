"""Opens and loads pictures as `datasets` and `webdataset` do, and says which cannot be.

usage: open.py < PATHS > ANSWERS: for each line "ok", or what was raised."""

import io
import sys
import warnings

import PIL.Image
import PIL.ImageOps

warnings.simplefilter("ignore")

for path in sys.stdin.read().splitlines():
    try:
        with open(path, "rb") as file:
            image = PIL.Image.open(io.BytesIO(file.read()))
        image.load()
        if image.getexif().get(PIL.Image.ExifTags.Base.Orientation) is not None:
            PIL.ImageOps.exif_transpose(image)
        print(f"ok {image.format}")
    except Exception as error:
        print(f"{type(error).__name__}: {error}".replace("\n", " "))
