"""Writes a small picture in every variant that Pillow can write and read.

usage: write.py FOLDER"""

import io
import sys
import warnings
from pathlib import Path

from PIL import Image, TiffImagePlugin

warnings.simplefilter("ignore")

MODES = "1 L P LA La PA RGB RGBA RGBa RGBX CMYK YCbCr LAB HSV I F I;16 I;16B".split()
# No more tags, predictor, rows a strip, planes, fill order, subsampling, photometric interpretation, options of group 3.
TAGS = [{}, {317: 2}, {317: 3}, {278: 7}, {284: 2}, {266: 2}, {530: (1, 1)}, {530: (2, 2)}, {262: 0}, {262: 6}, {292: 1}, {292: 4}]
OTHERS = {
    "PNG": [{}, {"bits": 1}, {"bits": 2}, {"bits": 4}],
    "JPEG": [{}, {"progressive": True}, {"subsampling": 2}, {"quality": 1}, {"keep_rgb": True}, {"restart_marker_rows": 1}],
    "GIF": [{}, {"interlace": 0}],
    "BMP": [{}],
    "WEBP": [{}, {"lossless": True}, {"quality": 1}],
}


def picture(mode):
    noise = Image.effect_noise((40, 30), 80)
    colours = Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)])
    if mode == "LAB":
        return Image.merge("LAB", colours.split())
    if mode == "I;16B":
        return Image.frombytes(mode, (40, 30), bytes(range(240)) * 10)
    for between in ((), ("I",), ("LA",), ("RGBA",), ("P",)):
        try:
            image = colours
            for step in (*between, mode):
                image = image.convert(step)
            return image
        except ValueError:
            pass
    return Image.new(mode, (40, 30))


def write(path, image, kind, options):
    written = io.BytesIO()
    try:
        image.save(written, kind, **options)
        Image.open(io.BytesIO(written.getvalue())).load()
    except Exception:
        return
    path.write_bytes(written.getvalue())


folder = Path(sys.argv[1])
for mode in MODES:
    image, name = picture(mode), mode.replace(";", "-")
    for packing in TiffImagePlugin.COMPRESSION_INFO.values():
        for n, tags in enumerate(TAGS):
            options = {"compression": packing, "tiffinfo": tags}
            write(folder / f"{name}-{packing}-{n}.tif", image, "TIFF", options)
    for kind, variants in OTHERS.items():
        for n, options in enumerate(variants):
            write(folder / f"{name}-{n}.{kind.lower()}", image, kind, options)
