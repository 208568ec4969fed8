"""Feature blocks -> vectors: one learned encoder a file, for any modality's blocks."""
