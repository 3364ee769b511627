"""The release's copy of ILSVRC's evaluation."""
