"""The modality `images`: files, bytes or arrays of pixels become squares of grey or colour; volumes are read slice by slice."""

from metamedica.modalities.images.modality import Images

__all__ = ["Images"]
