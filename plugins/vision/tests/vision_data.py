"""Folders of small pictures with boxes, for the tests."""

import json

import numpy as np
from PIL import Image

#: picture → (class, left, top, right, bottom) of each box; all pictures are 40 high and 60 wide.
OBJECTS = {
    "a.png": [(1, 6, 4, 30, 20), (0, 0, 0, 60, 40)],
    "b.png": [],
    "c.png": [(2, 30, 10, 45, 40)],
    "d.png": [(1, 3, 4, 33, 24)],
}
HEIGHT, WIDTH = 40, 60


def draw(folder):
    """Write the pictures."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in OBJECTS:
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)


def line(kind, left, top, right, bottom):
    """Return a line of YOLO's form."""
    middle = ((left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT)
    return f"{kind} {middle[0]} {middle[1]} {(right - left) / WIDTH} {(bottom - top) / HEIGHT}"


def yolo(root):
    """Write a folder in YOLO's form and return it."""
    draw(root / "images" / "val")
    labels = root / "labels" / "val"
    labels.mkdir(parents=True)
    for name, boxes in OBJECTS.items():
        text = "\n".join(line(*box) for box in boxes)
        (labels / name).with_suffix(".txt").write_text(text)
    return root


def masks(root):
    """Write pictures with masks, the last box on top, and return their folder."""
    draw(root / "images" / "val")
    folder = root / "masks" / "val"
    folder.mkdir(parents=True)
    for name, boxes in OBJECTS.items():
        classes = np.zeros((HEIGHT, WIDTH), np.uint8)
        for kind, left, top, right, bottom in boxes:
            classes[top:bottom, left:right] = kind
        Image.fromarray(classes).save(folder / name)
    return root


def coco(root):
    """Write a folder in COCO's form and return its json file."""
    draw(root / "val")
    (root / "annotations").mkdir()
    ids = {0: 1, 1: 3, 2: 90}
    images = [
        {"id": 10 + n, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for n, name in enumerate(OBJECTS)
    ]
    annotations = [
        {
            "image_id": 10 + n,
            "category_id": ids[kind],
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
        }
        for n, boxes in enumerate(OBJECTS.values())
        for kind, left, top, right, bottom in boxes
    ]
    for number, each in enumerate(annotations):
        each["id"] = 500 + number
    file = root / "annotations" / "instances_val.json"
    categories = [{"id": each, "name": str(each)} for each in reversed(ids.values())]
    held = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(held))
    return file
