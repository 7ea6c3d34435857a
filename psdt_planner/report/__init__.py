"""What a person reads: the report and the proposal as PDF."""
