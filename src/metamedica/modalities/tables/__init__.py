"""Tables: rows of numbers, levels and gaps -> blocks by a schema that a person can read and edit."""

from metamedica.modalities.tables.modality import Tables

__all__ = ["Tables"]
