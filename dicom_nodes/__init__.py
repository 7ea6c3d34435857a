"""Receive, keep, index, fetch and send DICOM objects. Knows nothing of lesions."""
