# Seconds of CPU that each loader takes for each file, as JSON: {"pillow": [...], "opencv": [...]}.
import io, json, sys, time
import cv2, numpy
from PIL import Image

cv2.setNumThreads(1)
Image.MAX_IMAGE_PIXELS = None


def pillow(data):
    Image.open(io.BytesIO(data)).load()


def opencv(data):
    assert cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_COLOR) is not None


def cpu(load, data):
    start = time.process_time()
    load(data)
    return time.process_time() - start


files = [open(path, 'rb').read() for path in sys.argv[1:]]
loaders = {'pillow': pillow, 'opencv': opencv}
for load in loaders.values():
    load(files[0])
print(json.dumps({name: [cpu(load, data) for data in files] for name, load in loaders.items()}))
