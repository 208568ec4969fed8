"""DICOM files without what tells who they are of: an allow-list of elements, keyed pseudonyms, and a look at the pixels for writing."""
