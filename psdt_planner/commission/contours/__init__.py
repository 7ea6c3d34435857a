"""Known solids through psdt's contours and those of other programs: what the rings come to."""
