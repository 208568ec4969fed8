"""A few labelled images of something new: what each further image shows, how sure that is, where in the image it lies, and what it looks like."""

from metamedica.applications.imaging.page import write_reading
from metamedica.applications.imaging.reading import ImageAnswer, ImageReading, read_images

__all__ = ["ImageAnswer", "ImageReading", "read_images", "write_reading"]
