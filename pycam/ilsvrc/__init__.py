"""The ILSVRC localization task: ground truth, submission files, errors, and the WSOL benchmark."""
