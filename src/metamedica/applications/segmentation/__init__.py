"""Segmentation from a few images and masks: adapt, predict one image, measure in mm, export."""

from metamedica.applications.segmentation.predictor import Segmentation, SegmentationPredictor
from metamedica.applications.segmentation.segmenter import SegmentationTask, Segmenter

__all__ = ["Segmentation", "SegmentationPredictor", "SegmentationTask", "Segmenter"]
