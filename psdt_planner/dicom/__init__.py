"""DICOM in and out: the only room that knows pydicom, highdicom and rt-utils."""
