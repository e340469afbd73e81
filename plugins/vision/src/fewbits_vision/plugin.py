"""What this plugin offers; imported by every `fewbits list`, so it imports nothing heavy."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def evaluators() -> list[Component]:
    """Offer what measures detectors and segmentation."""
    return [
        Component(
            "evaluator",
            "detection",
            "COCO's mean average precision of boxes; heads of FastestDet, YOLO, SSD",
            "fewbits_vision.detection:Detection",
        ),
        Component(
            "evaluator",
            "segmentation",
            "Mean intersection over union of the classes of pixels",
            "fewbits_vision.segmentation:Segmentation",
        ),
    ]


@hookimpl
def datasets() -> list[Component]:
    """Offer pictures with boxes, and with the class of each pixel."""
    return [
        Component(
            "dataset",
            "yolo",
            "Folder of pictures with a text file of boxes for each, as YOLO's tools write",
            "fewbits_vision.yolo:YoloReader",
        ),
        Component(
            "dataset",
            "coco",
            "FILE.json of COCO's form (instances), with the pictures that it names",
            "fewbits_vision.coco:CocoReader",
        ),
        Component(
            "dataset",
            "masks",
            "Folder of pictures, with a picture of each pixel's class for each",
            "fewbits_vision.masks:MaskReader",
        ),
    ]
