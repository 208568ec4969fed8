"""Medical images and volumes: DICOM, NIfTI and rasters, read, checked and normalised."""
