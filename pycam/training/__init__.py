"""Training from Caffe's own files: a solver, nets and data in, caffemodels out; PyTorch computes."""
