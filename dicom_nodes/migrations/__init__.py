"""Revisions of the index's tables, run by ``dicom_nodes.database.upgrade`` when an index is opened."""
