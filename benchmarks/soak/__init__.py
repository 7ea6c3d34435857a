"""``./run soak [NAME]``: what only shows after long: killed processes, many senders, a full disk, malformed objects."""
